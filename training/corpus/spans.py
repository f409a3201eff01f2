"""Which characters of a text become the middle that a model must fill in.

A span is chosen in one of six ways, drawn from a mixture. Google has published that the suffix starts at a point more
natural than a random one, not how, so the kinds and their shares are this project's own.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random

from keras_codegemma import fim

Range = tuple[int, int]
"""Characters from the first number up to, not including, the second."""

KINDS = ("nodes", "rest_of_line", "lines", "block", "characters", "statement")
"""Rows hold the place in this order, so new ones come last."""


@dataclass(frozen=True, kw_only=True)
class SpanWeights:
    """How often each kind of span is drawn, in proportion to each other.

    Attributes:
        nodes: one or more whole syntax nodes that follow each other, of all sizes.
        rest_of_line: from a place in a line to its end.
        lines: one or more whole lines.
        block: a line with the deeper lines under it; from a line with none, what is left of its own block.
        characters: any characters (`fim.split`).
        statement: a whole line of code within a block, with its indentation and its line end; each as likely, where
            `lines` draws long ones more often, comments and texts among them.

    Raises:
        ValueError: a weight below 0 or not finite, or none above 0.
    """

    nodes: float = 0.45
    rest_of_line: float = 0.15
    lines: float = 0.15
    block: float = 0.1
    characters: float = 0.15
    statement: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"The weight of a kind of span must be 0 or more; got {name}={weight}. Correct it.")
        if not any(asdict(self).values()):
            raise ValueError("One kind of span must have a weight above 0; got none. Give, for example, characters=1.")


@dataclass(frozen=True, kw_only=True)
class ChosenSpan:
    """The middle of a text, never empty, and the kind that it was chosen as."""

    start: int
    end: int
    kind: str


def choose(
    text: str,
    *,
    weights: SpanWeights,
    rng: Random,
    nodes: Callable[[], Sequence[Range]],
    max_lines: int,
    max_characters: int | None = None,
) -> ChosenSpan:
    """Draws a kind, and a span of that kind.

    A kind that the text has no span of (a language without a grammar has no nodes) is left out and another one drawn
    among the rest; `characters`, which every text has, comes last even where its weight is 0.

    Args:
        text: at least one character.
        weights: of the kinds.
        rng: seeded by the caller.
        nodes: gives the ranges of whole syntax nodes; called only if that kind is drawn.
        max_lines: the most lines that `lines` takes.
        max_characters: the most that `characters` takes, every length up to it being as likely; None for any span of
            the text, each as likely.

    Raises:
        ValueError: an empty text.
    """
    if not text:
        raise ValueError("A span needs a text of at least one character; got an empty one. Leave it as it is.")
    choices: dict[str, Callable[[], Range | None]] = {
        "nodes": lambda: _nodes(text, ranges=nodes(), rng=rng),
        "rest_of_line": lambda: _rest_of_line(text, rng=rng),
        "lines": lambda: _lines(text, rng=rng, max_lines=max_lines),
        "block": lambda: _block(text, rng=rng),
        "statement": lambda: _statement(text, ranges=nodes(), rng=rng),
    }
    left = {kind: weight for kind, weight in asdict(weights).items() if weight > 0}
    while left:
        kind = rng.choices(list(left), weights=list(left.values()))[0]
        if kind == "characters":
            break
        del left[kind]
        if found := choices[kind]():
            return ChosenSpan(start=found[0], end=found[1], kind=kind)
    start, end = _characters(text, rng=rng, most=max_characters)
    return ChosenSpan(start=start, end=end, kind="characters")


def _characters(text: str, *, rng: Random, most: int | None) -> Range:
    if most is None:
        span = fim.split(text, rng=rng)
        return len(span.prefix), len(span.prefix) + len(span.middle)
    length = rng.randint(1, min(most, len(text)))
    start = rng.randint(0, len(text) - length)
    return start, start + length


def _nodes(text: str, *, ranges: Sequence[Range], rng: Random) -> Range | None:
    """A node of any size up to half the text, and with falling chance the ones that follow it."""
    largest = max(1, len(text) // 2)
    sizes = [end - start for start, end in ranges]
    powers = {size.bit_length() for size in sizes if 0 < size <= largest}
    if not powers:
        return None
    # Small nodes are by far the most: sizes are drawn first, evenly by powers of two.
    least = 1 << rng.choice(sorted(powers)) - 1
    most = min(largest, 2 * least - 1)
    start, end = rng.choice([node for node, size in zip(ranges, sizes, strict=True) if least <= size <= most])
    ordered: list[Range] = []
    while rng.random() < 0.5:
        ordered = ordered or sorted(ranges)
        following = _node_after(text, ordered, end)
        if following is None or following - start > len(text) // 2:
            break
        end = following
    return start, end


def _node_after(text: str, ordered: Sequence[Range], end: int) -> int | None:
    """The end of the largest node that begins at the next visible character."""
    at = bisect_left(ordered, (end, end))
    if at == len(ordered) or text[end : ordered[at][0]].strip():
        return None
    # Nodes nest, so none that begins here can hold what was chosen already.
    return ordered[bisect_left(ordered, (ordered[at][0] + 1, 0)) - 1][1]


def _rest_of_line(text: str, *, rng: Random) -> Range | None:
    line = _random_line(text, rng=rng)
    if line is None:
        return None
    return rng.randrange(line[0], line[1]), line[1]


def _lines(text: str, *, rng: Random, max_lines: int) -> Range | None:
    """Whole lines, few more often than many; with their first indentation or after it, with their last end or not."""
    line = _random_line(text, rng=rng)
    if line is None:
        return None
    start = line[0] if rng.random() < 0.5 else text.rfind("\n", 0, line[0]) + 1
    end = line[1]
    for _ in range(int(2 ** rng.uniform(0, math.log2(max_lines + 1))) - 1):
        next_end = _line_end(text, text.find("\n", end) + 1 or len(text))
        if next_end <= end:
            break
        end = next_end
    if rng.random() < 0.5 and (newline := text.find("\n", end, end + 2)) >= 0:
        end = newline + 1
    return start, end


def _block(text: str, *, rng: Random) -> Range | None:
    line = _random_line(text, rng=rng)
    if line is None:
        return None
    indentation = _indentation(text, line[0])
    deeper_end = _end_while(text, line[1], lambda width: width > indentation)
    if deeper_end > line[1]:
        return line[0], deeper_end
    if indentation == 0:
        return None  # the block would be the rest of the file
    return line[0], _end_while(text, line[1], lambda width: width >= indentation)


def _statement(text: str, *, ranges: Sequence[Range], rng: Random) -> Range | None:
    """The line of an indented node that comes first in it and begins with a word: no argument's star, no docstring."""
    lines: list[int] = []
    for first in sorted({start for start, _ in ranges}):
        start = text.rfind("\n", 0, first) + 1
        if start < first and text[start:first].isspace() and text[first].isidentifier():
            lines.append(start)
    if not lines:
        return None
    start = rng.choice(lines)
    return start, text.find("\n", start) + 1 or len(text)


def _end_while(text: str, end: int, belongs: Callable[[int], bool]) -> int:
    """The end of the last line after `end` before one whose indentation does not belong; blank lines do not count."""
    at = end
    while newline := text.find("\n", at) + 1:
        line_end = _line_end(text, newline)
        first = _first_visible(text, newline, line_end)
        if first < line_end:
            if not belongs(first - newline):
                break
            end = line_end
        at = max(line_end, newline)
        if at >= len(text):
            break
    return end


def _random_line(text: str, *, rng: Random) -> Range | None:
    """A line with something visible in it, from there to before its line end; None if eight places gave none."""
    for _ in range(8):
        at = rng.randrange(len(text))
        start = text.rfind("\n", 0, at) + 1
        end = _line_end(text, start)
        first = _first_visible(text, start, end)
        if first < end:
            return first, end
    return None


def _line_end(text: str, start: int) -> int:
    r"""Where the line that begins at `start` ends, before its "\n" or "\r\n"."""
    end = text.find("\n", start)
    if end < 0:
        end = len(text)
    return end - 1 if end > start and text[end - 1] == "\r" else end


def _first_visible(text: str, start: int, end: int) -> int:
    line = text[start:end]
    return start + len(line) - len(line.lstrip())


def _indentation(text: str, first: int) -> int:
    return first - text.rfind("\n", 0, first) - 1
