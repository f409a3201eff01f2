"""HumanEval and MBPP: functions from a docstring, and from a task in words with its asserts.

HumanEval as in openai/human-eval: the model continues `prompt`; program and tests are prompt + completion, then the
tests and `check(entry_point)`. The harness has no stops; completions are cut as the Codex paper (Chen et al. 2021,
arXiv 2107.03374, section 3.2) says: before the next class, function, comment, `if` or `print` in column 0.

MBPP as in google-research/mbpp: three worked tasks (ids 2, 3, 4) in the prompt, answers up to `[DONE]`, the 500 test
tasks (ids 11 to 510). Passed if every assert of `test_list` holds; `challenge_test_list` does not count. Carriage
returns of the file are taken out of the shots. `test_setup_code` runs after the answer, because it builds
objects of the answer's classes.

Deviations: limits count processor time (3 seconds for HumanEval; 10 for MBPP, whose authors name none, and whose own
answer to task 123 needs about 3), and what `in_box` says about tests in a process of their own.

Published: CodeGemma's report (arXiv 2406.11409), Table 3; every figure is a whole number of 164 and of 500 problems,
so one sample of each; shots and stops are not stated there.
"""

import os
import re
from typing import Any

from keras_codegemma.evaluation.datasets import read_rows
from keras_codegemma.evaluation.problems import Problem, Task, by_preset

HUMAN_EVAL_FILE = "human_eval/HumanEval.jsonl.gz"
MBPP_FILE = "mbpp/mbpp.jsonl.gz"
HUMAN_EVAL_STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint")
MBPP_SHOTS = (2, 3, 4)
MBPP_TEST = range(11, 511)


def load_human_eval(folder: str | os.PathLike[str]) -> list[Problem]:
    """The 164 problems of HumanEval."""
    return [
        Problem(
            task_id=f"humaneval/{row['task_id']}",
            task="humaneval",
            kind="completion",
            prefix=row["prompt"],
            before=row["prompt"],
            tests=f"{row['test']}\ncheck({row['entry_point']})\n",
            entry_point=row["entry_point"],
            canonical_solution=row["canonical_solution"],
            stop=HUMAN_EVAL_STOPS,
            cluster=row["task_id"],
            max_new_tokens=512,
        )
        for row in read_rows(folder, HUMAN_EVAL_FILE)
    ]


def load_mbpp(folder: str | os.PathLike[str]) -> list[Problem]:
    """The 500 test problems of MBPP, with three shots in the prompt."""
    rows = {row["task_id"]: row for row in read_rows(folder, MBPP_FILE)}
    shots = "".join(_mbpp_question(rows[i]) + f"{_code(rows[i])}\n[DONE]\n" for i in MBPP_SHOTS)
    return [_mbpp_problem(rows[i], shots) for i in MBPP_TEST]


def mbpp_tests(row: dict[str, Any]) -> str:
    """The tests of an MBPP row, setup first: it needs the answer, which is loaded before."""
    return "\n".join([row["test_setup_code"].replace("\r\n", "\n"), *row["test_list"]]) + "\n"


def _mbpp_problem(row: dict[str, Any], shots: str) -> Problem:
    return Problem(
        task_id=f"mbpp/MBPP/{row['task_id']}",
        task="mbpp",
        kind="completion",
        prefix=shots + _mbpp_question(row),
        tests=mbpp_tests(row),
        entry_point=_asked_for(row),
        canonical_solution=_code(row),
        stop=("[DONE]",),
        cluster=f"MBPP/{row['task_id']}",
        max_new_tokens=512,
        seconds=10,
    )


def _mbpp_question(row: dict[str, Any]) -> str:
    tests = "\n".join(row["test_list"])
    return (
        f"You are an expert Python programmer, and here is your task: {row['text']} "
        f"Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )


def _asked_for(row: dict[str, Any]) -> str:
    """The last function of the reference that the tests name; task 126 asks for one called `sum`."""
    defined = re.findall(r"^def +(\w+)", _code(row), re.MULTILINE)
    named = [name for name in defined if re.search(rf"\b{name}\b", "\n".join(row["test_list"]))]
    return named[-1] if named else ""


def _code(row: dict[str, Any]) -> str:
    return row["code"].replace("\r\n", "\n").replace("\r", "\n")


TASKS = (
    Task(
        name="humaneval",
        title="HumanEval",
        load=load_human_eval,
        files=(HUMAN_EVAL_FILE,),
        published=by_preset(31.1, 37.8, 44.5, 56.1, 60.4),
    ),
    Task(
        name="mbpp",
        title="MBPP, 3 shots",
        load=load_mbpp,
        files=(MBPP_FILE,),
        published=by_preset(43.6, 49.2, 56.2, 54.2, 55.2),
    ),
)
