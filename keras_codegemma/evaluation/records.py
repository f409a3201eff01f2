"""The files between the stages: JSON Lines with checked fields, appended so that a kill at any moment loses nothing.

A line is written whole or is the last one without its line break; continuing cuts such a tail off. A damaged line
elsewhere is reported with its number and left out; the others are read.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)

TEXT, WHOLE, NUMBER, FLAG, TEXTS, MAYBE_TEXTS = "text", "integer", "number", "true or false", "texts", "texts or null"
PAIRS = "pairs of texts"

SAMPLE = {"task_id": TEXT, "sample": WHOLE, "completion": TEXT, "finish_reason": TEXT, "seconds": NUMBER}
"""Fields of samples.jsonl; `seconds` is the sample's share of the time of its batch."""

RESULT = {
    "task_id": TEXT,
    "sample": WHOLE,
    "passed": FLAG,
    "verdict": TEXT,
    "detail": TEXT,
    "exact_match": FLAG,
    "edit_similarity": NUMBER,
    "finish_reason": TEXT,
    "seconds": NUMBER,
    "sampling_seconds": NUMBER,
}
"""Fields of results.jsonl; `verdict` is one of `execution.VERDICTS`, or of `runner.NOT_JUDGED` where nothing was run.

`seconds` are the program's on the clock.
"""

PROBLEM = {
    "task_id": TEXT,
    "task": TEXT,
    "kind": TEXT,
    "prefix": TEXT,
    "suffix": TEXT,
    "layout": TEXT,
    "before": TEXT,
    "after": TEXT,
    "tests": TEXT,
    "entry_point": TEXT,
    "canonical_solution": TEXT,
    "language": TEXT,
    "stop": TEXTS,
    "keep_stop": FLAG,
    "cluster": TEXT,
    "printed_ids": MAYBE_TEXTS,
    "max_new_tokens": WHOLE,
    "seconds": NUMBER,
    "path": TEXT,
    "context": PAIRS,
}
"""Fields of problems.jsonl, as in `problems.Problem`."""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A line that could not be used: its number, from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What a file held: its good records in order, and the damaged lines."""

    records: list[dict[str, Any]]
    damaged: list[Damage]


def problem_with(record: Any, schema: Mapping[str, str]) -> str:
    """What is wrong with a record, or "" where nothing is."""
    if not isinstance(record, dict):
        return f"must be an object; got {type(record).__name__}"
    missing, unknown = schema.keys() - record.keys(), record.keys() - schema.keys()
    if missing or unknown:
        return f"must have the fields {sorted(schema)}; missing {sorted(missing)}, unknown {sorted(unknown)}"
    for name, kind in schema.items():
        if not _is(record[name], kind):
            return f"{name} must be {kind}; got {record[name]!r:.80}"
    return ""


def read(path: str | os.PathLike[str], schema: Mapping[str, str]) -> Lines:
    """Reads a file; every damaged line is logged with its number and left out."""
    records, damaged = [], []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            reason = problem_with(record, schema)
        except ValueError as error:
            record, reason = None, f"no JSON ({error})"
        if reason:
            damaged.append(Damage(line=number, reason=reason))
            _LOG.warning("%s, line %d is left out: %s. Repair it or let it be made again.", path, number, reason)
        else:
            records.append(record)
    return Lines(records=records, damaged=damaged)


def write(path: str | os.PathLike[str], records: Iterable[Mapping[str, Any]], schema: Mapping[str, str]) -> None:
    """Writes a whole file; it stands under its name only when it is complete."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        for record in records:
            file.write(_line(record, schema))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class Appender:
    """Adds records to a file that may have been left in the middle of a line.

    Args:
        path: of the file; made if missing.
        schema: of its records.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Mapping[str, str]):
        self._schema = schema
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self._fd).st_size
        whole = size - _bytes_after_last_line(self._fd, size)
        if whole != size:
            _LOG.warning("%s ended within a line, %d bytes of which are cut off.", path, size - whole)
            os.ftruncate(self._fd, whole)

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Appends records; on return they survive a kill of this process.

        Raises:
            ValueError: a record against the schema; nothing is written then.
        """
        data = b"".join(_line(record, self._schema) for record in records)
        while data:
            data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        """Brings the file to the disk."""
        os.fsync(self._fd)
        os.close(self._fd)

    def __enter__(self) -> "Appender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bytes_after_last_line(fd: int, size: int) -> int:
    tail, end = 0, size
    while end > 0:
        start = max(0, end - 65536)
        piece = os.pread(fd, end - start, start)
        place = piece.rfind(b"\n")
        if place >= 0:
            return tail + len(piece) - place - 1
        tail, end = tail + len(piece), start
    return tail


def _line(record: Mapping[str, Any], schema: Mapping[str, str]) -> bytes:
    reason = problem_with(record, schema)
    if reason:
        raise ValueError(f"A record to write {reason}. This is a mistake of the caller: correct the record.")
    # The order of fields is the schema's, so that equal records are equal lines.
    return json.dumps({name: record[name] for name in schema}).encode() + b"\n"


def _is(value: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == FLAG:
        return isinstance(value, bool)
    if kind == WHOLE:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == NUMBER:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == MAYBE_TEXTS and value is None:
        return True
    if kind == PAIRS:
        return isinstance(value, list) and all(len(pair) == 2 and _is(pair, TEXTS) for pair in value)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes one JSON value; it stands under its name only when it is complete."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value that `write_json` wrote, or None where there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} must hold JSON; it cannot be read ({error}). Delete it, and its stage is run again."
        ) from error
