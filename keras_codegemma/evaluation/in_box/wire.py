"""Plain data between program and checker: messages over a socket, and values as JSON.

Runs in both boxes and in the executor; see the package on why it imports so little.
"""

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself would cost every box some milliseconds
    from collections.abc import Callable
    from typing import Any

LARGEST_FRAME_BYTES = 64 << 20
"""Of one message; a program that sends more has failed."""
CHUNK = 256
"""Items sent at a time from an iterator that lives in the program; a shorter list is its end."""


class ProgramEnded(BaseException):
    """The program is gone or broke the protocol; not an Exception, so that tests do not catch it."""


class Channel:
    """Messages over a socket: 8 bytes of length, then JSON."""

    def __init__(self, fd):
        self.fd = fd

    def send(self, message):
        """Writes one message."""
        data = json.dumps(message).encode()
        data = len(data).to_bytes(8, "big") + data
        while data:
            data = data[os.write(self.fd, data) :]

    def receive(self):
        """Reads one message; ProgramEnded at the end of the stream or at nonsense."""
        size = int.from_bytes(self._read(8), "big")
        if size > LARGEST_FRAME_BYTES:
            raise ProgramEnded("message too long")
        return json.loads(self._read(size))

    def _read(self, count):
        parts = []
        while count:
            part = os.read(self.fd, min(count, 1 << 20))
            if not part:
                raise ProgramEnded("the program ended before its tests did")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def encode(value, refer):
    """A value as JSON: plain ones as they are, containers with a tag, all else as a number from `refer(value)`."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -(2**63) < number < 2**63 else ["i", hex(number)]
    if isinstance(value, float):
        return float.__float__(value)
    for kind, tag in _SEQUENCES:
        if isinstance(value, kind):
            return [tag, [encode(item, refer) for item in kind.__iter__(value)]]
    if isinstance(value, dict):
        return ["d", [[encode(key, refer), encode(item, refer)] for key, item in dict.items(value)]]
    if isinstance(value, (bytes, bytearray)):
        return ["b" if isinstance(value, bytes) else "y", bytes(value).hex()]
    if isinstance(value, complex):
        return ["c", value.real, value.imag]
    if isinstance(value, range):
        return ["r", encode(value.start, refer), encode(value.stop, refer), encode(value.step, refer)]
    name = (type(value).__module__, type(value).__qualname__)
    if name == ("decimal", "Decimal"):
        return ["n", str(value)]
    if name == ("fractions", "Fraction"):
        return ["q", encode(value.numerator, refer), encode(value.denominator, refer)]
    if name == ("collections", "deque"):
        return ["e", [encode(item, refer) for item in value]]
    return ["x", refer(value)]


_SEQUENCES: "tuple[tuple[Any, str], ...]" = ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "f"))


def decode(data: "Any", resolve: "Callable[[Any], Any]") -> "Any":
    """The value that `encode` wrote; numbers of objects become `resolve(number)`."""
    if not isinstance(data, list):
        if isinstance(data, dict):
            raise ProgramEnded("malformed message")
        return data
    tag, *rest = data
    if tag in "ltsfe":
        items = [decode(item, resolve) for item in rest[0]]
        if tag == "e":
            from collections import deque

            return deque(items)
        return {"l": list, "t": tuple, "s": set, "f": frozenset}[tag](items)
    if tag == "d":
        return {decode(key, resolve): decode(item, resolve) for key, item in rest[0]}
    if tag == "i":
        return int(rest[0], 16)
    if tag in "by":
        return (bytes if tag == "b" else bytearray).fromhex(rest[0])
    if tag == "c":
        return complex(*rest)
    if tag == "r":
        return range(*(decode(item, resolve) for item in rest))
    if tag == "n":
        from decimal import Decimal

        return Decimal(rest[0])
    if tag == "q":
        from fractions import Fraction

        return Fraction(*(decode(item, resolve) for item in rest))
    if tag == "x":
        return resolve(rest[0])
    raise ProgramEnded("malformed message")


def describe(error):
    """Name and message of an exception, which may be of a class that the program wrote."""
    try:
        return f"{type(error).__name__}: {error}"[:2000]
    except BaseException:  # noqa: BLE001 - its own __str__ may raise anything
        return type(error).__name__
