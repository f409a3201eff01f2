"""Files that are there whole or not at all, and the documents of a source on disk.

What a step makes it writes into a folder of another name, which is renamed when everything is in it: a step that was
killed has left nothing that looks finished, and one that has finished is not done again.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from training.corpus.document import Document
from training.corpus.minhash import Signatures

UNFINISHED = ".unfinished-"
_DOCUMENTS = "documents.array_record"
_INDEX = "index.json"
_ARRAYS = ("texts", "minima", "comparable")
_READ_AT_ONCE = 64


@contextmanager
def committed(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which gets its name when the block ends well and is deleted otherwise.

    If another worker was faster, its folder stays: steps are functions of their input, so the two are the same.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f"{UNFINISHED}{folder.name}-{uuid4().hex}")
    scratch.mkdir()
    try:
        yield scratch
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file under another name, then renames it."""
    scratch = path.with_name(f"{UNFINISHED}{path.name}-{uuid4().hex}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def write_json(path: Path, value: Any) -> None:
    """As `write_text`, with the same text for the same value."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def discard(folder: Path) -> None:
    """Deletes a finished folder: it is renamed first, so that half of it is never taken for the whole."""
    scratch = folder.with_name(f"{UNFINISHED}{folder.name}-{uuid4().hex}")
    folder.rename(scratch)
    shutil.rmtree(scratch)


def sweep(folder: Path) -> None:
    """Deletes what steps that were killed have left below a folder; no step may be running."""
    for path in folder.rglob(f"{UNFINISHED}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class DocumentWriter:
    """Writes the documents of a source into a folder, in the order given, and what `Documents` finds them by."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Groups of 8 pack about as well as larger ones, and a repository of a table can be read by itself.
        self._records = ArrayRecordWriter(os.fspath(folder / _DOCUMENTS), "group_size:8,zstd:1")
        self._repositories: dict[str, int] = {}
        self._columns: dict[str, list[Any]] = {"repository": [], "path": [], "revision": [], "bytes": []}
        self.count = 0

    def add(self, document: Document) -> None:
        """Takes the next document."""
        self._records.write(json.dumps(asdict(document), ensure_ascii=False).encode())
        code = self._repositories.setdefault(document.repository, len(self._repositories))
        row = (code, document.path, document.revision, document.size_bytes)
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        self.count += 1

    def close(self, signatures: Signatures) -> None:
        """Finishes the files.

        Args:
            signatures: of the documents, in their order.
        """
        if len(signatures) != self.count:
            raise ValueError(
                f"Every document has a signature; got {len(signatures)} for {self.count} documents. Sign each."
            )
        self._records.close()
        names = {"repositories": list(self._repositories)}
        (self._folder / _INDEX).write_text(json.dumps({**names, **self._columns}), encoding="utf-8")
        for name in _ARRAYS:
            np.save(self._folder / f"{name}.npy", getattr(signatures, name))


class Documents:
    """The documents that a `DocumentWriter` wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(self._index["path"])

    @property
    def repositories(self) -> list[str]:
        """Names of the repositories, in the order of their first documents."""
        return self._index["repositories"]

    def rows_of(self, repository: str) -> np.ndarray:
        """Which documents belong to a repository, ascending."""
        return self._rows.get(repository, np.empty(0, dtype=np.int64))

    def repository_of_rows(self) -> list[str]:
        """The repository of every document."""
        return [self.repositories[code] for code in self._index["repository"]]

    def sizes(self) -> list[int]:
        """Bytes of every document's text."""
        return self._index["bytes"]

    def name(self, row: int) -> tuple[str, str, str]:
        """Repository, path and revision of a document."""
        index = self._index
        return self.repositories[index["repository"][row]], index["path"][row], index["revision"][row]

    def read(self, rows: Sequence[int] | np.ndarray) -> Iterator[Document]:
        """The documents of some rows, in that order, a few in memory at a time."""
        for start in range(0, len(rows), _READ_AT_ONCE):
            for record in self._records.read([int(row) for row in rows[start : start + _READ_AT_ONCE]]):
                yield Document(**json.loads(record))

    def signatures(self, rows: np.ndarray) -> Signatures:
        """Signatures of some rows; the rest stays on disk."""
        texts, minima, comparable = (self._array(name)[rows] for name in _ARRAYS)
        return Signatures(texts=texts, minima=minima, comparable=comparable)

    @cached_property
    def _index(self) -> dict[str, list[Any]]:
        return read_json(self.folder / _INDEX)

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        codes = np.array(self._index["repository"], dtype=np.int64)
        if not len(codes):
            return {}
        ends = np.cumsum(np.bincount(codes))
        return dict(zip(self.repositories, np.split(np.argsort(codes, kind="stable"), ends[:-1]), strict=True))

    @cached_property
    def _records(self) -> ArrayRecordReader:
        return ArrayRecordReader(os.fspath(self.folder / _DOCUMENTS), "readahead_buffer_size:0")

    def _array(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


@lru_cache(maxsize=4)
def documents(folder: Path) -> Documents:
    """The documents of a finished folder. A few are at hand: of a table with a million rows the names take 100 MB."""
    return Documents(folder)


def write_lines(path: Path, items: Iterable[Any]) -> None:
    """JSON, one item a line."""
    with path.open("w", encoding="utf-8") as stream:
        for item in items:
            stream.write(json.dumps(item, ensure_ascii=False) + "\n")


def read_lines(path: Path) -> Iterator[Any]:
    """What `write_lines` wrote."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)
