"""From what the origins offer to the rows as they are pinned: one JSON object a line, in the origin's order.

Where the origin's rows have no names (MMLU's CSV files, HellaSwag's lines) or lie in two files (PIQA), the names are
those of the benchmark.
"""

import bz2
import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

Form = Callable[[Sequence[bytes]], bytes]
"""From the contents of a file's URLs to its rows; a ValueError, KeyError or OSError says that they are damaged."""


def as_lines(rows: Iterable[Any], *, ascii_only: bool = True) -> bytes:
    """Rows as JSON Lines, as Python's `json` writes them."""
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode()


def _lines(parts: Sequence[bytes]) -> bytes:
    return parts[0]


def _gzip(parts: Sequence[bytes]) -> bytes:
    return gzip.decompress(parts[0])


def _first_200_lines(parts: Sequence[bytes]) -> bytes:
    return b"".join(parts[0].splitlines(keepends=True)[:200])


def _stop_words(parts: Sequence[bytes]) -> bytes:
    return as_lines({"language": language, "stop_words": words} for language, words in json.loads(parts[0]).items())


def _piqa(parts: Sequence[bytes]) -> bytes:
    questions = [json.loads(line) for line in parts[0].decode("utf-8").split("\n") if line]
    labels = [int(line) for line in parts[1].split()]
    rows = ({**question, "label": label} for question, label in zip(questions, labels, strict=True))
    return as_lines(rows, ascii_only=False)


def _hellaswag(parts: Sequence[bytes]) -> bytes:
    """Six lines a problem: the question, the number of the right ending, four endings."""
    lines = bz2.decompress(parts[0]).decode("utf-8").split("\n")
    starts = range(0, len(lines) - 5, 6)
    return as_lines(
        ({"query": lines[at], "label": int(lines[at + 1]), "endings": lines[at + 2 : at + 6]} for at in starts),
        ascii_only=False,
    )


def _mmlu(parts: Sequence[bytes], *, split: str) -> bytes:
    """57 CSV files without a header in an archive, in the order of their names."""
    names = ("question", "A", "B", "C", "D", "answer")
    rows = []
    with tarfile.open(fileobj=io.BytesIO(parts[0])) as archive:
        members = [member for member in archive if member.isfile() and _is_mmlu(member.name, split)]
        for member in sorted(members, key=lambda member: member.name):
            file = archive.extractfile(member)
            assert file is not None
            subject = PurePosixPath(member.name).name.removesuffix(f"_{split}.csv")
            for row in csv.reader(io.StringIO(file.read().decode("utf-8"), newline="")):
                rows.append({"subject": subject, **dict(zip(names, row, strict=True))})
    return as_lines(rows, ascii_only=False)


def _is_mmlu(name: str, split: str) -> bool:
    return PurePosixPath(name).match(f"mmlu/{split}/*_{split}.csv")


FORMS: dict[str, Form] = {
    "lines": _lines,
    "gzip": _gzip,
    "first-200-lines": _first_200_lines,
    "stop-words": _stop_words,
    "piqa": _piqa,
    "hellaswag": _hellaswag,
    "mmlu-test": partial(_mmlu, split="test"),
    "mmlu-dev": partial(_mmlu, split="dev"),
}
"""By the name in sources.json."""
