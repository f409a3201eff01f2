"""The benchmark files through the sandbox: references pass, empty completions fail."""

import dataclasses
from pathlib import Path

import pytest

from keras_codegemma.evaluation import babelcode, completion, datasets, infilling, runner
from keras_codegemma.evaluation.__main__ import TASKS, main
from keras_codegemma.evaluation.execution import CommandJob, Executor, Outcome, PythonJob
from keras_codegemma.evaluation.model import CausalLM
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.sandbox import Bubblewrap
from tests.evaluation.boxes import bubblewrap, executor

__all__ = ["bubblewrap", "executor"]


@pytest.fixture
def data(shared_dir: Path) -> Path:
    return shared_dir / "eval_data"


def _failing(executor: Executor, problems: list[Problem], *, empty: bool = False) -> list[str]:
    jobs = [runner.job_for(problem, "" if empty else problem.canonical_solution) for problem in problems]
    outcomes = executor.run([job for job in jobs if isinstance(job, PythonJob)])
    return [p.task_id for p, outcome in zip(problems, outcomes, strict=True) if not outcome.passed]


@pytest.mark.shared
def test_references_of_humaneval_and_mbpp_pass(executor: Executor, data: Path) -> None:
    problems = [*completion.load_human_eval(data), *completion.load_mbpp(data)]
    assert len(problems) == 664
    assert _failing(executor, problems) == []


@pytest.mark.shared
def test_empty_completions_fail(executor: Executor, data: Path) -> None:
    problems = [*completion.load_human_eval(data)[::4], *completion.load_mbpp(data)[::10]]
    assert len(_failing(executor, problems, empty=True)) == len(problems)


@pytest.mark.shared
@pytest.mark.parametrize("split", ["single-line", "multi-line-300", "random-span-light"])
def test_references_of_infilling_pass_and_empty_ones_fail(executor: Executor, data: Path, split: str) -> None:
    problems = infilling.load(data, split=split, layout="psm")
    some = problems[:: max(1, len(problems) // 150)]
    assert _failing(executor, some) == []
    filled = [problem for problem in some if problem.canonical_solution.strip()][::3]
    passed = len(filled) - len(_failing(executor, filled, empty=True))
    # A few single lines can be left out without a test noticing: they are the benchmark's, not the harness's.
    assert passed <= len(filled) // 10


@pytest.mark.shared
@pytest.mark.parametrize(("subset", "count"), [("humaneval", 161), ("mbpp", 342)])
def test_babelcode_references_fail_where_known_only(executor: Executor, data: Path, subset: str, count: int) -> None:
    problems = babelcode.load(data, subset=subset, language="Python")
    programs = babelcode.reference_programs(data, subset=subset)
    jobs = []
    for problem in problems:
        job = runner.job_for(problem, "")
        assert isinstance(job, PythonJob)
        jobs.append(dataclasses.replace(job, program=programs[problem.cluster]))
    outcomes = list(executor.run(jobs))
    failing = {p.cluster for p, outcome in zip(problems, outcomes, strict=True) if not outcome.passed}
    assert len(problems) == count
    assert failing == (set(babelcode.FAILING_REFERENCES) if subset == "mbpp" else set())
    assert TASKS["babelcode-mbpp-py"].ceiling == pytest.approx(91.23, abs=0.01)
    assert len(_failing(executor, problems[::10], empty=True)) == len(problems[::10])


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
        assert outcome.detail.startswith(f"no toolchain for {language} was found; install one")
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


@pytest.mark.shared
def test_the_command_makes_problems(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["problems", "--run", str(tmp_path), "--data", str(data), "--limit", "2"]) == 0
    assert f"{2 * len(TASKS)} problems of {len(TASKS)} tasks" in capsys.readouterr().out
    assert len(runner.read_problems(tmp_path / "problems.jsonl")) == 2 * len(TASKS)
    assert main(["problems", "--run", str(tmp_path), "--data", str(data), "--tasks", "chess"]) == 1
    assert "or all; got chess. Correct the name" in capsys.readouterr().err


def test_scoring_must_be_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--run", str(tmp_path)]) == 2
    assert "must be allowed; got no --run-untrusted-programs" in capsys.readouterr().err


def test_benchmark_files_are_checked(tmp_path: Path) -> None:
    name = "human_eval/HumanEval.jsonl.gz"
    with pytest.raises(FileNotFoundError, match=r"must lie in the data folder; .* does not exist\. Pass"):
        datasets.read_rows(tmp_path, name)
    (tmp_path / "human_eval").mkdir()
    (tmp_path / name).write_bytes(b"other")
    with pytest.raises(ValueError, match=r"must have the sha256 ac4e.* has d9298a10.*Fetch it again"):
        datasets.read_rows(tmp_path, name)


@pytest.mark.shared
def test_one_command_makes_the_table(
    bubblewrap: Bubblewrap,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Knows:
        """Gives every reference, but an empty text for SPM."""

        def complete(self, problems: list[Problem], *, seed: int) -> list[runner.Text]:
            return [runner.Text("" if p.layout == "spm" else p.canonical_solution, "stop") for p in problems]

    monkeypatch.setattr(CausalLM, "from_preset", lambda *_, **__: Knows())
    command = ["all", "--run", str(tmp_path), "--data", str(data), "--limit", "3", "--preset", "code_gemma_2b_en"]
    command += ["--tasks", "humaneval", "mbpp", "infilling-single-line-psm", "infilling-single-line-spm"]
    assert main(command) == 2
    assert not (tmp_path / "problems.jsonl").exists()
    assert main([*command, "--run-untrusted-programs"]) == 0
    table = capsys.readouterr().out
    assert "| HumanEval | 3 | 100.00 | 100.00 to 100.00 | 100.00 | 100.00 | 100.00 | 0 |  | 31.10 |" in table
    assert "| MBPP, 3 shots | 3 | 100.00 |" in table
    assert "| HumanEval infilling, single line, PSM | 3 | 100.00 |" in table
    assert "| HumanEval infilling, single line, SPM | 3 | 0.00 |" in table
    assert main([*command, "--run-untrusted-programs"]) == 0
    assert "0 samples judged" in capsys.readouterr().out
