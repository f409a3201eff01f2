"""Scalars for TensorBoard, without TensorFlow: records of `Event` messages in its own file format.

A file is a sequence of length (uint64), masked CRC-32C of the length, data, masked CRC-32C of the data, little-endian
(tensorflow/core/lib/io/record_writer.cc). Data is a protocol buffer (tensorflow/core/util/event.proto): 1 wall time
(double), 2 step (int64), 3 version text of the first record, 5 summary, whose field 1 is a value of 1 tag and 2 float.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected
_MASK_DELTA = 0xA282EAD8


class EventFile:
    """Appends scalars to a new file of a folder.

    Args:
        folder: made if missing; TensorBoard joins all files in it, and of a step that comes twice shows the last.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 10**9}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("ab")
        self._write(_field(3, b"brain.Event:2"))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the scalars of a step."""
        summary = b"".join(
            _field(1, _field(1, name.encode()) + b"\x15" + struct.pack("<f", value)) for name, value in values.items()
        )
        self._write(b"\x10" + _varint(step) + _field(5, summary))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, fields: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        self._file.write(length + _checksum(length) + event + _checksum(event))
        self._file.flush()


def _field(number: int, data: bytes) -> bytes:
    """A field of the wire type that has a length."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _table()[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + _MASK_DELTA) & 0xFFFFFFFF
    return struct.pack("<I", masked)


@cache
def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)  # noqa: PLW2901
        found.append(byte)
    return tuple(found)
