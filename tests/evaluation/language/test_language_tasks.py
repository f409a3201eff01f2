"""Each task's prompts, character by character, and its scores, counted by hand, on rows in the original formats."""

import re
from pathlib import Path
from typing import Any

import pytest

from keras_codegemma.evaluation.datasets import sources
from keras_codegemma.evaluation.language import TASKS, files, harness, rows
from keras_codegemma.evaluation.language.results import figure
from tests.evaluation.language import made_data
from tests.evaluation.language.scripted import Scripted

CHOICES = ("boolq", "piqa", "arc-challenge", "hellaswag", "mmlu", "winogrande")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_data.write(tmp_path_factory.mktemp("data"))


def scored(task: str, data: Path, *, limit: int | None = None, **rule: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    loaded = files.load(TASKS[task], data, allow_other_data=True)
    model = Scripted(**rule)
    return harness.score(model, TASKS[task], rows.limited(loaded.parts, limit)), model.asked


def by_option(**values: float) -> dict[str, Any]:
    """Answers choices by what an option begins with, after its space."""

    def likelihood(request: Any) -> float:
        return next(value for start, value in values.items() if request.args[1].strip().startswith(start))

    return {"likelihood": likelihood}


def test_boolq(data):
    found, asked = scored("boolq", data, **by_option(no=-1.0, yes=-2.0))
    assert asked[:2] == [
        ("Cats -- Cats meow.\nQuestion: do cats bark?\nAnswer:", " no"),
        ("Cats -- Cats meow.\nQuestion: do cats bark?\nAnswer:", " yes"),
    ]
    assert [record["acc"] for record in found] == [1.0, 0.0]
    assert found[0]["options"] == [" no", " yes"]
    assert found[0]["log_likelihoods"] == [-1.0, -2.0]
    assert found[1]["target"] == 1


def test_boolq_reads_truth_values_as_well_as_words():
    row = {"question": "q", "passage": "p", "idx": 0}
    files = {"boolq/val.jsonl.gz": [{**row, "label": label} for label in ("false", "true", False, True)]}
    assert [made["label"] for made in rows.boolq(files)[0].problems] == [0, 1, 0, 1]


def test_piqa_with_and_without_length_normalisation(data):
    # 29 characters at -0.5 each against 8 at -1: the longer one wins by the character, the shorter one in sum.
    found, asked = scored("piqa", data, **by_option(Freeze=-14.5, Heat=-8.0, Hang=-1.0, Put=-9.0))
    assert asked[0] == ("Question: Boil water\nAnswer:", " Freeze it for an hour or two.")
    assert [(record["acc"], record["acc_norm"]) for record in found] == [(1.0, 0.0), (1.0, 1.0)]


def test_arc_challenge_with_letters_and_with_numbers_as_labels(data):
    # "Frozen water" has 12 characters, "Fire" 4, "A gas that burns" 16.
    found, asked = scored("arc-challenge", data, likelihood=lambda request: [-6.0, -4.0, -7.0][request.idx])
    assert asked[:3] == [
        ("Question: What is ice?\nAnswer:", f" {text}") for text in ("Frozen water", "Fire", "A gas that burns")
    ]
    # In sum Fire (-4) wins; by the character the gas (-0.4375) before water (-0.5). Of 3 and 4, 4 is better.
    assert [(record["acc"], record["acc_norm"], record["target"]) for record in found] == [(0.0, 0.0, 0), (1.0, 1.0, 1)]


def test_hellaswag(data):
    found, asked = scored("hellaswag", data, **by_option(flies=-6.0, fries=-4.0, x=-0.5, y=-3.0))
    assert [pair[0] for pair in asked] == ["Cooking: A man breaks an egg. he"] * 4
    assert [pair[1] for pair in asked] == [" flies away.", " fries it.", " x", " y z"]
    # By the character: -6/11, -4/9, -0.5, -1: the second, which is right; in sum the third.
    assert [(record["acc"], record["acc_norm"]) for record in found] == [(0.0, 1.0)]


def test_mmlu_asks_for_a_letter_after_five_shots_of_the_subject(data):
    found, asked = scored("mmlu", data, **by_option(A=-3.0, B=-1.0, C=-2.0, D=-4.0))
    shots = "".join(f"Shot {n}?\nA. a\nB. b\nC. c\nD. d\nAnswer: {'ABCDA'[n]}\n\n" for n in range(5))
    head = "The following are multiple choice questions (with answers) about "
    assert asked[1] == (f"{head}anatomy.\n\n{shots}Legs of a man?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:", " B")
    assert asked[-1] == (f"{head}world religions.\n\n{shots}Gods?\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer:", " D")
    assert [(record["problem"], record["subject"], record["acc"]) for record in found] == [
        (0, "anatomy", 1.0),
        (1, "anatomy", 1.0),
        (2, "world_religions", 0.0),
    ]


def test_a_limit_takes_subjects_in_turn(data):
    assert [record["problem"] for record in scored("mmlu", data, limit=2)[0]] == [0, 2]
    assert [record["problem"] for record in scored("mmlu", data, limit=1)[0]] == [0]
    assert [record["problem"] for record in scored("mmlu", data, limit=99)[0]] == [0, 1, 2]


def test_winogrande_scores_the_text_after_the_blank_under_each_option(data):
    found, asked = scored("winogrande", data, likelihood=lambda request: -1.0 if "so Ann" in request.args[0] else -2.0)
    assert asked == [
        ("Ann beat Eve, so Ann", " won."),
        ("Ann beat Eve, so Eve", " won."),
        ("Ann beat Eve, so Ann", " lost."),
        ("Ann beat Eve, so Eve", " lost."),
    ]
    assert [(record["acc"], record["target"]) for record in found] == [(1.0, 0), (0.0, 1)]
    assert found[0]["prompts"] == ["Ann beat Eve, so Ann", "Ann beat Eve, so Eve"]
    assert found[0]["option"] == " won."


def test_triviaqa_takes_any_alias_and_ignores_case_and_punctuation(data):
    answers = {"Emma": " jane AUSTEN!", "Louvre": " Lyon"}
    found, asked = scored(
        "triviaqa", data, text=lambda request: next(answers[name] for name in answers if name in request.args[0][-40:])
    )
    shots = "".join(f"Question: What is {n} and 1??\nAnswer: {n + 1}\n\n" for n in range(5))
    prompt, options = asked[0]
    assert prompt == f"{shots}Question: Who wrote Emma??\nAnswer:"
    assert options["until"] == ["\n", ".", ","]
    assert [(record["problem"], record["exact_match,remove_whitespace"]) for record in found] == [(5, 1.0), (6, 0.0)]
    assert found[1]["response"] == " Lyon"


@pytest.mark.parametrize(
    ("response", "strict", "flexible"),
    [
        (" 3 + 4 = 7\n#### 7", 1.0, 1.0),
        (" He has 3 and 4, so 7.", 0.0, 1.0),
        (" #### 7 hens, not 12", 1.0, 0.0),
        (" #### 8", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_gsm8k_takes_the_number_after_the_marks_or_the_last_one(data, response, strict, flexible):
    found, _ = scored("gsm8k", data, limit=1, text=lambda _: response)
    assert (found[0]["exact_match,strict-match"], found[0]["exact_match,flexible-extract"]) == (strict, flexible)


def test_gsm8k_shows_five_solved_problems_of_the_training_file_and_ignores_commas(data):
    found, asked = scored("gsm8k", data, text=lambda _: "#### 2000")
    prompt, options = asked[1]
    *shots, last = prompt.split("\n\n")
    known = made_data.ROWS["gsm8k/train_first200.jsonl.gz"]
    assert len(set(shots)) == 5
    assert set(shots) <= {f"Question: {row['question']}\nAnswer: {row['answer']}" for row in known}
    assert last == "Question: How many metres in 2 km?\nAnswer:"
    assert options["until"][0] == "Question:"
    assert [record["exact_match,strict-match"] for record in found] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("response", "exact", "verified"),
    [
        (" Half.\nFinal Answer: The final answer is $\\frac{x}{2}$. I hope it is correct.", 1.0, 1.0),
        (" Final Answer: The final answer is $\\frac12 x$. I hope it is correct.", 1.0, 1.0),
        (" So it is $\\boxed{\\frac{x}{2}}$.", 0.0, 1.0),
        (" Final Answer: The final answer is $2x$. I hope it is correct.", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_math_compares_formulas(data, response, exact, verified):
    found, asked = scored("math", data, text=lambda _: response)
    prompt, options = asked[1]
    assert prompt.startswith("Problem:\nFind the domain of the expression")
    assert prompt.endswith("I hope it is correct.\n\nProblem:\nHalve $x$.\n\nSolution:")
    assert prompt.count("Problem:") == TASKS["math"].shots + 1
    assert options["until"] == ["Problem:"]
    assert (found[1]["exact_match"], found[1]["math_verify"]) == (exact, verified)


def test_figures_have_the_standard_error_of_the_harness():
    from lm_eval.api.metrics import mean_stderr

    values = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    found = figure(values)
    assert found.value == pytest.approx(3 / 7)
    assert found.standard_error == pytest.approx(mean_stderr(values))
    assert figure([1.0]).standard_error is None


def oracle(request: Any) -> float:
    """0 for the right choice, -100 for the others."""
    doc = request.doc
    gold = {
        "winogrande": lambda: int(doc["answer"]) - 1,
        "arc_challenge": lambda: doc["choices"]["label"].index(doc["answerKey"]),
    }.get(request.task_name, lambda: doc["answer"] if request.task_name.startswith("mmlu_") else doc["label"])
    return 0.0 if request.idx == gold() else -100.0


def written(request: Any, loaded: files.Data) -> str:
    """The benchmark's own answer, as a model would write it."""
    doc = request.doc
    if request.task_name == "triviaqa":
        return " " + doc["answer"]["aliases"][-1]
    if request.task_name == "gsm8k":
        return " " + doc["answer"]
    # The harness keeps a normalised answer; the file's own is the one that a model should write.
    (answer,) = (row["answer"] for row in loaded.parts[0].problems if row["unique_id"] == doc["unique_id"])
    return f" {doc['solution']}\nFinal Answer: The final answer is ${answer}$. I hope it is correct."


@pytest.mark.shared
@pytest.mark.parametrize("task", TASKS)
def test_on_the_real_files_right_answers_score_all_and_wrong_ones_nothing(task, shared_dir):
    loaded = files.load(TASKS[task], shared_dir / "eval_data", allow_other_data=False)
    assert loaded.available == sources()[TASKS[task].files[0]].rows - (rows.HELD_OUT if task == "triviaqa" else 0)
    parts = rows.limited(loaded.parts, 12)
    right = harness.score(
        Scripted(likelihood=oracle, text=lambda request: written(request, loaded)), TASKS[task], parts
    )
    wrong = harness.score(Scripted(likelihood=lambda r: -oracle(r), text=lambda _: "no idea"), TASKS[task], parts)
    for metric in TASKS[task].metrics:
        assert [record[metric] for record in right] == [1.0] * 12
        assert [record[metric] for record in wrong] == [0.0] * 12


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("task", TASKS)
def test_right_answers_score_every_problem(task, shared_dir):
    loaded = files.load(TASKS[task], shared_dir / "eval_data", allow_other_data=False)
    found = harness.score(
        Scripted(likelihood=oracle, text=lambda request: written(request, loaded)), TASKS[task], loaded.parts
    )
    missed = [(record["problem"], name) for record in found for name in TASKS[task].metrics if record[name] != 1.0]
    assert missed == []


@pytest.mark.shared
def test_the_named_share_of_hellaswag_has_no_capital_letter(shared_dir):
    loaded = files.load(TASKS["hellaswag"], shared_dir / "eval_data", allow_other_data=False)
    queries = [row["query"] for row in loaded.parts[0].problems]
    small = [query for query in queries if re.search(r"[.!?,] [a-z][^.!?]*$", query)]
    assert f"({len(small):,} of {len(queries):,})" in TASKS["hellaswag"].deviation
