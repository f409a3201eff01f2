"""Finds documents that contain pieces of benchmarks, by runs of words that both have.

We look for runs of 10 words, as DeepSeek-Coder did (Guo et al. 2024, arXiv 2401.14196), without regard to case and
punctuation, as GPT-3 did with 13 (Brown et al. 2020, arXiv 2005.14165, appendix C). Words are those of `words.py`, so
`total += values[i]` has three. Runs that say nothing are left out: those of mostly numbers, of single letters or of
few different words, and those that stand in many rows of one file, which are the benchmark's template and not its
problems. Solutions of arithmetic have hardly any other words than single letters, so runs of 16 words count too, of
which fewer have to be different: with them 846 solutions of MBPP's 974 are found, without 716; most others are shorter.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus.words import Words, runs, words

_NAMES = ("task_id", "qid", "id", "title", "name")
"""Fields that name a row in a report, the first that is there."""
_FILTER_BITS = 24
"""16 MB of flags: with a million runs one in sixteen is set, so that few words of a clean document go further."""


@dataclass(frozen=True, kw_only=True)
class DecontaminationSettings:
    """What counts as a piece of a benchmark.

    Attributes:
        benchmarks: files, or folders of which every JSONL file counts (.jsonl, .jsonl.gz); other files are one text.
        run_words: length of the short runs.
        least_different_words: in a short run, of those of two characters or more that begin with a letter. Without it
            lists of numbers and the alphabet, which benchmarks have, are found in much code.
        long_run_words: length of the long runs.
        least_different_long: as `least_different_words`, in a long run.
        most_row_rate: runs in more than this share of a file's rows belong to its template; of files of 20 rows on.
    """

    benchmarks: tuple[str, ...] = ()
    run_words: int = 10
    least_different_words: int = 6
    long_run_words: int = 16
    least_different_long: int = 4
    most_row_rate: float = 0.2

    def __post_init__(self) -> None:
        for name in ("run_words", "long_run_words"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Runs have at least one word; got {name}={getattr(self, name)}. The usual numbers are 10 and 16."
                )
        for length, least in self.kinds:
            if least > length:
                raise ValueError(
                    f"A run of {length} words cannot have {least} different ones. Lower the number of different words "
                    "or lengthen the run."
                )
        if not 0 < self.most_row_rate <= 1:
            raise ValueError(f"A rate lies in (0, 1]; got most_row_rate={self.most_row_rate}. Give a share.")

    @property
    def kinds(self) -> tuple[tuple[int, int], ...]:
        """Length and least number of different words of each kind of run."""
        return (
            (self.run_words, self.least_different_words),
            (self.long_run_words, self.least_different_long),
        )


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A piece of a benchmark in a document.

    Attributes:
        benchmark: name of the file.
        row: name of its row, or its number.
        text: the first run found, as the document has it.
        runs: how many runs the two share.
    """

    benchmark: str
    row: str
    text: str
    runs: int


class Benchmarks:
    """The runs of words of benchmarks, to be looked up in documents.

    Args:
        files: name of each file with its rows, each a name and the texts in it.
        settings: what counts.

    Attributes:
        settings: as given.
        rows: how many rows each file has, by name.
        too_short: how many of them have no run at all and so cannot be found.
        templates: how many runs were left out as templates.
    """

    def __init__(self, files: Iterable[tuple[str, Iterable[tuple[str, list[str]]]]], settings: DecontaminationSettings):
        self.settings = settings
        self.rows: dict[str, int] = {}
        self.too_short: dict[str, int] = {}
        self.templates: dict[str, int] = {}
        self._origins: list[tuple[str, str]] = []
        found = [self._add(name, rows) for name, rows in files]
        hashes = np.concatenate([pair[0] for pair in found] or [np.empty(0, np.uint64)])
        origins = np.concatenate([pair[1] for pair in found] or [np.empty(0, np.int64)])
        distinct, first = np.unique(hashes, return_index=True)
        self._look_up(distinct, origins[first])

    def _look_up(self, hashes: np.ndarray, origin: np.ndarray) -> None:
        """Takes ascending hashes and the origin of each."""
        self._hashes, self._origin = hashes, origin
        self._filter = np.zeros(1 << _FILTER_BITS, dtype=bool)
        self._filter[hashes >> np.uint64(64 - _FILTER_BITS)] = True

    @classmethod
    def from_files(cls, paths: Iterable[Path], settings: DecontaminationSettings | None = None) -> "Benchmarks":
        """Reads files and folders.

        Raises:
            FileNotFoundError: a path is not there, or a folder has no JSONL file.
            ValueError: a line of a JSONL file is not JSON.
        """
        files = [file for path in paths for file in _files(Path(path))]
        return cls(((file.name, _rows(file)) for file in files), settings or DecontaminationSettings())

    def __len__(self) -> int:
        return len(self._hashes)

    def hits(self, text: str | Words) -> tuple[Hit, ...]:
        """The benchmark rows of which the text has a piece; a run that several rows have counts for the first."""
        found = text if isinstance(text, Words) else words(text)
        counts: Counter[int] = Counter()
        first: dict[int, tuple[int, int]] = {}
        for length, _ in self.settings.kinds:
            for start, origin in self._shared(runs(found.hashes, length)):
                counts[origin] += 1
                first.setdefault(origin, (start, length))
        return tuple(self._hit(found, origin, place, counts[origin]) for origin, place in first.items())

    def _shared(self, hashes: np.ndarray) -> Iterator[tuple[int, int]]:
        """Which of a document's runs are known, each with its origin."""
        maybe = np.flatnonzero(self._filter[hashes >> np.uint64(64 - _FILTER_BITS)])
        if not maybe.size:
            return
        place = np.minimum(np.searchsorted(self._hashes, hashes[maybe]), len(self._hashes) - 1)
        sure = self._hashes[place] == hashes[maybe]
        yield from zip(maybe[sure].tolist(), self._origin[place[sure]].tolist(), strict=True)

    def save(self, path: Path) -> None:
        """Writes what `load` reads: reading the files themselves takes half a second per megabyte of them."""
        counts = {"rows": self.rows, "too_short": self.too_short, "templates": self.templates}
        described = json.dumps({"settings": vars(self.settings), "origins": self._origins, **counts})
        with path.open("wb") as stream:
            np.savez(stream, hashes=self._hashes, origin=self._origin, described=np.array(described))

    @classmethod
    def load(cls, path: Path) -> "Benchmarks":
        """What `save` wrote."""
        with np.load(path) as arrays:
            described = json.loads(str(arrays["described"]))
            found = cls([], DecontaminationSettings(**{**described["settings"], "benchmarks": ()}))
            found._look_up(arrays["hashes"], arrays["origin"])
        found._origins = [(name, row) for name, row in described["origins"]]
        found.rows, found.too_short = described["rows"], described["too_short"]
        found.templates = described["templates"]
        return found

    def _hit(self, found: Words, origin: int, place: tuple[int, int], count: int) -> Hit:
        benchmark, row = self._origins[origin]
        return Hit(benchmark=benchmark, row=row, text=found.text(*place), runs=count)

    def _add(self, name: str, rows: Iterable[tuple[str, list[str]]]) -> tuple[np.ndarray, np.ndarray]:
        """Runs of one file and the number of the row that each is from."""
        hashes, origins = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        count = short = 0
        for row, texts in rows:
            count += 1
            telling = [_telling(words(text), *kind) for text in texts for kind in self.settings.kinds]
            own = np.unique(np.concatenate([np.empty(0, np.uint64), *telling]))
            short += not len(own)
            hashes.append(own)
            origins.append(np.full(len(own), len(self._origins)))
            self._origins.append((name, row))
        joined, origin = np.concatenate(hashes), np.concatenate(origins)
        distinct, first, times = np.unique(joined, return_index=True, return_counts=True)
        few = times <= max(1.0, self.settings.most_row_rate * count) if count >= _FEW_ROWS else times > 0
        self.rows[name], self.too_short[name] = count, short
        self.templates[name] = int((~few).sum())
        return distinct[few], origin[first[few]]


def _telling(found: Words, length: int, least: int) -> np.ndarray:
    """The runs of a text that say something."""
    hashes = runs(found.hashes, length)
    if not len(hashes):
        return hashes
    initials = np.frombuffer(found.data, dtype=np.uint8)[found.starts]
    telling = ~np.isin(initials, _DIGITS) & (found.ends - found.starts > 1)
    windows = np.lib.stride_tricks.sliding_window_view(np.where(telling, found.hashes, np.uint64(0)), length)
    ordered = np.sort(windows, axis=1)
    different = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) - (ordered[:, 0] == 0)
    return hashes[different >= least]


_FEW_ROWS = 20
_DIGITS = np.frombuffer(b"0123456789", dtype=np.uint8)


def _files(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise FileNotFoundError(f"Benchmark files must be there; got {path}. Correct the path.")
    if path.is_file():
        yield path
        return
    found = sorted(file for file in path.rglob("*") if file.name.endswith((".jsonl", ".jsonl.gz")))
    if not found:
        raise FileNotFoundError(
            f"A folder of benchmarks has .jsonl or .jsonl.gz files; got {path} without. Name the files themselves."
        )
    yield from found


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and texts of each row. Every string in a row counts, however deep."""
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        yield "text", [path.read_text(encoding="utf-8")]
        return
    opener: Callable[..., Any] = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                place = f"line {number + 1} of {path}"
                raise ValueError(
                    f"A benchmark has one JSON object a line; got {error} in {place}. Repair the file."
                ) from error
            name = next((str(row[key]) for key in _NAMES if key in row), "") if isinstance(row, dict) else ""
            yield name or str(number), list(_strings(row))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
