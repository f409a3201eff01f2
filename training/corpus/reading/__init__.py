"""Readers: folders, git repositories, archives and tables become `RawFile` and `Dropped`, one for each file seen."""

from collections.abc import Iterator
from pathlib import Path

from training.corpus.document import Dropped, RawFile
from training.corpus.reading import archives, folders, tables
from training.corpus.reading.origin import Limits, Origin


def read(
    source: Path,
    *,
    repository: str | None = None,
    revision: str | None = None,
    licence: str | None = None,
    limits: Limits | None = None,
) -> Iterator[RawFile | Dropped]:
    """Reads whatever `source` is: a folder, a git repository, an archive, or a table with its columns' usual names.

    A source that is not there or that no reader knows is one `Dropped` ("missing", "unknown-format").

    Args:
        source: folder or file.
        repository: by default "folder:", "archive:" or "table:" with the source's name.
        revision: by default the commit, the hash of the file, or "unversioned" for a folder.
        licence: SPDX expression; by default what the repository's own metadata say.
        limits: of files and archives.
    """
    limits = limits or Limits()
    source = Path(source)
    if source.is_dir():
        return folders.read(source, repository=repository, revision=revision, licence=licence, limits=limits)
    if not source.is_file():
        return _nothing(source, repository=repository, reason="missing")
    if tables.is_table(source):
        return tables.read(source, repository=repository, revision=revision, licence=licence, limits=limits)
    if archives.is_archive(source):
        return archives.read(source, repository=repository, revision=revision, licence=licence, limits=limits)
    return _nothing(source, repository=repository, reason="unknown-format")


def _nothing(source: Path, *, repository: str | None, reason: str) -> Iterator[Dropped]:
    origin = Origin(repository=repository or f"file:{source.name}", revision="unread")
    yield origin.dropped(source.name, reason=reason, detail=str(source))
