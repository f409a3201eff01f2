"""Reads JSONL (plain or packed) and Parquet files: one row is one file."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from training.corpus.document import Dropped, RawFile, ending_of, language_named
from training.corpus.licences import normalised
from training.corpus.reading.origin import (
    Limits,
    Origin,
    UnsafeNameError,
    clean_path,
    file_hash,
    is_one_line,
    printable,
)
from training.corpus.reading.streams import UNPACKING_ERRORS, Readable, unpacked

_JSON_ENDINGS = tuple(
    f"{kind}{packed}" for kind in (".jsonl", ".ndjson") for packed in ("", ".gz", ".xz", ".bz2", ".zst")
)
_ENDINGS = (*_JSON_ENDINGS, ".parquet")
_CHUNK_BYTES = 1 << 18
_BATCH_ROWS = 64
_HALF = re.compile(r"[\ud800-\udfff]")
_ESCAPED = 6
"""Bytes of a character at most, written as \\uXXXX."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of a table's columns. `text` must be there; the others are used where they are.

    Attributes:
        text: the file's text.
        repository: what it belongs to; without it each row is a repository of its own, because nothing says
            that rows belong together.
        path: in that repository; without it the number of the row, with the ending of its language.
        licence: SPDX expression, or a list of names that all hold.
        language: see `document.language_named`.
    """

    text: str = "text"
    repository: str = "repository"
    path: str = "path"
    licence: str = "licence"
    language: str = "language"

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name):
                raise ValueError(f"A column has a name; got none for {field.name}. Leave the default if there is none.")


@dataclass(frozen=True, kw_only=True)
class _Skipped:
    """A row that could not be read."""

    reason: str
    size_bytes: int = 0
    detail: str = ""


Row = Mapping[str, Any] | _Skipped


def is_table(path: Path) -> bool:
    """Whether the file's name says JSONL or Parquet."""
    return path.name.lower().endswith(_ENDINGS)


def read(
    path: Path,
    *,
    repository: str | None = None,
    revision: str | None = None,
    licence: str | None = None,
    columns: Columns | None = None,
    limits: Limits | None = None,
) -> Iterator[RawFile | Dropped]:
    """Every row of a table as a file, or as dropped.

    Reasons for dropping: "too-large", "broken-row", "no-text", "path-traversal", "bad-name"; under the table's own
    name "broken-archive" (the rest cannot be read) and "empty-repository".

    Args:
        path: the table. A JSONL file holds one line in memory, a Parquet file one group of rows.
        repository: of rows without their own, before "#" and the row's number; by default "table:" and the name.
        revision: by default the table's SHA-256.
        licence: of rows without their own.
        columns: names of the columns.
        limits: `file_bytes` alone is used.

    Raises:
        ValueError: a Parquet file has no text column: a recipe's mistake, not the data's.
    """
    limits, columns = limits or Limits(), columns or Columns()
    table = Origin(repository=repository or f"table:{path.name}", revision=revision or file_hash(path), licence=licence)
    parquet = path.name.lower().endswith(".parquet")
    rows = _parquet_rows(path, columns) if parquet else _json_rows(path, limits)
    number = -1
    try:
        for number, row in enumerate(rows):
            yield _file(row, number=number, table=table, columns=columns, limits=limits)
    except _BrokenTableError as error:
        yield table.dropped(path.name, reason="broken-archive", size_bytes=path.stat().st_size, detail=str(error))
    else:
        if number < 0:
            yield table.dropped(path.name, reason="empty-repository")


class _BrokenTableError(Exception):
    """The rest of the table cannot be read."""


def _file(row: Row, *, number: int, table: Origin, columns: Columns, limits: Limits) -> RawFile | Dropped:
    own = Origin(repository=f"{table.repository}#{number}", revision=table.revision, licence=table.licence)
    name = f"{number:09d}"
    if isinstance(row, _Skipped):
        return own.dropped(name, reason=row.reason, size_bytes=row.size_bytes, detail=row.detail)
    if column := _half(row, columns):
        return own.dropped(name, reason="broken-row", detail=f"{column} has a lone surrogate")
    own = _origin(row, own=own, columns=columns)
    language = _text(row, columns.language)
    language = language_named(language) if language else None
    name = _text(row, columns.path) or name + ending_of(language or "text")
    try:
        path = clean_path(name)
    except UnsafeNameError as error:
        return own.dropped(printable(name), reason=error.reason)
    if not is_one_line(own.repository):
        own = replace(own, repository=printable(own.repository))
        return own.dropped(path, reason="bad-name", detail="of the repository")
    text = row.get(columns.text)
    if not isinstance(text, str):
        return own.dropped(path, reason="no-text", detail=f"{columns.text} is {type(text).__name__}")
    data = text.encode()
    if len(data) > limits.file_bytes:
        return own.dropped(path, reason="too-large", size_bytes=len(data), detail=f"above {limits.file_bytes}")
    return own.file(path, data, language=language)


def _origin(row: Mapping[str, Any], *, own: Origin, columns: Columns) -> Origin:
    licence = row.get(columns.licence)
    if isinstance(licence, list):
        licence = " AND ".join(f"({name})" for name in licence if isinstance(name, str))
    return Origin(
        repository=_text(row, columns.repository) or own.repository,
        revision=own.revision,
        licence=(normalised(licence) if isinstance(licence, str) and licence else None) or own.licence,
    )


def _half(row: Mapping[str, Any], columns: Columns) -> str:
    """The first column with half a character of UTF-16, which JSON can write and UTF-8 cannot; empty if none has."""
    for field in fields(columns):
        name = getattr(columns, field.name)
        values = row.get(name)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str) and not value.isascii() and _HALF.search(value):
                return name
    return ""


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    return value if isinstance(value, str) else ""


def _json_rows(path: Path, limits: Limits) -> Iterator[Row]:
    longest = _ESCAPED * limits.file_bytes + _CHUNK_BYTES
    try:
        with unpacked(path) as stream:
            for line, size_bytes in _lines(stream, longest):
                if line is None:
                    yield _Skipped(reason="too-large", size_bytes=size_bytes, detail=f"a line above {longest}")
                elif line.strip():
                    yield _json_row(line)
    except UNPACKING_ERRORS as error:
        raise _BrokenTableError(str(error)) from error


def _json_row(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Skipped(reason="broken-row", size_bytes=len(line), detail=str(error))
    if not isinstance(row, dict):
        return _Skipped(reason="broken-row", size_bytes=len(line), detail=f"a row is {type(row).__name__}, no object")
    return row


def _lines(stream: Readable, longest: int) -> Iterator[tuple[bytes | None, int]]:
    """Lines and their sizes; of one above `longest` the size alone, counted without keeping it."""
    kept: list[bytes] = []
    size = 0
    while chunk := stream.read(_CHUNK_BYTES):
        *ends, rest = chunk.split(b"\n")
        for part in ends:
            size += len(part)
            yield (b"".join([*kept, part]) if size <= longest else None), size
            kept, size = [], 0
        size += len(rest)
        kept = [*kept, rest] if size <= longest else []
    if size:
        yield (b"".join(kept) if size <= longest else None), size


def _parquet_rows(path: Path, columns: Columns) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        # Without `pre_buffer=False` Arrow fetches whole groups ahead of the rows that are asked for.
        file = parquet.ParquetFile(path, pre_buffer=False)
        names = file.schema_arrow.names
        if columns.text not in names:
            raise _missing(columns.text, names)
        wanted = [name for name in (getattr(columns, field.name) for field in fields(columns)) if name in names]
        with file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted, use_threads=False):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _BrokenTableError(str(error)) from error


def _missing(column: str, names: list[str]) -> ValueError:
    return ValueError(
        f"A table has a column of text; got no {column!r} among {', '.join(names)}. Name it in Columns(text=...)."
    )
