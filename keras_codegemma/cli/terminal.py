"""What goes to which stream: results to standard output, progress and remarks to standard error.

Rich (0.1 s) is imported only where a person looks on.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

import click

Report = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


def is_terminal(stream: TextIO) -> bool:
    """Whether colours may be written: a terminal, or FORCE_COLOR; never with NO_COLOR or TERM=dumb."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def print_json(values: Any) -> None:
    """One JSON document, indented, with a newline."""
    click.echo(json.dumps(values, indent=2, ensure_ascii=False))


def remark(message: str) -> None:
    """One line for the person in front, which no pipe sees."""
    click.echo(f"codegemma: {message}", err=True)


def print_pieces(pieces: Iterable[str]) -> str:
    """Prints text as it comes, ends it with a newline if it has none, and returns it."""
    text = ""
    for piece in pieces:
        text += piece
        click.echo(piece, nl=False)
        sys.stdout.flush()
    if not text.endswith("\n"):
        click.echo()
    return text


@contextlib.contextmanager
def progress(task: str) -> Iterator[Report]:
    """A bar on standard error while something long runs; nothing where nobody looks on.

    It pulses until the first report. It leaves no trace.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(task, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def discard_output() -> None:
    """Sends what is still buffered nowhere, so that the interpreter's last flush does not fail on a closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
