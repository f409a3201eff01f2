"""Where a reader's files come from, what they may weigh, and which of their names are safe to use."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.corpus.document import Dropped, RawFile, document_id, language_of

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a reader takes; beyond it the file, or the rest of the archive, is dropped and counted.

    Attributes:
        file_bytes: of one file, and so about the most that a reader holds in memory.
        archive_bytes: of all that an archive unpacks to. Linux 6.x, among the largest of source archives, is 1.5 GB.
        archive_ratio: unpacked to packed bytes of one archive. Source packs 3 to 10 times, a bomb 1000 times.
        small_archive_bytes: unpacked bytes below which the ratio is not looked at: a few zeros pack well too.
        archive_files: in one archive.
    """

    file_bytes: int = 4 << 20
    archive_bytes: int = 8 << 30
    archive_ratio: float = 200.0
    small_archive_bytes: int = 16 << 20
    archive_files: int = 1_000_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"Limits are above 0; got {name}={value}. Give a larger one.")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The fields that all files of a repository share.

    Attributes:
        repository: as in `RawFile`.
        revision: as in `RawFile`.
        licence: as in `RawFile`.
        licence_of: the licence of each path where they differ (`licences.of_paths`); `licence` for all if None.
    """

    repository: str
    revision: str
    licence: str | None = None
    licence_of: Callable[[str], str | None] | None = None

    def file(self, path: str, data: bytes, *, language: str | None = None) -> RawFile:
        """A file that was read."""
        return RawFile(
            repository=self.repository,
            path=path,
            revision=self.revision,
            licence=self._licence(path),
            data=data,
            language=language,
        )

    def dropped(self, path: str, *, reason: str, size_bytes: int = 0, detail: str = "") -> Dropped:
        """A file that was seen and not read."""
        return Dropped(
            document_id=document_id(repository=self.repository, revision=self.revision, path=path),
            repository=self.repository,
            path=path,
            language=language_of(path),
            licence=self._licence(path),
            size_bytes=size_bytes,
            stage="read",
            reason=reason,
            detail=detail,
        )

    def _licence(self, path: str) -> str | None:
        return self.licence_of(path) if self.licence_of else self.licence


class UnsafeNameError(ValueError):
    """A name that no file of a corpus may have; `reason` is "path-traversal" or "bad-name"."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def clean_path(name: str) -> str:
    r"""A member's name as a path below the repository's root: "/" between parts, no "." or "..".

    Raises:
        UnsafeNameError: it is absolute or climbs out of the root ("path-traversal"); or it is empty, has a control
            character (the path line of a training example is one line) or is not valid text ("bad-name").
    """
    if not is_one_line(name):
        raise UnsafeNameError(reason="bad-name")
    name = name.replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name):
        raise UnsafeNameError(reason="path-traversal")
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise UnsafeNameError(reason="path-traversal")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts:
        raise UnsafeNameError(reason="bad-name")
    return "/".join(parts)


def is_one_line(name: str) -> bool:
    """Whether a name is text without control characters."""
    return not _CONTROL.search(name)


def printable(name: str) -> str:
    """A name that is not safe as a path, fit for a report: what is no printable ASCII is written as an escape."""
    return name.encode("unicode_escape", "surrogatepass").decode("ascii")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal: the revision of what carries no version."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
