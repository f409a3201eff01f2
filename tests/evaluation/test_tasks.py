"""The benchmark files through the sandbox: references pass, empty completions fail."""

import dataclasses
from pathlib import Path

import pytest

from keras_codegemma.evaluation import babelcode, completion, infilling, runner
from keras_codegemma.evaluation.execution import CommandJob, Executor, Outcome, PythonJob
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.table import TASKS
from tests.evaluation.boxes import bubblewrap, executor
from tests.evaluation.empty_completions import right_when_empty

__all__ = ["bubblewrap", "executor"]


@pytest.fixture
def data(shared_dir: Path) -> Path:
    return shared_dir / "eval_data"


def _failing(executor: Executor, problems: list[Problem], *, empty: bool = False) -> list[str]:
    jobs = [runner.job_for(problem, "" if empty else problem.canonical_solution) for problem in problems]
    outcomes = executor.run([job for job in jobs if isinstance(job, PythonJob)])
    return [p.task_id for p, outcome in zip(problems, outcomes, strict=True) if not outcome.passed]


EVERY = [pytest.param(1, marks=pytest.mark.slow), 8]
"""All problems, and one of eight for every day."""


@pytest.mark.shared
@pytest.mark.parametrize("every", EVERY)
def test_references_of_humaneval_and_mbpp_pass_and_empty_ones_fail(executor: Executor, data: Path, every: int) -> None:
    problems = [*completion.load_human_eval(data), *completion.load_mbpp(data)]
    assert len(problems) == 664
    some = problems[::every]
    assert _failing(executor, some) == []
    assert len(_failing(executor, some, empty=True)) == len(some)


@pytest.mark.shared
@pytest.mark.parametrize("split", ["single-line", "multi-line-300", "random-span-light"])
def test_references_of_infilling_pass_and_empty_ones_fail(executor: Executor, data: Path, split: str) -> None:
    problems = infilling.load(data, split=split, layout="psm")
    some = problems[:: len(problems) // 60]
    assert _failing(executor, some) == []
    third = some[::3]
    failing = set(_failing(executor, third, empty=True))
    right = right_when_empty(split.removesuffix("-300").removesuffix("-light"))
    assert {problem.cluster for problem in third if problem.task_id not in failing} <= {
        name.rpartition("/")[0] for name in right
    }


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("split", "count"), [("single-line", 1033), ("multi-line", 5815), ("random-span", 1640), ("random-span-light", 164)]
)
def test_every_reference_passes_and_empty_ones_pass_where_known_only(
    executor: Executor, data: Path, split: str, count: int
) -> None:
    """Both layouts have the same problems, so one of them says it for both."""
    problems = infilling.load(data, split=split, layout="psm")
    assert len(problems) == count
    assert _failing(executor, problems) == []
    failing = set(_failing(executor, problems, empty=True))
    passing = {p.task_id.removeprefix(f"{p.task}/") for p in problems if p.task_id not in failing}
    assert passing == (right_when_empty(split) if split != "random-span-light" else set())


@pytest.mark.shared
@pytest.mark.parametrize("split", ["single-line", "multi-line", "random-span", "random-span-light"])
def test_both_layouts_have_the_same_problems(data: Path, split: str) -> None:
    psm, spm = (infilling.load(data, split=split, layout=layout) for layout in ("psm", "spm"))
    assert [(p.program("X"), p.tests) for p in psm] == [(p.program("X"), p.tests) for p in spm]


@pytest.mark.shared
def test_the_empty_completion_is_the_reference_of_fourteen_random_spans(data: Path) -> None:
    problems = infilling.load(data, split="random-span", layout="psm")
    empty = {p.task_id.removeprefix(f"{p.task}/") for p in problems if not p.canonical_solution}
    assert len(empty) == 14
    assert empty <= right_when_empty("random-span")


@pytest.mark.shared
@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize(("subset", "count"), [("humaneval", 161), ("mbpp", 342)])
def test_babelcode_references_fail_where_known_only(
    executor: Executor, data: Path, subset: str, count: int, every: int
) -> None:
    problems = babelcode.load(data, subset=subset, language="Python")
    assert len(problems) == count
    problems = problems[::every]
    programs = babelcode.reference_programs(data, subset=subset)
    jobs = []
    for problem in problems:
        job = runner.job_for(problem, "")
        assert isinstance(job, PythonJob)
        jobs.append(dataclasses.replace(job, program=programs[problem.cluster]))
    outcomes = list(executor.run(jobs))
    failing = {p.cluster for p, outcome in zip(problems, outcomes, strict=True) if not outcome.passed}
    known = set(babelcode.FAILING_REFERENCES) if subset == "mbpp" else set()
    assert failing == known & {problem.cluster for problem in problems}
    assert TASKS["babelcode-mbpp-py"].ceiling == pytest.approx(91.23, abs=0.01)
    assert len(_failing(executor, problems, empty=True)) == len(problems)


# HumanEval 53 (the sum of two numbers) in each language, without the braces that follow from the language.
BODIES = {
    "C++": "\n    return x + y;\n}",
    "CSharp": "\n        return x + y;\n    }\n",
    "Go": "\n    return x + y\n}",
    "Java": "\n        return x + y;\n    }\n",
    "Javascript": "\n    return x + y;\n}",
    "Kotlin": "\n    return x + y\n}",
    "Rust": "\n    x + y\n}",
}


@pytest.mark.shared
@pytest.mark.parametrize("language", BODIES)
def test_languages_tell_right_wrong_and_broken_programs_apart(executor: Executor, data: Path, language: str) -> None:
    toolchains = babelcode.find_toolchains()
    problems = babelcode.load(data, subset="humaneval", language=language)
    problem = next(problem for problem in problems if problem.cluster == "53")
    right = BODIES[language]
    wrong, broken = right.replace("x + y", "x - y"), right.replace("x + y", "x + + (")
    if language not in toolchains:
        outcome = babelcode.job(problem, right, toolchains)
        assert isinstance(outcome, Outcome)
        assert outcome.verdict == "toolchain_missing"
        assert outcome.detail.startswith(f"toolchain not found: {language} cannot be compiled and run here; install")
        return
    jobs = [babelcode.job(problem, text, toolchains) for text in (right, wrong, broken, "")]
    outcomes = list(executor.run([job for job in jobs if isinstance(job, CommandJob)]))
    assert outcomes[0].verdict == "passed", outcomes[0]
    assert outcomes[1].verdict == "failed", outcomes[1]
    assert outcomes[2].verdict == "compile_error", outcomes[2]
    assert not outcomes[3].passed


@pytest.mark.shared
def test_prompts_follow_their_benchmarks(data: Path) -> None:
    mbpp = completion.load_mbpp(data)
    assert [problem.cluster for problem in mbpp[:2]] == ["MBPP/11", "MBPP/12"]
    prompt = mbpp[0].prefix
    assert prompt.count("[BEGIN]") == 4
    assert prompt.count("[DONE]") == 3
    assert prompt.startswith("You are an expert Python programmer, and here is your task: Write a function to find")
    assert prompt.endswith("[BEGIN]\n")
    assert "\r" not in prompt
    line = infilling.load(data, split="single-line", layout="spm")[0]
    assert line.program(line.canonical_solution) == line.prefix + line.canonical_solution + line.suffix
    assert (line.layout, line.stop, line.cluster) == ("spm", (), "HumanEval/0")
    sets = {len(problem) for problem in (mbpp, infilling.load(data, split="multi-line-300", layout="psm"))}
    assert sets == {500, 300}
