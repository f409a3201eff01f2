"""The benchmark files of a task: found, hashed, and read, or the reason why they cannot be used."""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keras_codegemma.evaluation.datasets import sources
from keras_codegemma.evaluation.language.rows import Part, Row
from keras_codegemma.evaluation.language.tasks import LanguageTask


class UnusableDataError(Exception):
    """A task's files are missing or not what they must be; the message says which and what to do."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a task's files hold.

    Attributes:
        parts: the problems.
        hashes: sha256 of the contents of each file; other builds of zlib compress them to other bytes.
        other: whether a file is not the pinned one.
    """

    parts: list[Part]
    hashes: dict[str, str]
    other: bool

    @property
    def available(self) -> int:
        """Number of problems."""
        return sum(len(part.problems) for part in self.parts)


def load(task: LanguageTask, folder: str | os.PathLike[str], *, allow_other_data: bool) -> Data:
    """Reads a task's files.

    Args:
        task: of `tasks.TASKS`.
        folder: where the files lie, under the names of `task.files`.
        allow_other_data: takes files with another hash than the pinned one, a whole test set of your own for instance.

    Raises:
        UnusableDataError: a file is missing, is another one, cannot be read, or lacks a field.
    """
    contents = {name: _contents(folder, name) for name in task.files}
    found = _hashes(contents)
    pinned = {name: sources()[name].content_sha256 for name in task.files}
    changed = [name for name in task.files if found[name] != pinned[name]]
    if changed and not allow_other_data:
        name = changed[0]
        raise UnusableDataError(
            f"The contents of {name} must have the sha256 {pinned[name]}; those in {folder} have {found[name]}. "
            "Fetch it again, or allow other data (allow_other_data): its figures are then those of another benchmark."
        )
    return Data(parts=_parts(task, contents), hashes=found, other=bool(changed))


def hashes(task: LanguageTask, folder: str | os.PathLike[str]) -> dict[str, str]:
    """The sha256 of what is in each of a task's files.

    Raises:
        UnusableDataError: one cannot be read.
    """
    return _hashes({name: _contents(folder, name) for name in task.files})


def _hashes(contents: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _contents(folder: str | os.PathLike[str], name: str) -> bytes:
    path = Path(folder, name)
    try:
        return gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _unreadable(name, error) from error
    except OSError as error:
        raise UnusableDataError(
            f"The benchmark file {name} must lie in the data folder; {path} cannot be read ({error.strerror}). "
            "Put it there, or pass the folder that has it."
        ) from error


def _parts(task: LanguageTask, contents: Mapping[str, bytes]) -> list[Part]:
    rows = {name: _rows(name, content) for name, content in contents.items()}
    try:
        parts = [part for part in task.parts(rows) if part.problems]
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableDataError(
            f"Each row of {', '.join(task.files)} must have its benchmark's own fields; got {error!r}. "
            "Correct the file, or fetch the original."
        ) from error
    if not parts:
        raise UnusableDataError(
            f"{', '.join(task.files)} must hold at least one problem; got none. Fetch the original."
        )
    return parts


def _rows(name: str, content: bytes) -> list[Row]:
    try:
        return [json.loads(line) for line in content.decode("utf-8").split("\n") if line.strip()]
    except ValueError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> UnusableDataError:
    return UnusableDataError(f"{name} must be gzipped JSON Lines; it cannot be read ({error}). Fetch it again.")
