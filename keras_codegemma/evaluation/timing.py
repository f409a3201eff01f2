"""Seconds for one infilling, as the time column of CodeGemma's report counts them: one at a time, 128 new tokens.

The report (arXiv 2406.11409, Table 2) gives the seconds for all tasks of a set: Hugging Face Transformers, bfloat16,
batch 1, on a machine with one L4. 543 seconds for 1,033 tasks are too few for 128 tokens of each, so generation ended
early, at a sentinel; here too. Divided by the number of tasks they stand beside ours, which are seconds per task on
the device that the file names.
"""

import datetime
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import records
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.runner import Model, Progress

FILE = "timing.json"

PUBLISHED_SECONDS = {
    "single-line": (1033, {"code_gemma_2b_en": 543, "code_gemma_1.1_2b_en": 771, "code_gemma_7b_en": 1505}),
    "multi-line": (5815, {"code_gemma_2b_en": 8479, "code_gemma_1.1_2b_en": 9372, "code_gemma_7b_en": 22896}),
}
"""Set -> (tasks, preset -> seconds for all of them)."""


def published(task: str) -> dict[str, float]:
    """Published seconds per problem of an infilling task, by preset.

    >>> round(published("infilling-single-line-psm")["code_gemma_2b_en"], 4)
    0.5257
    """
    split = task.removeprefix("infilling-").rpartition("-")[0]
    tasks, totals = PUBLISHED_SECONDS.get(split, (1, {}))
    return {preset: seconds / tasks for preset, seconds in totals.items()}


def measure(
    model: Model,
    problems: Sequence[Problem],
    *,
    count: int,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = lambda done, total: None,
) -> dict[str, dict[str, Any]]:
    """Times the first infilling problems of each task, one at a time, each run once before the clock starts.

    The run before takes compilation for a new size of prompt out of the figure.

    Args:
        model: makes completions.
        problems: of any tasks; those that are no infilling are left alone.
        count: problems of each task.
        clock: gives seconds.
        progress: told after each problem.

    Returns:
        For each task: `timed` problems, `of` how many, and `mean`, `median`, `low` and `high` seconds.
    """
    by_task: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.kind == "infilling":
            by_task.setdefault(problem.task, []).append(problem)
    total = sum(min(count, len(chosen)) for chosen in by_task.values())
    done, figures = 0, {}
    for task, chosen in by_task.items():
        seconds = []
        for problem in chosen[:count]:
            model.complete([problem], seed=0)
            start = clock()
            model.complete([problem], seed=0)
            seconds.append(clock() - start)
            done += 1
            progress(done, total)
        if seconds:
            figures[task] = {"timed": len(seconds), "of": len(chosen), **_figures(seconds)}
    return figures


def write(
    folder: str | os.PathLike[str], tasks: Mapping[str, Any], *, count: int, device: str, versions: Mapping[str, str]
) -> None:
    """Writes timing.json: the figures of `measure`, with what they were measured on."""
    document = {
        "count": count,
        "device": device,
        "versions": dict(versions),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "case": "batch 1, at most 128 new tokens, ends at the model's own sentinel; each problem run once before",
        "tasks": dict(tasks),
    }
    records.write_json(Path(folder, FILE), document)


def read(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What `write` wrote, or None where nothing was timed."""
    return records.read_json(Path(folder, FILE))


def _figures(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.fmean(seconds), 4),
        "median": round(statistics.median(seconds), 4),
        "low": round(min(seconds), 4),
        "high": round(max(seconds), 4),
    }
