"""Reads folders: every file below, or in a git repository the files of its HEAD commit."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from training.corpus import licences
from training.corpus.document import Dropped, RawFile
from training.corpus.reading import git
from training.corpus.reading.origin import Limits, Origin, UnsafeNameError, clean_path, printable

_VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", "CVS"})


def read(
    folder: Path,
    *,
    repository: str | None = None,
    revision: str | None = None,
    licence: str | None = None,
    limits: Limits | None = None,
) -> Iterator[RawFile | Dropped]:
    """Every file of a folder in a fixed order, as it is or as dropped.

    Where `.git` exists the files are those of the HEAD commit, which then is the revision: what git ignores, what
    was never added and what was changed since are not read, because no one could get them by that revision.

    Reasons for dropping: "too-large", "bad-name", "link" (never followed, so loops cannot happen), "special-file",
    "unreadable", "submodule"; for the whole, "empty-repository" and "broken-repository".

    Args:
        folder: its root.
        repository: by default "folder:" and its name.
        revision: by default the commit, or "unversioned".
        licence: by default what the metadata in its root say.
        limits: `file_bytes` alone is used.
    """
    limits = limits or Limits()
    repository = repository or f"folder:{folder.resolve().name}"
    if (folder / ".git").exists():
        return git.read(folder, repository=repository, revision=revision, licence=licence, limits=limits)
    metadata = _metadata(folder) if licence is None else {}
    origin = Origin(
        repository=repository,
        revision=revision or "unversioned",
        licence=licence or licences.of_repository(metadata),
        licence_of=licences.of_paths(metadata),
    )
    return _or_empty(_walk(folder, origin=origin, limits=limits), origin=origin)


def _or_empty(items: Iterator[RawFile | Dropped], *, origin: Origin) -> Iterator[RawFile | Dropped]:
    count = 0
    for item in items:
        yield item
        count += 1
    if not count:
        yield origin.dropped(".", reason="empty-repository")


def _metadata(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.glob("*")) + sorted(folder.glob("LICENSES/*")) + [folder / "debian" / "copyright"]:
        name = path.relative_to(folder).as_posix()
        if not licences.is_metadata(name) or path.is_symlink() or not path.is_file():
            continue
        if path.stat().st_size <= licences.METADATA_BYTES and os.access(path, os.R_OK):
            found[name] = path.read_bytes()
    return found


def _walk(folder: Path, *, origin: Origin, limits: Limits) -> Iterator[RawFile | Dropped]:
    unreadable: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        folders[:] = sorted(set(folders) - set(links) - _VERSION_CONTROL)
        for name in sorted([*files, *links]):
            yield _file(Path(parent) / name, folder=folder, origin=origin, limits=limits)
        while unreadable:
            error = unreadable.pop()
            yield _unreadable(Path(error.filename), error, folder=folder, origin=origin)


def _file(path: Path, *, folder: Path, origin: Origin, limits: Limits) -> RawFile | Dropped:
    relative = path.relative_to(folder).as_posix()
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return origin.dropped(printable(relative), reason="link")
        name = clean_path(relative)
        if not stat.S_ISREG(status.st_mode):
            return origin.dropped(name, reason="special-file")
        if status.st_size > limits.file_bytes:
            detail = f"above {limits.file_bytes}"
            return origin.dropped(name, reason="too-large", size_bytes=status.st_size, detail=detail)
        return origin.file(name, path.read_bytes())
    except UnsafeNameError as error:
        return origin.dropped(printable(relative), reason=error.reason)
    except OSError as error:
        return _unreadable(path, error, folder=folder, origin=origin)


def _unreadable(path: Path, error: OSError, *, folder: Path, origin: Origin) -> Dropped:
    name = printable(path.relative_to(folder).as_posix())
    return origin.dropped(name, reason="unreadable", detail=error.strerror or "")
