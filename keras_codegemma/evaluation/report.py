"""Figures from results: JSON, and a Markdown table beside the published figures."""

import datetime
import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import metrics, records, runner
from keras_codegemma.evaluation.problems import PRESETS, Problem, Task

PASS_AT = (1, 10, 25, 50, 100)


def make(
    problems: Sequence[Problem],
    *,
    results: str | os.PathLike[str],
    tasks: Mapping[str, Task],
    toolchains: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """All figures of a results file.

    Args:
        problems: that were asked.
        results: a results.jsonl.
        tasks: by name, for titles and published figures.
        toolchains: language -> version, to be put on record.
    """
    lines = records.read(results, records.RESULT)
    by_problem: dict[str, list[dict[str, Any]]] = {}
    for record in lines.records:
        by_problem.setdefault(record["task_id"], []).append(record)
    rows = {}
    for name in dict.fromkeys(problem.task for problem in problems):
        chosen = [problem for problem in problems if problem.task == name]
        rows[name] = _row(chosen, by_problem, tasks.get(name))
    return {
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": sys.argv,
        "toolchains": dict(toolchains or {}),
        "damaged_lines": [asdict(damage) for damage in lines.damaged],
        "tasks": rows,
    }


def _row(
    problems: Sequence[Problem], by_problem: Mapping[str, list[dict[str, Any]]], task: Task | None
) -> dict[str, Any]:
    """Figures of one task, or the reason why there are none."""
    row: dict[str, Any] = {
        "title": task.title if task else problems[0].task,
        "problems": len(problems),
        "published": task.published if task else {},
        "ceiling": task.ceiling if task else 100.0,
        "notes": task.notes if task else "",
    }
    answered = [problem for problem in problems if problem.task_id in by_problem]
    if len(answered) < len(problems):
        row["error"] = f"{len(problems) - len(answered)} of {len(problems)} problems have no result yet"
        return row
    found = [record for problem in problems for record in by_problem[problem.task_id]]
    missing = [record for record in found if record["verdict"] == "toolchain_missing"]
    if missing:
        row["error"] = missing[0]["detail"]
        return row
    counts = [
        (len(by_problem[problem.task_id]), sum(record["passed"] for record in by_problem[problem.task_id]))
        for problem in problems
    ]
    fewest = min(samples for samples, _ in counts)
    interval = metrics.clustered_interval(
        [passed / samples for samples, passed in counts], [problem.cluster for problem in problems]
    )
    row |= {
        "samples": len(found),
        "passed": sum(passed for _, passed in counts),
        "pass_at": {str(k): metrics.mean_pass_at_k(counts, k) for k in PASS_AT if k <= fewest},
        "pass_at_1_interval": asdict(interval),
        "verdicts": dict(Counter(record["verdict"] for record in found).most_common()),
        "finish_reasons": dict(Counter(record["finish_reason"] for record in found).most_common()),
        "stopped_rate": _mean([record["finish_reason"] == "stop" for record in found]),
        "sampling_seconds": sum(record["sampling_seconds"] for record in found),
        "program_seconds": sum(record["seconds"] for record in found),
    }
    if any(problem.canonical_solution for problem in problems):
        row["exact_match"] = _mean([record["exact_match"] for record in found])
        row["edit_similarity"] = _mean([record["edit_similarity"] for record in found])
    return row


def markdown(report: Mapping[str, Any], *, preset: str = "") -> str:
    """The table: a task a row, percentages, the published figure of the preset (or of all) beside ours."""
    columns = [preset] if preset in PRESETS else list(PRESETS)
    head = ["task", "problems", "pass@1", "95% interval", "exact", "edit", "stopped", "sampling s", "ceiling"]
    head += [f"published {name.removeprefix('code_gemma_')}" for name in columns]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in report["tasks"].values():
        published = [f"{row['published'][name]:.2f}" if name in row["published"] else "" for name in columns]
        if "error" in row:
            lines.append(_line([row["title"], row["problems"], row["error"], *[""] * 6, *published]))
            continue
        interval = row["pass_at_1_interval"]
        figures = [
            _percent(row["pass_at"]["1"]),
            f"{_percent(interval['low'])} to {_percent(interval['high'])}",
            _percent(row.get("exact_match")),
            _percent(row.get("edit_similarity")),
            _percent(row["stopped_rate"]),
            f"{row['sampling_seconds']:.0f}",
            f"{row['ceiling']:.1f}" if row["ceiling"] < 100 else "",
        ]
        lines.append(_line([row["title"], row["problems"], *figures, *published]))
    notes = [f"{row['title']}: {row['notes']}" for row in report["tasks"].values() if row["notes"]]
    notes += [f"{language}: {version}" for language, version in report["toolchains"].items()]
    notes += [f"damaged line {one['line']}: {one['reason']}" for one in report["damaged_lines"]]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]).rstrip() + "\n"


def write(
    folder: str | os.PathLike[str],
    *,
    tasks: Mapping[str, Task],
    preset: str = "",
    toolchains: Mapping[str, str] | None = None,
) -> str:
    """Writes report.json and report.md beside results.jsonl; returns the table."""
    folder = Path(folder)
    problems = runner.read_problems(folder / "problems.jsonl")
    report = make(problems, results=folder / "results.jsonl", tasks=tasks, toolchains=toolchains)
    table = markdown(report, preset=preset)
    records.write_json(folder / "report.json", report)
    (folder / "report.md").write_text(table, encoding="utf-8")
    return table


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f}"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
