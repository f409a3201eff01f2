"""report.md: the tables as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_codegemma.evaluation.report.tables import Table, remarks, tables


def document(report: Mapping[str, Any]) -> str:
    """The report as Markdown.

    Args:
        report: as `figures.make` gives it.
    """
    blocks = ["# Evaluation", "Percentages, but for seconds.", _bullets(remarks(report))]
    for table in tables(report):
        blocks += _blocks(table)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _blocks(table: Table) -> Iterator[str]:
    yield f"## {table.title}"
    lines = [_line(table.columns), _line(["---"] * len(table.columns)), *map(_line, table.rows)]
    yield "\n".join(lines)
    yield _bullets(table.notes)


def _bullets(texts: Sequence[str]) -> str:
    return "\n".join(f"- {' '.join(text.split())}" for text in texts)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
