"""HumanEval infilling: single-line, multi-line and random-span, each in PSM and SPM.

Program and tests as in openai/human-eval-infilling: prefix + completion + suffix, then the tests and
`check(entry_point)`. Deviations, all of them:

- Nothing cuts the completion but the model's own end (the FIM sentinels, the file separator, the end of text), as
  CodeGemma's report advises. Single- and multi-line middles end in a newline and the suffix begins in column 0, so
  the completion is taken to the last character: without its newline even a right line fails.
- The time limit counts processor time, 3 seconds as there, and the clock only at three times that.
- What `in_box` says about tests in a process of their own.

Published: CodeGemma's report (arXiv 2406.11409), Table 2: PSM presumably, one sample of each row, 128 new tokens.
The table names neither the layout nor the sampling.
"""

import os
import random
from functools import partial

from keras_codegemma.evaluation.datasets import read_rows
from keras_codegemma.evaluation.problems import Problem, Task, by_preset

MAX_NEW_TOKENS = 128
"""The budget of the report's Table 2."""

FILES = {
    "single-line": "human_eval_infilling/HumanEval-SingleLineInfilling.jsonl.gz",
    "multi-line": "human_eval_infilling/HumanEval-MultiLineInfilling.jsonl.gz",
    "multi-line-300": "human_eval_infilling/HumanEval-MultiLineInfilling.jsonl.gz",
    "random-span": "human_eval_infilling/HumanEval-RandomSpanInfilling.jsonl.gz",
    "random-span-light": "human_eval_infilling/HumanEval-RandomSpanInfillingLight.jsonl.gz",
}

_PUBLISHED = {
    "single-line": by_preset(78.41, 79.28, 76.09, 68.25, 77.44),
    "multi-line": by_preset(51.44, 50.99, 58.44, 20.05, 23.66),
}


def load(folder: str | os.PathLike[str], *, split: str, layout: str) -> list[Problem]:
    """The problems of one split in one layout.

    Args:
        folder: with the benchmark files.
        split: a key of `FILES`; "multi-line-300" is the sample of 300 that the tiny preset's card uses.
        layout: "psm" or "spm".
    """
    task = f"infilling-{split}-{layout}"
    rows = read_rows(folder, FILES[split])
    if split == "multi-line-300":
        rows = random.Random(0).sample(rows, 1000)[:300]
    problems = []
    for row in rows:
        _, row_id = row["task_id"].split("/", 1)
        problems.append(
            Problem(
                task_id=f"{task}/{row_id}",
                task=task,
                kind="infilling",
                prefix=row["prompt"],
                suffix=row["suffix"],
                layout=layout,
                before=row["prompt"],
                after=row["suffix"],
                tests=f"{row['test']}\ncheck({row['entry_point']})\n",
                entry_point=row["entry_point"],
                canonical_solution=row["canonical_solution"],
                cluster="/".join(row_id.split("/")[:2]),
                max_new_tokens=MAX_NEW_TOKENS,
            )
        )
    return problems


TASKS = tuple(
    Task(
        name=f"infilling-{split}-{layout}",
        title=f"HumanEval infilling, {split.replace('-', ' ')}, {layout.upper()}",
        load=partial(load, split=split, layout=layout),
        files=(FILES[split],),
        published=_PUBLISHED.get(split, {}),
        notes="The published table does not name the layout." if split in _PUBLISHED else "",
    )
    for split in FILES
    for layout in ("psm", "spm")
)
