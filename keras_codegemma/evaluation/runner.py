"""The stages that make files: problems -> samples (with the model), samples -> results (without).

Both can be interrupted at any moment and started again: the work is a fixed list of batches made from the problems
alone, what a file already has is not made again, and the finished files do not depend on where the kill fell (but
for the seconds, which were measured once).
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from keras_codegemma.evaluation import babelcode, metrics, records
from keras_codegemma.evaluation.execution import CommandJob, Executor, Outcome, PythonJob
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.sandbox import Limits

_LOG = logging.getLogger(__name__)

NOT_JUDGED = ("not_run", "toolchain_missing", "untested")
"""Verdicts without a run: programs were not allowed; the language's compiler is missing; there are no tests."""

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""
Job = PythonJob | CommandJob | Outcome
"""What to run for a completion, or the outcome where nothing is."""


class Unit(NamedTuple):
    """One completion to make: a problem and the number of the sample."""

    problem: Problem
    sample: int


class Text(NamedTuple):
    """One completion as it came from the model."""

    completion: str
    finish_reason: str


class Model(Protocol):
    """What sampling needs of a model; `model.CausalLM` is the real one."""

    def complete(self, problems: Sequence[Problem], *, seed: int) -> list[Text]:
        """One completion for each problem, all of one kind, layout, stop and budget."""
        ...


# Problems


def write_problems(path: str | os.PathLike[str], problems: Iterable[Problem]) -> None:
    """Writes problems.jsonl."""
    records.write(path, (problem.as_record() for problem in problems), records.PROBLEM)


def read_problems(path: str | os.PathLike[str]) -> list[Problem]:
    """Reads problems.jsonl; damaged lines are logged and left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: two problems of one name.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"The problems of a run must stand in its folder; there is no {path}. Make them with `codegemma eval "
            "problems` or `codegemma eval run`, or correct the folder."
        )
    problems = [Problem.from_record(record) for record in records.read(path, records.PROBLEM).records]
    names = [problem.task_id for problem in problems]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"Each task_id must stand in {path} once; got {twice!r} more often. Remove the others.")
    return problems


# Samples


def batches(problems: Sequence[Problem], *, samples: int, batch_size: int) -> list[list[Unit]]:
    """All completions to make, grouped by what a batch must share and sorted by length, longest first.

    Batch-mates of like length pad least, and the first batch shows at once whether memory suffices.
    """
    groups: dict[tuple[Any, ...], list[Unit]] = {}
    for problem in problems:
        key = (problem.kind, problem.layout, problem.stop, problem.keep_stop, problem.max_new_tokens)
        key += (problem.path, problem.context)
        groups.setdefault(key, []).extend(Unit(problem, sample) for sample in range(samples))
    made = []
    for units in groups.values():
        units.sort(key=lambda unit: -len(unit.problem.prefix) - len(unit.problem.suffix))
        made += [units[start : start + batch_size] for start in range(0, len(units), batch_size)]
    return made


def write_samples(
    model: Model,
    problems: Sequence[Problem],
    *,
    folder: str | os.PathLike[str],
    samples: int = 1,
    batch_size: int = 8,
    seed: int = 0,
    process: int = 0,
    processes: int = 1,
    progress: Progress = lambda done, total: None,
) -> bool:
    """Makes the completions that are missing; whoever finds all of them made writes samples.jsonl.

    Args:
        model: makes completions.
        problems: to complete.
        folder: for the files; each process appends to its own `samples-<i>-of-<n>.jsonl`.
        samples: completions of each problem.
        batch_size: completions made together.
        seed: batch number b draws from seed + b.
        process: which of the processes this is, from 0; it makes every `processes`-th batch.
        processes: how many share the work.
        progress: told before each batch, in batches.

    Returns:
        Whether samples.jsonl is complete.

    Raises:
        ValueError: an impossible process number.
    """
    if not 0 <= process < processes:
        raise ValueError(f"process must be between 0 and processes - 1; got {process} of {processes}. Count from 0.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    work = batches(problems, samples=samples, batch_size=batch_size)
    with records.Appender(_part(folder, process, processes), records.SAMPLE) as appender:
        done = _done(folder, processes)
        for number in range(process, len(work), processes):
            units = work[number]
            progress(number, len(work))
            missing = [unit for unit in units if (unit.problem.task_id, unit.sample) not in done]
            if not missing:
                continue
            # A batch that was cut off is made again whole: its mates are part of how it came about.
            start = time.perf_counter()
            texts = model.complete([unit.problem for unit in units], seed=seed + number)
            seconds = (time.perf_counter() - start) / len(units)
            made = [_sample(unit, text, seconds) for unit, text in zip(units, texts, strict=True) if unit in missing]
            appender.add(made)
            _LOG.info("Batch %d of %d: %d completions.", number + 1, len(work), len(made))
    return _merge(folder, problems, samples, processes)


def _sample(unit: Unit, text: Text, seconds: float) -> dict[str, Any]:
    return {
        "task_id": unit.problem.task_id,
        "sample": unit.sample,
        "completion": text.completion,
        "finish_reason": text.finish_reason,
        "seconds": round(seconds, 4),
    }


def _part(folder: Path, process: int, processes: int) -> Path:
    return folder / f"samples-{process:05d}-of-{processes:05d}.jsonl"


def _done(folder: Path, processes: int) -> dict[tuple[str, int], dict[str, Any]]:
    done: dict[tuple[str, int], dict[str, Any]] = {}
    for process in range(processes):
        path = _part(folder, process, processes)
        if path.exists():
            for record in records.read(path, records.SAMPLE).records:
                done.setdefault((record["task_id"], record["sample"]), record)
    return done


def _merge(folder: Path, problems: Sequence[Problem], samples: int, processes: int) -> bool:
    done = _done(folder, processes)
    names = [(problem.task_id, sample) for problem in problems for sample in range(samples)]
    if any(name not in done for name in names):
        return False
    records.write(folder / "samples.jsonl", (done[name] for name in names), records.SAMPLE)
    return True


# Results


def write_results(
    executor: Executor | None,
    problems: Sequence[Problem],
    *,
    samples: str | os.PathLike[str],
    results: str | os.PathLike[str],
    make_job: Callable[[Problem, str], Job] | None = None,
    progress: Progress = lambda done, total: None,
) -> int:
    """Judges every sample that has no verdict yet, in the order of the samples, and returns how many were judged.

    Args:
        executor: runs the programs; None compares texts alone.
        problems: that the samples belong to.
        samples: a samples.jsonl, ours or anybody's.
        results: the file to add to.
        make_job: from a problem and a completion to what is run; None for `job_for` with the toolchains found here,
            or, without an executor, for the verdict "not_run".
        progress: told after each sample.

    Raises:
        ValueError: a sample of an unknown problem, or one that stands twice.
    """
    known = {problem.task_id: problem for problem in problems}
    todo = _to_judge(samples, known)
    if make_job is None:
        make_job = _not_run if executor is None else partial(job_for, toolchains=_toolchains(problems))
    with records.Appender(results, records.RESULT) as appender:
        existing = records.read(results, records.RESULT).records
        # What could not be run before may run now.
        done = {
            (record["task_id"], record["sample"])
            for record in existing
            if executor is None or record["verdict"] not in NOT_JUDGED
        }
        todo = [record for record in todo if (record["task_id"], record["sample"]) not in done]
        pairs = [(known[record["task_id"]], record) for record in todo]
        outcomes = _outcomes(executor, pairs, make_job)
        for number, ((problem, record), outcome) in enumerate(zip(pairs, outcomes, strict=True), start=1):
            appender.add([_result(problem, record, outcome)])
            progress(number, len(pairs))
    _in_order(samples, results)
    return len(todo)


def _to_judge(samples: str | os.PathLike[str], known: dict[str, Problem]) -> list[dict[str, Any]]:
    todo = records.read(samples, records.SAMPLE).records
    seen = set()
    for record in todo:
        name = (record["task_id"], record["sample"])
        if record["task_id"] not in known:
            raise ValueError(
                f"Each sample must belong to a problem; {record['task_id']!r} of {samples} is in no line of the "
                "problems file. Pass the problems that the samples were made from."
            )
        if name in seen:
            raise ValueError(f"A sample must stand once; {name} stands twice in {samples}. Number the samples.")
        seen.add(name)
    return todo


def _outcomes(
    executor: Executor | None,
    pairs: Sequence[tuple[Problem, dict[str, Any]]],
    make_job: Callable[[Problem, str], Job],
) -> Iterator[Outcome]:
    jobs = [make_job(problem, record["completion"]) for problem, record in pairs]
    to_run = [job for job in jobs if not isinstance(job, Outcome)]
    ran = iter(()) if executor is None else executor.run(to_run)
    for job in jobs:
        yield job if isinstance(job, Outcome) else next(ran)


def _toolchains(problems: Sequence[Problem]) -> babelcode.Toolchains:
    foreign = any(problem.language != "Python" for problem in problems)
    return babelcode.find_toolchains() if foreign else {}


def _not_run(_: Problem, __: str) -> Outcome:
    return Outcome(verdict="not_run", detail="running programs was not allowed", seconds=0.0)


def job_for(problem: Problem, completion: str, toolchains: "babelcode.Toolchains | None" = None) -> Job:
    """What to run for a completion, or the outcome where its language has no toolchain here."""
    if problem.language != "Python":
        return babelcode.job(problem, completion, toolchains or {})
    return PythonJob(
        program=problem.program(completion),
        tests=problem.tests,
        entry_point=problem.entry_point,
        printed_ids=problem.printed_ids,
        limits=Limits(cpu_seconds=problem.seconds, wall_seconds=3 * problem.seconds + 1),
    )


def _result(problem: Problem, record: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    completion = problem.cut(record["completion"])
    return {
        "task_id": problem.task_id,
        "sample": record["sample"],
        "passed": outcome.passed,
        "verdict": outcome.verdict,
        "detail": outcome.detail,
        "exact_match": metrics.exact_match(completion, problem.canonical_solution),
        "edit_similarity": round(metrics.edit_similarity(completion, problem.canonical_solution), 4),
        "finish_reason": record["finish_reason"],
        "seconds": round(outcome.seconds, 4),
        "sampling_seconds": record["seconds"],
    }


def _in_order(samples: str | os.PathLike[str], results: str | os.PathLike[str]) -> None:
    """Puts the results into the order of the samples, which a damaged line that was judged again had left."""
    # The last one counts: it was judged when an earlier one could not be.
    found = {(record["task_id"], record["sample"]): record for record in records.read(results, records.RESULT).records}
    names = [(record["task_id"], record["sample"]) for record in records.read(samples, records.SAMPLE).records]
    records.write(results, (found[name] for name in names if name in found), records.RESULT)
