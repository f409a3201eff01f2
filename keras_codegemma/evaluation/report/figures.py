"""From the files of a run to figures: pass rates with intervals, comparisons of texts, seconds, verdicts."""

import datetime
import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import language, metrics, records, runner, safety, settings, timing
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.table import TASKS

PASS_AT = (1, 10, 25, 50, 100)
NORMAL_95 = 1.96
"""Standard errors on each side of a mean that hold 95% of a normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the folder of a run holds.

    Attributes:
        settings: preset, seed and so on, as `settings.check` put them on record.
        problems: of problems.jsonl.
        left_out: task -> why its problems could not be read.
        samples: of samples.jsonl.
        results: of results.jsonl.
        damaged: (file, line, reason) of lines that could not be read.
        timing: of timing.json, or None.
        language: results of the language tasks.
        safety: summary of the safety figures, or the reason under "not_run", or None where nobody asked.
        repository: of repository.json, or None.
    """

    settings: Mapping[str, Any]
    problems: Sequence[Problem]
    left_out: Mapping[str, str]
    samples: Sequence[Mapping[str, Any]]
    results: Sequence[Mapping[str, Any]]
    damaged: Sequence[tuple[str, int, str]]
    timing: Mapping[str, Any] | None
    language: Mapping[str, language.Result]
    safety: Mapping[str, Any] | None
    repository: Mapping[str, Any] | None


def read(folder: str | os.PathLike[str]) -> Run:
    """Reads the folder of a run.

    Raises:
        FileNotFoundError: nothing in it can be reported.
        ValueError: a damaged file.
    """
    folder = Path(folder)
    damaged: list[tuple[str, int, str]] = []

    def lines(name: str, schema: Mapping[str, str]) -> list[dict[str, Any]]:
        if not (folder / name).exists():
            return []
        found = records.read(folder / name, schema)
        damaged.extend((name, damage.line, damage.reason) for damage in found.damaged)
        return found.records

    left_out = records.read_json(folder / settings.LEFT_OUT) or {}
    problems = [Problem.from_record(record) for record in lines("problems.jsonl", records.PROBLEM)]
    run = Run(
        settings=settings.read(folder),
        problems=problems,
        left_out={name: reason for name, reason in left_out.items() if name in TASKS},
        samples=lines("samples.jsonl", records.SAMPLE),
        results=lines("results.jsonl", records.RESULT),
        damaged=damaged,
        timing=timing.read(folder),
        language=_language(folder, left_out),
        safety=safety.read(folder) or ({"not_run": left_out["safety"]} if "safety" in left_out else None),
        repository=records.read_json(folder / settings.REPOSITORY),
    )
    if not (run.problems or run.left_out or run.language or run.safety):
        raise FileNotFoundError(
            f"The folder of a run must hold problems or results; {folder} holds none. Run codegemma eval run first."
        )
    return run


def _language(folder: Path, left_out: Mapping[str, str]) -> dict[str, language.Result]:
    """The results of the language tasks, and the reasons of those that could not be started."""
    found = language.read(folder)
    for name in left_out:
        if name in language.TASKS and name not in found:
            task = language.TASKS[name]
            found[name] = language.Result(
                task=name, title=task.title, not_run=f"not run: {left_out[name]}", published=task.published
            )
    return found


def make(run: Run, *, toolchains: Mapping[str, str] | None = None) -> dict[str, Any]:
    """All figures of a run.

    Args:
        run: what its folder holds.
        toolchains: language -> version, to be put on record.
    """
    by_problem: dict[str, list[Mapping[str, Any]]] = {}
    for record in run.results:
        by_problem.setdefault(record["task_id"], []).append(record)
    rows = {}
    for name in dict.fromkeys([*(problem.task for problem in run.problems), *run.left_out]):
        chosen = [problem for problem in run.problems if problem.task == name]
        rows[name] = _row(name, chosen, by_problem, run)
    order = {name: place for place, name in enumerate(TASKS)}
    return {
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": sys.argv,
        "settings": dict(run.settings),
        "toolchains": dict(toolchains or {}),
        "damaged_lines": [{"file": file, "line": line, "reason": reason} for file, line, reason in run.damaged],
        "tasks": dict(sorted(rows.items(), key=lambda item: order.get(item[0], len(order)))),
        "timing": run.timing,
        "language": {name: _language_row(result) for name, result in run.language.items()},
        "safety": run.safety,
        "repository": run.repository,
    }


def _row(
    name: str, problems: Sequence[Problem], by_problem: Mapping[str, list[Mapping[str, Any]]], run: Run
) -> dict[str, Any]:
    """Figures of one code task, or the reason why there are none."""
    task = TASKS.get(name)
    row: dict[str, Any] = {
        "title": task.title if task else name.replace("-", ", ", 1).replace("-", " "),
        "problems": len(problems),
        "published": task.published if task else {},
        "ceiling": task.ceiling if task else 100.0,
        "notes": task.notes if task else "",
    }
    if run.timing is not None and name in run.timing["tasks"]:
        row["timing"] = {**run.timing["tasks"][name], "published": timing.published(name)}
    if name in run.left_out:
        return row | {"error": f"not run: {run.left_out[name]}"}
    missing = sum(problem.task_id not in by_problem for problem in problems)
    if missing:
        return row | {"error": f"{missing} of {len(problems)} problems have no result yet"}
    found = [record for problem in problems for record in by_problem[problem.task_id]]
    row |= {"samples": len(found)} | _texts(problems, found)
    verdicts = Counter(record["verdict"] for record in found)
    unjudged = [record for record in found if record["verdict"] in runner.NOT_JUDGED]
    if unjudged:
        return row | {"error": _reason(unjudged[0])}
    return row | {"verdicts": dict(verdicts.most_common())} | _passes(problems, by_problem)


def _reason(record: Mapping[str, Any]) -> str:
    if record["verdict"] == "not_run":
        return "not run: programs are run only with --run-untrusted-programs"
    return f"not run: {record['detail']}"


def _texts(problems: Sequence[Problem], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What can be said without running anything."""
    figures: dict[str, Any] = {
        "finish_reasons": dict(Counter(record["finish_reason"] for record in found).most_common()),
        "stopped_rate": _mean([record["finish_reason"] == "stop" for record in found]),
        "sampling_seconds": sum(record["sampling_seconds"] for record in found),
        "program_seconds": sum(record["seconds"] for record in found),
    }
    if any(problem.canonical_solution for problem in problems):
        figures["exact_match"] = _mean([record["exact_match"] for record in found])
        figures["edit_similarity"] = _mean([record["edit_similarity"] for record in found])
        clusters = {problem.task_id: problem.cluster for problem in problems}
        interval = metrics.clustered_interval(
            [float(record["exact_match"]) for record in found], [clusters[record["task_id"]] for record in found]
        )
        figures["exact_match_interval"] = asdict(interval)
    return figures


def _passes(problems: Sequence[Problem], by_problem: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Any]:
    counts = [
        (len(by_problem[problem.task_id]), sum(record["passed"] for record in by_problem[problem.task_id]))
        for problem in problems
    ]
    fewest = min(samples for samples, _ in counts)
    interval = metrics.clustered_interval(
        [passed / samples for samples, passed in counts], [problem.cluster for problem in problems]
    )
    return {
        "passed": sum(passed for _, passed in counts),
        "pass_at": {str(k): metrics.mean_pass_at_k(counts, k) for k in PASS_AT if k <= fewest},
        "pass_at_1_interval": asdict(interval),
    }


def _language_row(result: language.Result) -> dict[str, Any]:
    """The result as a record, with an interval of the row's figure."""
    row = asdict(result)
    if result.figures:
        metric, figure = next(iter(result.figures.items()))
        row["metric"] = metric
        if figure.standard_error:
            reach = NORMAL_95 * figure.standard_error
            row["interval"] = {"low": max(0.0, figure.value - reach), "high": min(1.0, figure.value + reach)}
        elif figure.value in (0.0, 1.0):
            # None or all: the spread of the values says nothing, the exact interval does.
            row["interval"] = asdict(
                metrics.clustered_interval([figure.value] * result.problems, range(result.problems))
            )
    return row


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
