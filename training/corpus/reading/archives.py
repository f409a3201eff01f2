"""Reads sdists, wheels, crates, npm packages and other tar and zip archives as streams; nothing is put on disk.

Two passes: the first finds the folder that all files share, and the licence; the second gives the files. Archives
inside archives are files like any other and are not opened.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.corpus import licences
from training.corpus.document import Dropped, RawFile
from training.corpus.reading.members import BrokenArchiveError, BrokenMemberError, Member, is_zip, members
from training.corpus.reading.origin import Limits, Origin, UnsafeNameError, clean_path, file_hash, printable
from training.corpus.reading.streams import UNPACKING_ERRORS, ArchiveBombError, unpacked

KEPT_ROOTS = frozenset({"debian", "src", "lib"})
"""Shared first folders with a meaning: Debian's `*.debian.tar.xz` holds nothing but debian/."""

_ENDINGS = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".crate"),
    *(".zip", ".whl", ".jar", ".nupkg", ".egg"),
)


def is_archive(path: Path) -> bool:
    """Whether the name or the first bytes say so; a damaged archive with an archive's name counts."""
    if path.name.lower().endswith(_ENDINGS) or is_zip(path):
        return True
    try:
        with unpacked(path) as stream:
            return stream.read(tarfile.BLOCKSIZE)[257:262] == b"ustar"
    except UNPACKING_ERRORS:
        return False


def read(
    path: Path,
    *,
    repository: str | None = None,
    revision: str | None = None,
    licence: str | None = None,
    limits: Limits | None = None,
) -> Iterator[RawFile | Dropped]:
    """Every file of an archive, as it is or as dropped.

    Reasons for dropping: "too-large", "path-traversal", "bad-name", "repeated-path", "link", "special-file",
    "encrypted", "unsupported-compression", "broken-member"; and under the archive's own name "broken-archive" (the
    rest cannot be read), "archive-bomb" (the rest will not be) and "empty-repository".

    Args:
        path: the archive; how it is packed is seen from its first bytes.
        repository: by default "archive:" and its name.
        revision: by default the archive's SHA-256.
        licence: by default what the metadata inside say.
        limits: of its files and of the whole.
    """
    limits = limits or Limits()
    survey = _survey(path, limits=limits)
    origin = Origin(
        repository=repository or f"archive:{path.name}",
        revision=revision or file_hash(path),
        licence=licence or licences.of_repository(survey.metadata),
        licence_of=None if licence else licences.of_paths(survey.metadata),
    )
    count = 0
    try:
        for item in _files(path, origin=origin, root=survey.root, limits=limits):
            yield item
            count += 1
    except BrokenArchiveError as error:
        yield origin.dropped(path.name, reason="broken-archive", size_bytes=path.stat().st_size, detail=str(error))
    except ArchiveBombError as error:
        yield origin.dropped(path.name, reason="archive-bomb", size_bytes=path.stat().st_size, detail=str(error))
    else:
        if not count:
            yield origin.dropped(path.name, reason="empty-repository")


@dataclass(frozen=True, kw_only=True)
class _Survey:
    root: str
    metadata: dict[str, bytes]


def _survey(path: Path, *, limits: Limits) -> _Survey:
    """First pass. Stops where the archive is broken: the second pass meets the same place and reports it."""
    roots: set[str] = set()
    metadata: dict[str, bytes] = {}
    try:
        for member in members(path, limits=limits):
            try:
                name = clean_path(member.name)
            except UnsafeNameError:
                continue
            first, _, rest = name.partition("/")
            roots.add(first if rest else "")
            if member.refusal or member.size_bytes > licences.METADATA_BYTES:
                continue
            if licences.is_metadata(name) or licences.is_metadata(rest):
                metadata[name] = _read_or_nothing(member)
    except (BrokenArchiveError, ArchiveBombError):
        pass  # reported by the second pass
    root = f"{roots.pop()}/" if len(roots) == 1 else ""
    root = "" if root[:-1] in KEPT_ROOTS else root
    found = {name.removeprefix(root): data for name, data in metadata.items()}
    return _Survey(root=root, metadata={name: data for name, data in found.items() if licences.is_metadata(name)})


def _read_or_nothing(member: Member) -> bytes:
    try:
        return member.read()
    except BrokenMemberError:
        return b""  # the second pass drops it


def _files(path: Path, *, origin: Origin, root: str, limits: Limits) -> Iterator[RawFile | Dropped]:
    seen: set[str] = set()
    for member in members(path, limits=limits):
        try:
            name = clean_path(member.name).removeprefix(root)
        except UnsafeNameError as error:
            yield origin.dropped(printable(member.name), reason=error.reason, size_bytes=member.size_bytes)
            continue
        if name in seen:
            yield origin.dropped(name, reason="repeated-path", size_bytes=member.size_bytes)
            continue
        seen.add(name)
        yield _file(member, name=name, origin=origin, limits=limits)


def _file(member: Member, *, name: str, origin: Origin, limits: Limits) -> RawFile | Dropped:
    size = member.size_bytes
    if member.refusal:
        return origin.dropped(name, reason=member.refusal, size_bytes=size)
    if size > limits.file_bytes:
        return origin.dropped(name, reason="too-large", size_bytes=size, detail=f"above {limits.file_bytes}")
    try:
        return origin.file(name, member.read())
    except BrokenMemberError as error:
        return origin.dropped(name, reason="broken-member", size_bytes=size, detail=str(error))
