"""The nine language and mathematics rows of the published table: files, shots, metrics, and what differs.

Each names a task of lm-evaluation-harness 0.4.13, whose prompt, stops and scoring it takes as they are; `overrides`
holds all that is changed. Shots follow Gemma's report (Table 6) where it gives a number, else the harness. CodeGemma's
report shows these results in a figure without numbers, but for GSM8K and MATH (Table 5, whose rows have lost their
names in the text copy; the order assumed is 7B, 7B instruct, 7B instruct 1.1).

In every task, and unlike in the harness' own model for transformers: generation also ends at CodeGemma's four FIM and
file sentinels, which is how its base models end a text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_codegemma.evaluation.language import rows
from keras_codegemma.evaluation.language.rows import Part, Row

PRESETS = ("code_gemma_7b_en", "code_gemma_instruct_7b_en", "code_gemma_1.1_instruct_7b_en")
"""Presets with published figures, in the order of `published` below."""


@dataclass(frozen=True, kw_only=True)
class LanguageTask:
    """A row of the published table.

    Attributes:
        name: as on the command line, and of the result's file.
        title: as in the report.
        metrics: the harness' names, of which the first is the row's figure; after a comma the filter, if any.
        shots: solved problems in each prompt.
        files: in the data folder, as in `datasets.sources`.
        deviation: what differs from the harness' own task, for a reader of the figure.
        published: preset -> published percentage.
        folder: of the harness' `tasks` that defines the task.
        parts: from rows by file to the problems of each of the harness' tasks.
        overrides: of the harness' configuration, besides those for the data.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    shots: int
    files: tuple[str, ...]
    deviation: str
    folder: str
    parts: Callable[[Mapping[str, Sequence[Row]]], list[Part]]
    published: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)


BOOLQ = LanguageTask(
    name="boolq",
    title="BoolQ",
    metrics=("acc",),
    shots=0,
    files=("boolq/val.jsonl.gz",),
    deviation="The harness' boolq (SuperGLUE form), 0 shots: no deviation.",
    folder="super_glue",
    parts=rows.boolq,
)

PIQA = LanguageTask(
    name="piqa",
    title="PIQA",
    metrics=("acc_norm", "acc"),
    shots=0,
    files=("piqa/valid.jsonl.gz",),
    deviation="The harness' piqa, 0 shots: no deviation. The figure is acc_norm (log-likelihood per character).",
    folder="piqa",
    parts=rows.piqa,
)

TRIVIAQA = LanguageTask(
    name="triviaqa",
    title="TriviaQA",
    metrics=("exact_match,remove_whitespace",),
    shots=5,
    files=("triviaqa/test_sample1000.jsonl.gz",),
    deviation=(
        "The harness' triviaqa (no context given, any alias counts; its prompt adds a question mark to the question's "
        "own) on a random 1,000 of the 11,313 validation questions. The first 5 are held out and are the shots of "
        "every prompt, in this order; the harness draws them from the training set. So 995 problems are scored."
    ),
    folder="triviaqa",
    parts=rows.triviaqa,
    overrides={"fewshot_config": {"sampler": "first_n"}},
)

ARC_CHALLENGE = LanguageTask(
    name="arc-challenge",
    title="ARC-Challenge",
    metrics=("acc_norm", "acc"),
    shots=0,
    files=("arc/ARC-Challenge-Test.jsonl.gz",),
    deviation=(
        "The harness' arc_challenge on the test set, 0 shots, which is its default: Gemma's report gives no number. "
        "The figure is acc_norm (log-likelihood per character)."
    ),
    folder="arc",
    parts=rows.arc_challenge,
)

HELLASWAG = LanguageTask(
    name="hellaswag",
    title="HellaSwag",
    metrics=("acc_norm", "acc"),
    shots=0,
    files=("hellaswag/val.jsonl.gz",),
    deviation=(
        "The harness' hellaswag, 0 shots, on text that was cleaned already (bracket marks removed), so its own "
        "cleaning is left out. It would also begin the unfinished last sentence of a context with a capital letter, "
        "which about a third of the rows here (3,236 of 10,042) do not have. "
        "The figure is acc_norm (log-likelihood per character)."
    ),
    folder="hellaswag",
    parts=rows.hellaswag,
    overrides={"process_docs": None},
)

MMLU = LanguageTask(
    name="mmlu",
    title="MMLU",
    metrics=("acc",),
    shots=5,
    files=("mmlu/test.jsonl.gz", "mmlu/dev.jsonl.gz"),
    deviation=(
        "The harness' 57 tasks mmlu_*, 5 shots from each subject's dev rows in file order: no deviation. The figure is "
        "the mean over all problems, which is the harness' mean of subjects weighted by size; its standard error is "
        "that of the plain mean (the harness pools those of the subjects). A limit takes the first problem of each "
        "subject, then the second of each, and so on."
    ),
    folder="mmlu/default",
    parts=rows.mmlu,
)

WINOGRANDE = LanguageTask(
    name="winogrande",
    title="WinoGrande",
    metrics=("acc",),
    shots=0,
    files=("winogrande/dev.jsonl.gz",),
    deviation=(
        "The harness' winogrande, 0 shots: no deviation. Partial scoring, as in Gemma's report: the likelihood of the "
        "text after the blank under each option."
    ),
    folder="winogrande",
    parts=rows.winogrande,
)

GSM8K = LanguageTask(
    name="gsm8k",
    title="GSM8K",
    metrics=("exact_match,strict-match", "exact_match,flexible-extract"),
    shots=5,
    files=(
        "gsm8k/test.jsonl.gz",
        "gsm8k/train_first200.jsonl.gz",
    ),
    deviation=(
        "The harness' gsm8k, 5 shots, greedy (Gemma's report: maj@1). Shots are drawn for each problem, with the "
        "harness' seed, from the first 200 training problems; the harness draws from all 7,473. The figure takes the "
        "number after ####, the second one the last number."
    ),
    folder="gsm8k",
    parts=rows.gsm8k,
    published=dict(zip(PRESETS, (44.2, 41.2, 47.3), strict=True)),
)

MATH = LanguageTask(
    name="math",
    title="MATH",
    metrics=("exact_match", "math_verify"),
    shots=4,
    files=("math/math_500_test.jsonl.gz",),
    deviation=(
        "The harness' minerva_math500 with its 4 fixed shots and 256 new tokens: no deviation, but these are 500 of "
        "the 5,000 test problems that published figures are counted over. The figure asks for the phrase 'The final "
        "answer is' and compares normalised text, then symbols; math_verify reads the answer wherever it stands."
    ),
    folder="minerva_math",
    parts=rows.math,
    published=dict(zip(PRESETS, (19.9, 20.9, 22.3), strict=True)),
)

TASKS: dict[str, LanguageTask] = {
    task.name: task for task in (BOOLQ, PIQA, TRIVIAQA, ARC_CHALLENGE, HELLASWAG, MMLU, WINOGRANDE, GSM8K, MATH)
}
"""In the order of the report."""
