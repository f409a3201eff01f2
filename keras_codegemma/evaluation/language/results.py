"""The results of a run's language tasks: `language/<task>.json` in its folder, with the settings they were made under.

A task's file stands under its name only when the task is finished, so what can be read is whole.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import records
from keras_codegemma.evaluation.language.tasks import TASKS

FOLDER = "language"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A mean over problems, in [0, 1], and its standard error; None for a single problem."""

    value: float
    standard_error: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row of the report.

    Attributes:
        task: a key of `TASKS`.
        title: as in the report.
        not_run: the reason why there is no figure, beginning with "not run: "; "" where there is one.
        figures: by metric; the first is the row's figure.
        problems: how many were scored.
        available: how many the files have.
        limit: that was asked for; None for all.
        shots: solved problems in each prompt.
        truncated: problems of which a prompt did not fit the model's context and lost its beginning.
        tokens_left_out: the most that one prompt lost.
        subjects: of MMLU, the figure and number of problems of each.
        harness: version of lm-evaluation-harness.
        files: sha256 of the contents of each benchmark file.
        other_data: whether one of them is not the pinned one.
        seconds: that the model took.
        deviation: what differs from the harness' own task.
        published: preset -> published percentage.
    """

    task: str
    title: str
    not_run: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    problems: int = 0
    available: int = 0
    limit: int | None = None
    shots: int = 0
    truncated: int = 0
    tokens_left_out: int = 0
    subjects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    harness: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    other_data: bool = False
    seconds: float = 0.0
    deviation: str = ""
    published: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Result":
        """From what `write` wrote."""
        figures = {name: Figure(**figure) for name, figure in record["figures"].items()}
        return cls(**{**record, "figures": figures})


def figure(values: Sequence[float]) -> Figure:
    """The mean, and its standard error from the sample's variance, as the harness has it.

    >>> figure([1.0, 0.0, 0.0, 1.0])
    Figure(value=0.5, standard_error=0.28867513459481287)
    """
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return Figure(value=mean, standard_error=None)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return Figure(value=mean, standard_error=math.sqrt(variance / count))


def path_of(folder: str | os.PathLike[str], name: str) -> Path:
    """A file of the language tasks of a run."""
    return Path(folder, FOLDER, name)


def write(folder: str | os.PathLike[str], result: Result) -> None:
    """Writes one task's result."""
    records.write_json(path_of(folder, f"{result.task}.json"), asdict(result))


def read_one(folder: str | os.PathLike[str], task: str) -> Result | None:
    """One task's result, or None where there is none yet.

    Raises:
        ValueError: the file is damaged.
    """
    path = path_of(folder, f"{task}.json")
    if not path.exists():
        return None
    try:
        return Result.from_record(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must be a result of `language.run`; it cannot be read ({error!r}). Delete it, and the task is "
            "run again."
        ) from error


def read(folder: str | os.PathLike[str]) -> dict[str, Result]:
    """The results of a run by task, in the order of `TASKS`; tasks without a result are left out.

    Args:
        folder: of the run, as given to `run`.

    Raises:
        ValueError: a damaged file.
    """
    found = {name: read_one(folder, name) for name in TASKS}
    return {name: result for name, result in found.items() if result is not None}


def check_settings(folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
    """Puts the settings of a new run on record, or compares them with those of the run that the folder holds.

    Raises:
        ValueError: they differ.
    """
    path = path_of(folder, "settings.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        records.write_json(path, dict(settings))
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    differing = [name for name in settings if before.get(name) != settings[name]]
    if differing:
        changes = "; ".join(f"{name} was {before.get(name)!r} and is {settings[name]!r}" for name in differing)
        raise ValueError(
            f"All language results of a run must have the same settings; in {path.parent} {changes}. "
            "Choose another folder, or delete this one."
        )
