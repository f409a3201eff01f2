"""A text as bytes of the same length, in which pieces that an expression needs can be looked for fast.

Finding a fixed piece of bytes takes a fraction of what a regular expression takes that begins with a digit or any
letter, so searches look for pieces first and run expressions around what they find.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property

WINDOW_CHARS = 4096
"""Longer lines are given in overlapping windows: some expressions take time by the square of the length."""
OVERLAP_CHARS = 1024

LONG_RUN_CHARS = 20
"""Most keys and tokens have so many letters, digits, "_" and "-" in a row, and few lines of code have."""

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

    @cached_property
    def long_lines(self) -> bytes:
        """The lines with a run of `LONG_RUN_CHARS`, joined: offsets into this view are none into the text."""
        return b"\n".join(self.plain[start:end] for start, end in self._find("runs", LONG_RUN_CHARS * b"a"))

    def positions(self, view: str, piece: bytes) -> Iterator[int]:
        """Where a piece stands in a view, overlaps included."""
        data: bytes = getattr(self, view)
        position = data.find(piece)
        while position >= 0:
            yield position
            position = data.find(piece, position + 1)

    def has_run(self, count: int, start: int, end: int) -> bool:
        """Whether so many letters, digits, "_" and "-" in a row stand between two offsets."""
        return self.runs.find(b"a" * count, start, end) >= 0 if count else True

    def windows(self, view: str, pieces: tuple[bytes, ...], *, places: Iterable[int] = ()) -> Iterator[tuple[int, str]]:
        """Offsets and texts of lines, in order, each once; long lines in windows.

        Args:
            view: in which pieces are looked for.
            pieces: of which a line has one.
            places: offsets in further lines.
        """
        lines = {line for piece in pieces for line in self._with(view, piece)}
        lines.update(self._line_at(place) for place in places)
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
            line = self._line_at(position)
            yield line
            position = data.find(piece, line[1])

    def _line_at(self, position: int) -> tuple[int, int]:
        end = self.plain.find(b"\n", position)
        return self.plain.rfind(b"\n", 0, position) + 1, len(self.plain) if end < 0 else end
