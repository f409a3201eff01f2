"""What all samples of a run must share, put on record in its folder and compared when the run goes on."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import records

FILE = "settings.json"
LEFT_OUT = "left_out.json"
"""Of a run: task -> why its problems could not be read."""
REPOSITORY = "repository.json"
"""Of a run on a repository: where its problems come from."""


def read(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings of a run; none where it has no samples yet."""
    return records.read_json(Path(folder, FILE)) or {}


def check(folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
    """Puts settings on record, or compares them with those that the samples of the folder were made with.

    Raises:
        ValueError: they differ.
    """
    before = read(folder)
    differing = [name for name in settings if name in before and before[name] != settings[name]]
    if differing:
        changes = "; ".join(f"{name} was {before[name]!r} and is {settings[name]!r}" for name in differing)
        raise ValueError(
            f"All samples of a run must be made with the same settings; in {folder} {changes}. "
            "Choose another folder, or delete this one."
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    records.write_json(Path(folder, FILE), {**before, **settings})
