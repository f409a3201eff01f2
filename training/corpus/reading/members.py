"""The members of tar and zip archives in one shape, without unpacking any that is not asked for."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from training.corpus.reading.origin import Limits
from training.corpus.reading.streams import UNPACKING_ERRORS, ArchiveBombError, ForwardStream, unpacked

_UNPACKABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""zipfile unpacks the other methods without a bound on memory."""

_ZIP_ERRORS = (*UNPACKING_ERRORS, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error)


class BrokenArchiveError(Exception):
    """The rest of the archive cannot be read."""


class BrokenMemberError(Exception):
    """One member cannot be read; those after it can."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry of an archive that is not a folder.

    Attributes:
        name: as the archive has it, to be cleaned.
        size_bytes: as the archive states it.
        refusal: why it cannot be a file of the corpus ("link", "special-file", "encrypted",
            "unsupported-compression"), or None.
        read: gives its bytes. Only before the next member is asked for.
    """

    name: str
    size_bytes: int
    refusal: str | None
    read: Callable[[], bytes]


def members(path: Path, *, limits: Limits) -> Iterator[Member]:
    """The members of an archive in its own order.

    Raises:
        BrokenArchiveError: while iterating; what was given before is good.
        ArchiveBombError: likewise.
    """
    read = _zip_members if is_zip(path) else _tar_members
    for count, member in enumerate(read(path, limits)):
        if count == limits.archive_files:
            raise ArchiveBombError(f"more than {limits.archive_files} files")
        yield member


def is_zip(path: Path) -> bool:
    """Whether the file begins like a zip archive, an empty one included."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _tar_members(path: Path, limits: Limits) -> Iterator[Member]:
    try:
        with unpacked(path) as source:
            stream = ForwardStream(source, packed_bytes=path.stat().st_size, limits=limits)
            # `TarFile` wants a whole file object and uses read, seek and tell.
            archive = tarfile.TarFile(fileobj=stream, mode="r", name=str(path), errors="surrogateescape")  # type: ignore[arg-type]
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # it would keep every header
                if not info.isdir():
                    yield _tar_member(info, stream)
            if any(stream.last):
                raise BrokenArchiveError("a header is damaged")
    except (tarfile.TarError, *UNPACKING_ERRORS) as error:
        raise BrokenArchiveError(str(error)) from error


def _tar_member(info: tarfile.TarInfo, stream: ForwardStream) -> Member:
    refusal = None
    if info.issym() or info.islnk():
        refusal = "link"
    elif not info.isreg() or info.issparse():
        refusal = "special-file"
    return Member(
        name=info.name, size_bytes=info.size, refusal=refusal, read=partial(_read_tar_member, info, stream=stream)
    )


def _read_tar_member(info: tarfile.TarInfo, *, stream: ForwardStream) -> bytes:
    try:
        stream.seek(info.offset_data)
        data = stream.read(info.size)
    except UNPACKING_ERRORS as error:
        raise BrokenArchiveError(str(error)) from error
    if len(data) < info.size:
        raise BrokenArchiveError(f"{info.name!r} ends after {len(data)} of {info.size} bytes")
    return data


def _zip_members(path: Path, limits: Limits) -> Iterator[Member]:
    packed_bytes = path.stat().st_size
    most = min(limits.archive_bytes, max(limits.small_archive_bytes, int(limits.archive_ratio * packed_bytes)))
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise BrokenArchiveError(str(error)) from error
    unpacked_bytes = 0
    with archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.file_size <= limits.file_bytes:
                unpacked_bytes += info.file_size
            if unpacked_bytes > most:
                raise ArchiveBombError(f"unpacks to more than {most} bytes")
            yield _zip_member(info, archive)


def _zip_member(info: zipfile.ZipInfo, archive: zipfile.ZipFile) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    refusal = None
    if kind == stat.S_IFLNK:
        refusal = "link"
    elif kind not in (0, stat.S_IFREG):
        refusal = "special-file"
    elif info.flag_bits & 1:
        refusal = "encrypted"
    elif info.compress_type not in _UNPACKABLE:
        refusal = "unsupported-compression"
    return Member(
        name=info.filename,
        size_bytes=info.file_size,
        refusal=refusal,
        read=partial(_read_zip_member, info, archive=archive),
    )


def _read_zip_member(info: zipfile.ZipInfo, *, archive: zipfile.ZipFile) -> bytes:
    """Never asks for more than the stated size, so that a header that lies costs no memory; the checksum finds it."""
    try:
        with archive.open(info) as stream:
            data = stream.read(info.file_size)
    except _ZIP_ERRORS as error:
        raise BrokenMemberError(str(error)) from error
    if len(data) < info.file_size:
        raise BrokenMemberError(f"ends after {len(data)} of {info.file_size} bytes")
    return data
