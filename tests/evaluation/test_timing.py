"""Seconds for one infilling: one at a time, the first run of a problem not counted."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from keras_codegemma.evaluation import settings, timing
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.runner import Text

PROBLEM = Problem(task_id="a/0", task="a", kind="infilling", prefix="")
PROBLEMS = [
    *(dataclasses.replace(PROBLEM, task_id=f"a/{number}") for number in range(5)),
    dataclasses.replace(PROBLEM, task_id="b/0", task="b"),
    dataclasses.replace(PROBLEM, task_id="c/0", task="c", kind="completion"),
]


class Slow:
    """Takes 9 seconds for a problem's first run, and then as many as its number, by a clock of its own."""

    def __init__(self):
        self.now, self.asked = 0.0, []

    def complete(self, problems: Sequence[Problem], *, seed: int) -> list[Text]:
        (problem,) = problems
        again = problem.task_id in self.asked
        self.asked.append(problem.task_id)
        self.now += int(problem.task_id[-1]) + 1 if again else 9
        return [Text("", "stop")]


def test_the_first_problems_of_each_infilling_task_are_timed_one_by_one() -> None:
    model, told = Slow(), []
    figures = timing.measure(model, PROBLEMS, count=3, clock=lambda: model.now, progress=lambda *n: told.append(n))
    assert figures == {
        "a": {"timed": 3, "of": 5, "mean": 2.0, "median": 2.0, "low": 1.0, "high": 3.0},
        "b": {"timed": 1, "of": 1, "mean": 1.0, "median": 1.0, "low": 1.0, "high": 1.0},
    }
    assert model.asked == ["a/0", "a/0", "a/1", "a/1", "a/2", "a/2", "b/0", "b/0"]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_published_seconds_are_per_task_and_for_the_published_sets_alone() -> None:
    # Table 2 of CodeGemma's report: 8,479 seconds for the 5,815 multi-line tasks.
    assert timing.published("infilling-multi-line-spm")["code_gemma_2b_en"] == pytest.approx(1.4581, abs=1e-4)
    assert timing.published("infilling-random-span-psm") == {}
    assert timing.published("infilling-multi-line-300-psm") == {}


def test_the_file_says_what_it_was_measured_on(tmp_path: Path) -> None:
    assert timing.read(tmp_path) is None
    timing.write(tmp_path, {"a": {"mean": 1.0}}, count=3, device="a slow one", versions={"jax": "1"})
    found = timing.read(tmp_path)
    assert found is not None
    assert (found["device"], found["versions"], found["tasks"]) == ("a slow one", {"jax": "1"}, {"a": {"mean": 1.0}})
    (tmp_path / "timing.json").write_text("{")
    with pytest.raises(ValueError, match=r"timing\.json must hold JSON; .*Delete it, and its stage is run again"):
        timing.read(tmp_path)


def test_other_settings_than_those_of_the_folder_are_refused(tmp_path: Path) -> None:
    settings.check(tmp_path, {"preset": "a", "seed": 0})
    settings.check(tmp_path, {"preset": "a", "dtype": "float32"})
    assert settings.read(tmp_path) == {"preset": "a", "seed": 0, "dtype": "float32"}
    with pytest.raises(ValueError, match=r"same settings; in .* seed was 0 and is 1\. Choose another folder, or del"):
        settings.check(tmp_path, {"preset": "a", "seed": 1})
