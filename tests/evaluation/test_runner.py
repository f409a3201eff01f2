"""Stages that can be killed anywhere and end with the same files."""

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from keras_codegemma.evaluation import records, runner
from keras_codegemma.evaluation.execution import Outcome, PythonJob
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.runner import Text

PROBLEMS = [
    Problem(
        task_id=f"toy-{kind}/{number}",
        task=f"toy-{kind}",
        kind=kind,
        prefix="x" * (number * 7 % 11),
        before="before\n",
        after="after",
        tests="pass",
        canonical_solution=f"{number % 3}\n",
        cluster=str(number % 5),
        stop=("\nSTOP",) if kind == "completion" else (),
        layout="psm" if kind == "infilling" else "",
    )
    for kind in ("completion", "infilling")
    for number in range(15)
]


class ToyModel:
    """Answers from the problem, the seed and the batch-mates, so that a batch made differently would show."""

    def __init__(self, pause: float = 0.0):
        self.pause, self.calls = pause, 0

    def complete(self, problems: Sequence[Problem], *, seed: int) -> list[Text]:
        self.calls += 1
        time.sleep(self.pause)
        mates = "".join(problem.task_id[-1] for problem in problems)
        return [Text(f"{int(problem.task_id.split('/')[1]) % 2}\n# {seed} {mates}", "stop") for problem in problems]


class ToyExecutor:
    """Judges by the program's text."""

    def __init__(self, pause: float = 0.0):
        self.pause = pause

    def run(self, jobs: Iterable[PythonJob]) -> Iterator[Outcome]:
        for job in jobs:
            time.sleep(self.pause)
            right = job.program.startswith("before\n1")
            yield Outcome(verdict="passed" if right else "failed", detail="", seconds=0.0)


def _both_stages(folder: Path, pause: float = 0.0) -> None:
    runner.write_samples(ToyModel(pause), PROBLEMS, folder=folder, samples=3, batch_size=4)
    runner.write_results(
        ToyExecutor(pause / 4),  # type: ignore[arg-type]
        PROBLEMS,
        samples=folder / "samples.jsonl",
        results=folder / "results.jsonl",
    )


def _without_times(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in lines]


NURSERY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.evaluation import test_runner
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        test_runner._both_stages(Path(line.strip()), 0.02)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Imports once; then for each folder that it reads, a fork runs both stages, its number and status are printed."""


def test_a_kill_at_any_moment_changes_nothing(tmp_path: Path) -> None:
    _both_stages(tmp_path / "whole")
    command = [sys.executable, "-c", NURSERY, str(Path(__file__).parents[2])]
    nursery = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    rng, stages, finished = random.Random(4), [], 0
    while len(stages) < 20 or not finished:
        folder = tmp_path / f"killed-{finished}"
        nursery.stdin.write(f"{folder}\n")
        nursery.stdin.flush()
        child = int(nursery.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.15))
        with contextlib.suppress(ProcessLookupError):  # it has finished
            os.kill(child, signal.SIGKILL)
        if int(nursery.stdout.readline()) == signal.SIGKILL:
            stages.append("results" if (folder / "results.jsonl").exists() else "samples")
            assert _damaged_lines(folder) == []
            continue
        finished += 1
        for name in ("samples.jsonl", "results.jsonl"):
            assert _without_times(folder / name) == _without_times(tmp_path / "whole" / name)
    nursery.communicate()
    assert nursery.returncode == 0
    assert set(stages) == {"samples", "results"}


def _damaged_lines(folder: Path) -> list[records.Damage]:
    """Of all files, but for a last line that has no end."""
    damaged = []
    for path in folder.glob("*.jsonl"):
        read = records.read(path, records.RESULT if path.name.startswith("results") else records.SAMPLE)
        whole = path.read_bytes().count(b"\n")
        damaged += [damage for damage in read.damaged if damage.line <= whole]
    return damaged


@pytest.mark.parametrize("name", ["samples-00000-of-00001.jsonl", "results.jsonl"])
def test_a_damaged_line_is_named_and_made_again_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    _both_stages(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
    lines = files[name].splitlines(keepends=True)
    (tmp_path / name).write_bytes(b"".join([*lines[:4], lines[4][:30] + b"\n", *lines[5:]]))
    model = ToyModel()
    runner.write_samples(model, PROBLEMS, folder=tmp_path, samples=3, batch_size=4)
    judged = runner.write_results(
        ToyExecutor(),  # type: ignore[arg-type]
        PROBLEMS,
        samples=tmp_path / "samples.jsonl",
        results=tmp_path / "results.jsonl",
    )
    assert f"{name}, line 5 is left out: no JSON" in caplog.text
    # The batch of the lost sample, or the lost verdict; nothing else.
    assert (model.calls, judged) == ((0, 1) if name == "results.jsonl" else (1, 0))
    for other in ("samples.jsonl", "results.jsonl"):
        lost = json.loads(lines[4])["task_id"], json.loads(lines[4])["sample"]
        after, before = (tmp_path / other).read_bytes().splitlines(), files[other].splitlines()
        changed = [line for line, old in zip(after, before, strict=True) if line != old]
        assert all((json.loads(line)["task_id"], json.loads(line)["sample"]) == lost for line in changed)


def test_several_processes_make_the_same_samples(tmp_path: Path) -> None:
    model = ToyModel()
    assert runner.write_samples(model, PROBLEMS, folder=tmp_path / "one", samples=2, batch_size=4)
    complete = [
        runner.write_samples(
            ToyModel(), PROBLEMS, folder=tmp_path / "three", samples=2, batch_size=4, process=i, processes=3
        )
        for i in (2, 0, 1)
    ]
    assert complete == [False, False, True]
    one, three = (_without_times(tmp_path / name / "samples.jsonl") for name in ("one", "three"))
    assert one == three
    calls = model.calls
    assert runner.write_samples(model, PROBLEMS, folder=tmp_path / "one", samples=2, batch_size=4)
    assert model.calls == calls
    with pytest.raises(ValueError, match=r"got 3 of 3\. Count from 0"):
        runner.write_samples(model, PROBLEMS, folder=tmp_path, process=3, processes=3)


def test_batches_share_what_they_must_and_fall_in_length() -> None:
    work = runner.batches(PROBLEMS, samples=2, batch_size=4)
    assert sorted((unit.problem.task_id, unit.sample) for units in work for unit in units) == sorted(
        (problem.task_id, sample) for problem in PROBLEMS for sample in range(2)
    )
    for units in work:
        assert len({unit.problem.kind for unit in units}) == 1
        lengths = [len(unit.problem.prefix) for unit in units]
        assert lengths == sorted(lengths, reverse=True)


def test_samples_must_belong_to_problems(tmp_path: Path) -> None:
    _both_stages(tmp_path)
    with pytest.raises(ValueError, match=r"'toy-completion/0' of .* is in no line of the problems file"):
        runner.write_results(
            ToyExecutor(),  # type: ignore[arg-type]
            PROBLEMS[1:],
            samples=tmp_path / "samples.jsonl",
            results=tmp_path / "results.jsonl",
        )


def test_problems_come_back(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    problems = [*PROBLEMS, dataclasses.replace(PROBLEMS[0], task_id="other", printed_ids=("0", "1"))]
    runner.write_problems(path, problems)
    assert runner.read_problems(path) == problems
    runner.write_problems(path, [PROBLEMS[0], PROBLEMS[0]])
    with pytest.raises(ValueError, match=r"got 'toy-completion/0' more often"):
        runner.read_problems(path)


def test_stops_cut_and_are_put_back_where_they_belong() -> None:
    problem = dataclasses.replace(PROBLEMS[0], stop=("\n}", "\nfn"))
    assert problem.program(" a;\n}\nfn b") == "before\n a;after"
    assert dataclasses.replace(problem, keep_stop=True).program(" a;\n}\nfn b") == "before\n a;\n}after"
    assert problem.cut("a\n") == "a\n"
    with pytest.raises(ValueError, match=r"got 'chat' \(toy-completion/0\)\. Use one"):
        dataclasses.replace(problem, kind="chat")


def test_without_leave_to_run_texts_are_compared_and_judged_later(tmp_path: Path) -> None:
    runner.write_samples(ToyModel(), PROBLEMS, folder=tmp_path, samples=1, batch_size=4)
    files = {"samples": tmp_path / "samples.jsonl", "results": tmp_path / "results.jsonl"}
    assert runner.write_results(None, PROBLEMS, **files) == len(PROBLEMS)
    before = _without_times(files["results"])
    assert {(line["verdict"], line["passed"]) for line in before} == {("not_run", False)}
    assert runner.write_results(None, PROBLEMS, **files) == 0
    assert runner.write_results(ToyExecutor(), PROBLEMS, **files) == len(PROBLEMS)  # type: ignore[arg-type]
    after = _without_times(files["results"])
    assert [line["task_id"] for line in after] == [line["task_id"] for line in before]
    assert {line["verdict"] for line in after} == {"passed", "failed"}
    assert [line["exact_match"] for line in after] == [line["exact_match"] for line in before]
    assert runner.write_results(ToyExecutor(), PROBLEMS, **files) == 0  # type: ignore[arg-type]


def test_problems_with_context_come_back_and_share_batches_by_file(tmp_path: Path) -> None:
    own = [
        dataclasses.replace(PROBLEMS[number], path=f"{number % 2}.py", context=(("b.py", "x"), ("c.py", "y")))
        for number in range(6)
    ]
    runner.write_problems(tmp_path / "problems.jsonl", own)
    assert runner.read_problems(tmp_path / "problems.jsonl") == own
    assert sorted(len(units) for units in runner.batches(own, samples=1, batch_size=8)) == [3, 3]
    record = {**own[0].as_record(), "context": [["b.py"]]}
    assert records.problem_with(record, records.PROBLEM).startswith("context must be pairs of texts")


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    runner.write_samples(
        ToyModel(), PROBLEMS, folder=tmp_path, batch_size=10, progress=lambda *counts: told.append(counts)
    )
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]
    told.clear()
    samples, results = tmp_path / "samples.jsonl", tmp_path / "results.jsonl"
    runner.write_results(None, PROBLEMS, samples=samples, results=results, progress=lambda *n: told.append(n))
    assert (told[0], told[-1]) == ((1, 30), (30, 30))
