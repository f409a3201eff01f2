"""Unpacks gzip, bzip2, xz and zstd as a stream that only goes forward and stops at bombs."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, cast

from training.corpus.reading.origin import Limits

_CHUNK_BYTES = 1 << 18
_XZ_MEMORY_BYTES = 256 << 20
"""`xz -9` needs 65 MiB to unpack; a header may ask for 4 GiB."""

UNPACKING_ERRORS = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
"""What the standard library's and Arrow's decompressors raise for damaged data."""


class ArchiveBombError(Exception):
    """An archive that unpacks to more than the limits."""


class Readable(Protocol):
    """All that is asked of a decompressor."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end."""
        ...


class ForwardStream:
    """What `tarfile` needs of a file, over data that cannot be read twice.

    It keeps the last bytes that `read` returned, because `tarfile` takes a broken header for the end of the archive.
    """

    def __init__(self, source: Readable, *, packed_bytes: int, limits: Limits) -> None:
        self._source = source
        self._largest_read = limits.file_bytes + _CHUNK_BYTES
        by_ratio = max(limits.small_archive_bytes, int(limits.archive_ratio * packed_bytes))
        self._most = min(limits.archive_bytes, by_ratio)
        self._position = 0
        self.last = b""

    def read(self, size: int, /) -> bytes:
        """Exactly `size` bytes, fewer only at the end.

        Raises:
            ArchiveBombError: for more than a file may have (a long name of a gigabyte), or past the archive's limit.
        """
        if size > self._largest_read:
            raise ArchiveBombError(f"one field of {size} bytes")
        chunks = []
        while size > 0 and (chunk := self._source.read(size)):
            chunks.append(chunk)
            size -= len(chunk)
            self._advance(len(chunk))
        self.last = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return self.last

    def seek(self, position: int, /) -> int:
        """Reads up to `position`; what lies between is thrown away chunk by chunk.

        Raises:
            OSError: `position` lies behind.
        """
        if position < self._position:
            raise OSError(f"The archive is read forward only; got a jump from {self._position} to {position}.")
        while self._position < position:
            chunk = self._source.read(min(_CHUNK_BYTES, position - self._position))
            if not chunk:
                break
            self._advance(len(chunk))
        return self._position

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def _advance(self, count: int) -> None:
        self._position += count
        if self._position > self._most:
            raise ArchiveBombError(f"unpacks to more than {self._most} bytes")


class _Steps:
    """Reads in single steps: a read of many that meets a damaged place would lose what it had so far."""

    def __init__(self, source: gzip.GzipFile | bz2.BZ2File) -> None:
        self._source = source

    def read(self, size: int, /) -> bytes:
        return self._source.read1(size)


class _XzReader:
    """`lzma.LZMAFile` with a limit on memory, which it does not offer."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)

    def read(self, size: int, /) -> bytes:
        while not self._decompressor.eof:
            packed = self._source.read(_CHUNK_BYTES) if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not packed:
                raise EOFError("The compressed data ends before its end mark.")
            if data := self._decompressor.decompress(packed, size):
                return data
        return b""


@contextmanager
def unpacked(path: Path) -> Iterator[Readable]:
    """Opens a file and unpacks what its first bytes say it is packed with; anything else is read as it is."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        magic = file.peek(6)[:6]
        yield _unpack(file, magic, stack)


def _unpack(file: io.BufferedReader, magic: bytes, stack: ExitStack) -> Readable:
    if magic.startswith(b"\x1f\x8b"):
        return _Steps(stack.enter_context(gzip.GzipFile(fileobj=file)))
    if magic.startswith(b"BZh"):
        return _Steps(stack.enter_context(bz2.BZ2File(file)))
    if magic == b"\xfd7zXZ\x00":
        return _XzReader(file)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow

        stream: Any = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
        return cast(Readable, stack.enter_context(stream))
    return file
