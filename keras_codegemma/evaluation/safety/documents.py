"""Documents to test a model's memory on: a folder of source files, JSON Lines, or a corpus manifest.

A manifest is a JSON list of packages with `package`, `version` and `split` (as `code_gemma_tiny` has one): its
documents are the Python files of those packages that are installed here, in that very version. Packages of the split
"train" are the corpus; all others were held out, and serve as the control group.
"""

import gzip
import importlib.metadata
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUFFIXES = (
    *(".c", ".cc", ".cpp", ".cs", ".cxx", ".go", ".h", ".hpp", ".java", ".js", ".kt", ".kts", ".md", ".mjs", ".py"),
    *(".pyi", ".rb", ".rs", ".sh", ".sql", ".swift", ".ts", ".tsx"),
)
"""Endings of the files that a folder's documents are read from."""
LARGEST_BYTES = 1 << 20
"""Of a file; larger ones are mostly data."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text, and the name it is known by: a path below the folder, a line number, or package and path."""

    name: str
    text: str


@dataclass(kw_only=True)
class Documents:
    """Documents in a random order that the seed fixes; reading stops where the reader does.

    Attributes:
        available: how many there are, readable or not.
        counts: what was met while reading: "not_text" and "too_large" files, and "packages_absent" and
            "packages_other_version" of a manifest.
    """

    available: int
    counts: dict[str, int] = field(default_factory=dict)
    _order: Sequence[Callable[[], Document | None]] = ()

    def __iter__(self) -> Iterator[Document]:
        for read_one in self._order:
            if (document := read_one()) is not None:
                yield document


def read(path: Path, *, seed: int, held_out: bool = False) -> Documents:
    """Finds the documents.

    Args:
        path: a folder, a `.jsonl` or `.jsonl.gz` file with a `text` (or `content`) field, or a manifest `.json`.
        seed: of their order.
        held_out: of a manifest: the packages that were not trained on.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is something else, or has no document.
    """
    found = Documents(available=0)
    if path.is_dir():
        order = _folder(path, found.counts)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        order = _lines(path)
    elif path.suffix == ".json":
        order = _manifest(path, found.counts, held_out=held_out)
    elif path.exists():
        raise ValueError(
            f"A corpus must be a folder, a .jsonl or .jsonl.gz file or a manifest .json; got {path}. "
            "Convert it, a text per line."
        )
    else:
        raise FileNotFoundError(f"A corpus must exist; there is nothing at {path}. Correct the path.")
    if not order:
        raise ValueError(
            f"A corpus must have at least one document; {path} has none"
            + (f" ({found.counts})" if found.counts else "")
            + ". Pass one with source files, or install the packages that the manifest names."
        )
    random.Random(seed).shuffle(order)
    found.available, found._order = len(order), order
    return found


def _folder(path: Path, counts: dict[str, int]) -> list[Callable[[], Document | None]]:
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    return [_file_reader(file, file.relative_to(path).as_posix(), counts) for file in files]


def _file_reader(file: Path, name: str, counts: dict[str, int]) -> Callable[[], Document | None]:
    def read_one() -> Document | None:
        if file.stat().st_size > LARGEST_BYTES:
            counts["too_large"] = counts.get("too_large", 0) + 1
            return None
        try:
            return Document(name=name, text=file.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            counts["not_text"] = counts.get("not_text", 0) + 1
            return None

    return read_one


def _lines(path: Path) -> list[Callable[[], Document | None]]:
    with _open(path) as file:
        texts = [_text_of(json.loads(line), path, number) for number, line in enumerate(file, 1) if line.strip()]
    return [_constant(Document(name=f"line {number}", text=text)) for number, text in texts]


def _open(path: Path) -> Any:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _constant(document: Document) -> Callable[[], Document | None]:
    return lambda: document


def _text_of(row: Any, path: Path, number: int) -> tuple[int, str]:
    text = row.get("text", row.get("content")) if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise ValueError(
            f"Each line of a corpus must be an object with a text in `text` or `content`; line {number} of {path} "
            f"has {sorted(row) if isinstance(row, dict) else type(row).__name__}. Rename the field."
        )
    return number, text


def _manifest(path: Path, counts: dict[str, int], *, held_out: bool) -> list[Callable[[], Document | None]]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "package" in entry for entry in entries):
        raise ValueError(
            f"A corpus manifest must be a list of objects with `package`, `version` and `split`; {path} is not. "
            "Pass a folder of source files instead."
        )
    wanted = [entry for entry in entries if (entry.get("split", "train") != "train") == held_out]
    return [reader for entry in wanted for reader in _installed(entry, counts)]


def _installed(entry: dict[str, Any], counts: dict[str, int]) -> list[Callable[[], Document | None]]:
    name = entry["package"]
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        counts["packages_absent"] = counts.get("packages_absent", 0) + 1
        return []
    if distribution.version != entry.get("version"):
        counts["packages_other_version"] = counts.get("packages_other_version", 0) + 1
        return []
    files = sorted((file for file in distribution.files or () if file.suffix == ".py"), key=str)
    places = [(Path(str(distribution.locate_file(file))), f"{name} {file}") for file in files]
    return [_file_reader(place, label, counts) for place, label in places if place.is_file()]
