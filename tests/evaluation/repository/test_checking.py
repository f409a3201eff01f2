"""A repository's own tests as the judge, in the sandbox."""

from pathlib import Path

import pytest

from keras_codegemma.evaluation.execution import Executor
from keras_codegemma.evaluation.repository import OwnTests, build, read
from tests.evaluation.boxes import bubblewrap, executor
from tests.evaluation.repository.made_repository import COMMAND, made

__all__ = ["bubblewrap", "executor", "made"]


def test_right_wrong_and_missing_code_are_told_apart(executor: Executor, made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    with OwnTests(executor, made, command=COMMAND, seconds=4) as tests:
        built = build(read(made), kinds=["function"], limit=5, seed=0, context_chars=0, check=tests.notice)
        assert [problem.task_id for problem in built.problems] == ["repository-function/shop.py/L6-12"]
        assert built.unnoticed == {"function": 1}
        (problem,) = built.problems
        completions = {
            problem.canonical_solution: "passed",
            "    if min(prices) < 0: raise ValueError\n    return sum(prices)\n": "passed",
            "    return sum(prices)\n": "error",
            "    return (\n": "error",
            "    while True: pass\n": "timeout",
            "    open('/tmp/../etc/x', 'w')\n": "error",
        }
        jobs = [tests.job(problem, completion) for completion in completions]
        outcomes = list(executor.run(jobs))
        assert [outcome.verdict for outcome in outcomes] == list(completions.values())
        assert "AssertionError: ValueError not raised" in outcomes[2].detail
        copy = Path(tests._copy.name)
        assert copy.is_dir()
    assert not copy.exists()
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_each_run_has_a_fresh_copy(executor: Executor, made: Path) -> None:
    command = f"test ! -e left && touch left && {COMMAND}"
    with OwnTests(executor, made, command=command, seconds=10) as tests:
        problem = build(read(made), kinds=["function"], limit=1, seed=0, context_chars=0).problems[0]
        jobs = [tests.job(problem, problem.canonical_solution)] * 3
        assert [outcome.verdict for outcome in executor.run(jobs)] == ["passed"] * 3
    assert not (made / "left").exists()


def test_tests_that_fail_already_are_refused(executor: Executor, made: Path) -> None:
    (made / "tests" / "test_shop.py").write_text("raise SystemExit('they are red')\n")
    with pytest.raises(
        ValueError, match=r"must pass before they can judge; .*they are red.*Make them pass there: no net"
    ):
        OwnTests(executor, made, command="python tests/test_shop.py", seconds=10)
    with pytest.raises(ValueError, match=r"`exit 3` ended with: error, status 3"):
        OwnTests(executor, made, command="exit 3", seconds=10)


def test_a_folder_that_is_named_can_be_read_and_its_programs_found(
    executor: Executor, made: Path, tmp_path: Path
) -> None:
    place = tmp_path / "tools" / "bin"
    place.mkdir(parents=True)
    (place / "mytool").write_text("#!/bin/sh\nexit 0\n")
    (place / "mytool").chmod(0o755)
    with pytest.raises(ValueError, match="mytool"):
        OwnTests(executor, made, command="mytool", seconds=10)
    OwnTests(executor, made, command="mytool", seconds=10, readable=[tmp_path / "tools"]).close()
