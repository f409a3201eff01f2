"""A text as bytes of the same length, in which pieces that an expression needs can be looked for fast.

Finding a fixed piece of bytes takes a fraction of what a regular expression takes that begins with a digit or any
letter, so searches look for pieces first and run expressions around what they find.
"""

from collections.abc import Iterator
from functools import cached_property

WINDOW_CHARS = 4096
"""Longer lines are given in overlapping windows: some expressions take time by the square of the length."""
OVERLAP_CHARS = 1024

_ZEROS = bytes(ord("0") if chr(code) in "0123456789" else code for code in range(256))
_TOKEN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
_RUNS = bytes(ord("a") if code in _TOKEN else code for code in range(256))


class Views:
    """Views of one text; offsets into any of them are offsets into the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.plain = text.encode("latin-1", "replace")
        self._lines: dict[tuple[str, bytes], list[tuple[int, int]]] = {}

    @cached_property
    def lower(self) -> bytes:
        """ASCII letters in lower case."""
        return self.plain.lower()

    @cached_property
    def digits(self) -> bytes:
        """Every digit as "0"."""
        return self.plain.translate(_ZEROS)

    @cached_property
    def runs(self) -> bytes:
        """Every ASCII letter, digit, "_" and "-" as "a"."""
        return self.plain.translate(_RUNS)

    def positions(self, view: str, piece: bytes) -> Iterator[int]:
        """Where a piece stands in a view, overlaps included."""
        data: bytes = getattr(self, view)
        position = data.find(piece)
        while position >= 0:
            yield position
            position = data.find(piece, position + 1)

    def windows(self, view: str, pieces: tuple[bytes, ...]) -> Iterator[tuple[int, str]]:
        """Offsets and texts of the lines that have one of some pieces, in order, each once; long lines in windows."""
        lines = {line for piece in pieces for line in self._with(view, piece)}
        for start, end in sorted(lines):
            if end - start <= WINDOW_CHARS:
                yield start, self.text[start:end]
            else:
                for offset in range(start, end, WINDOW_CHARS - OVERLAP_CHARS):
                    yield offset, self.text[offset : min(end, offset + WINDOW_CHARS)]

    def _with(self, view: str, piece: bytes) -> list[tuple[int, int]]:
        if (view, piece) not in self._lines:
            self._lines[view, piece] = list(self._find(view, piece))
        return self._lines[view, piece]

    def _find(self, view: str, piece: bytes) -> Iterator[tuple[int, int]]:
        data: bytes = getattr(self, view)
        position = data.find(piece)
        while position >= 0:
            start = self.plain.rfind(b"\n", 0, position) + 1
            end = self.plain.find(b"\n", position)
            end = len(data) if end < 0 else end
            yield start, end
            position = data.find(piece, end)
