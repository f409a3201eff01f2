"""How a completion is shown: numbered lines of the file around it, its own text highlighted.

    13 | def total(prices):
    14 +     return sum(prices)

A `+` marks lines that the completion has text in; on a terminal that text is coloured.
"""

from collections.abc import Iterator

LINES_BEFORE = 6
LINES_AFTER = 4

Line = tuple[int, str, str, str]
"""Number, then the text of the line: before, in and after the completion."""


def plain(prefix: str, text: str, suffix: str) -> str:
    """The excerpt without colours, lines ended by newlines."""
    lines = list(_lines(prefix, text, suffix))
    width = len(str(lines[-1][0]))
    return "".join(
        f"{number:>{width}} {'+' if middle else '|'} {before}{middle}{after}".rstrip() + "\n"
        for number, before, middle, after in lines
    )


def coloured(prefix: str, text: str, suffix: str) -> None:
    """Prints the excerpt to the terminal in front."""
    from rich.console import Console
    from rich.text import Text

    lines = list(_lines(prefix, text, suffix))
    width = len(str(lines[-1][0]))
    console = Console(highlight=False)
    for number, before, middle, after in lines:
        gutter = (f"{number:>{width}} + ", "green") if middle else (f"{number:>{width}} | ", "dim")
        console.print(Text.assemble(gutter, before, (middle, "bold green"), after), soft_wrap=True)


def _lines(prefix: str, text: str, suffix: str) -> Iterator[Line]:
    *earlier, opened = prefix.split("\n")
    closed, *later = suffix.split("\n")
    for number, line in enumerate(earlier, start=1):
        if number > len(earlier) - LINES_BEFORE:
            yield number, line, "", ""
    first = len(earlier) + 1
    inserted = text.split("\n")
    for index, line in enumerate(inserted):
        yield (
            first + index,
            opened if index == 0 else "",
            line,
            closed if index == len(inserted) - 1 else "",
        )
    if later and not later[-1]:
        later.pop()  # behind the file's last newline there is no line to show
    for number, line in enumerate(later[:LINES_AFTER], start=first + len(inserted)):
        yield number, line, "", ""
