"""What the builders share: reading lines, leaving benchmarks out, and writing chats."""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from training.corpus.decontamination import Benchmarks

T = TypeVar("T")


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number, from 1, and the object of each line of a JSON-lines file, gzipped or not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no JSON object, with its number.
    """
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except ValueError as error:
                raise ValueError(f"Line {number} of {path} must be JSON; it is not ({error}). Repair it.") from None
            if not isinstance(item, dict):
                raise ValueError(f"Line {number} of {path} must be an object; got {type(item).__name__}. Repair it.")
            yield number, item


def read_distinct(path: Path, kind: type[T], fields: Sequence[str], *, what: str) -> list[T]:
    """A value of each line's texts; the same line twice counts once.

    Raises:
        FileNotFoundError, ValueError: no such file, none in it, or a line without one of the texts.
    """
    found = {
        kind(**{name: text_of(item, name, number=number, path=path) for name in fields}): None
        for number, item in read_lines(path)
    }
    if not found:
        raise ValueError(f"A file of {what} must hold at least one; {path} has none. Check the path.")
    return list(found)


def text_of(item: Mapping[str, Any], field: str, *, number: int, path: Path) -> str:
    """A field of a line that must be a text that is not empty.

    Raises:
        ValueError: it is none, with the number of the line.
    """
    value = item.get(field)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"Line {number} of {path} must have the text {field!r}; got {value!r:.60} (fields: {sorted(item)}). "
            "Correct the line, or name another kind of file."
        )
    return value


def chat(question: str, answer: str) -> dict[str, Any]:
    """One turn of each, as `data.chats` takes them."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def is_clean(texts: Iterable[str], benchmarks: Benchmarks | None) -> bool:
    """Whether texts have no piece of a benchmark."""
    return benchmarks is None or not benchmarks.hits("\n".join(texts))


def benchmarks_of(paths: Sequence[Path]) -> Benchmarks | None:
    """What must not be trained on; None where nothing was named."""
    return Benchmarks.from_files(paths) if paths else None


def write_lines(path: Path, items: Iterable[Mapping[str, Any]]) -> int:
    """Writes a JSON-lines file, which stands under its name only when it is complete; gives the number of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    count = 0
    with part.open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            count += 1
    part.replace(path)
    return count
