"""The log of a run: lines of JSON, on to which a run that goes on appends exactly what the other would have.

A logging interval is one line with `step` (batches so far), `tokens` (about: positions times the data's fill rate),
`loss`, the metrics of `compile`, `learning_rate` (of the interval's last batch), `seconds` and `tokens_per_second`. A
validation is one with `step` and `val_` in front of its names.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Log:
    """Appends lines, each on disk when `write` returns.

    Args:
        path: of the file.
        step: lines behind this one, of a run that was killed after its last checkpoint, are cut off.
        writes: whether this process writes; of several, one does, and the others know the losses.
    """

    def __init__(self, path: Path, *, step: int, writes: bool = True) -> None:
        self._path = path
        self._writes = writes
        kept = [line for line in read(path) if line["step"] <= step]
        self._losses = [line["loss"] for line in kept if "loss" in line]
        if not writes:
            return
        part = path.with_name(path.name + ".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
        part.replace(path)

    @property
    def losses(self) -> list[float]:
        """Of all intervals."""
        return self._losses

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line."""
        if self._writes:
            with self._path.open("a") as file:
                file.write(json.dumps(dict(line)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        if "loss" in line:
            self._losses.append(line["loss"])


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; none where there is no file. A last line that a kill cut short is left out."""
    return list(_lines(path)) if path.exists() else []


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError:
            if number < len(lines):
                raise ValueError(
                    f"Line {number} of {path} must be JSON; it is {line!r:.80}. Remove it, or use another --workdir."
                ) from None
