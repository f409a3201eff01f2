"""Plants edited copies among real files and measures how many of them are found.

    python -m training.corpus.planted_duplicates SOURCE...

A copy has 5, 10, 15 or 20% of its lines edited (deleted, replaced by a line of another file, or moved), or as many of
its words renamed. Prints, by kind and rate: the copies' true Jaccard similarity, how many are found of all and of
those at or above the threshold; and of all pairs found, planted or not, how many truly are.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from training.corpus import duplicates, reading
from training.corpus.document import RawFile
from training.corpus.filters import FileFilter, FilterSettings
from training.corpus.minhash import DuplicateSettings, sign
from training.corpus.words import Words, runs, words

RATES = (0.05, 0.10, 0.15, 0.20)
KINDS = ("lines", "words")


@dataclass(frozen=True, kw_only=True)
class Planted:
    """An edited copy: of text `original`, by an edit of `kind` at `rate`."""

    text: str
    original: int
    kind: str
    rate: float


def edited(text: str, *, kind: str, rate: float, others: Sequence[str], rng: Random) -> str:
    """A copy with a share of its lines or words changed."""
    if kind == "words":
        found = words(text)
        data = bytearray(found.data)
        for index in sorted(rng.sample(range(len(found.starts)), round(rate * len(found.starts))), reverse=True):
            data[found.starts[index] : found.ends[index]] = f"renamed{rng.randrange(10**6)}".encode()
        return data.decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    for _ in range(round(rate * len(lines))):
        place, action = rng.randrange(len(lines)), rng.randrange(3)
        if action == 0 and len(lines) > 1:
            del lines[place]
        elif action == 1:
            lines[place] = rng.choice(others)
        else:
            lines.insert(rng.randrange(len(lines)), lines.pop(place))
    return "".join(lines)


def plant(texts: Sequence[str], *, copies: int, seed: int) -> list[Planted]:
    """`copies` edited copies for each kind and rate."""
    rng = Random(seed)
    others = [line for text in texts for line in text.splitlines(keepends=True)[:40]]
    found = []
    for kind in KINDS:
        for rate in RATES:
            for original in rng.sample(range(len(texts)), copies):
                text = edited(texts[original], kind=kind, rate=rate, others=others, rng=rng)
                found.append(Planted(text=text, original=original, kind=kind, rate=rate))
    return found


def jaccard(left: Words, right: Words, run_words: int) -> float:
    """The true similarity of the sets of runs of words."""
    a, b = (np.unique(runs(side.hashes, run_words)) for side in (left, right))
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / max(1, len(a) + len(b) - both)


def measure(texts: Sequence[str], *, copies: int, seed: int, settings: DuplicateSettings) -> Iterator[str]:
    """The report, line by line."""
    planted = plant(texts, copies=copies, seed=seed)
    cut = [words(text) for text in [*texts, *(item.text for item in planted)]]
    signatures = sign(cut, settings)
    keys = duplicates.sorted_keys(signatures, settings)
    pairs = duplicates.linked(
        keys.keys, keys.rows, lookup=lambda rows: duplicates.taken(signatures, rows), settings=settings
    )
    names = [("", f"{row:09d}", "") for row in range(len(cut))]
    gone = {item.document for item in duplicates.find(signatures, names, settings)}
    yield f"{len(texts)} files and {len(planted)} planted copies; threshold {settings.threshold}"
    yield "edit   rate  Jaccard  found  found of those at or above the threshold"
    for kind in KINDS:
        for rate in RATES:
            own = [i for i, item in enumerate(planted) if (item.kind, item.rate) == (kind, rate)]
            true = [jaccard(cut[planted[i].original], cut[len(texts) + i], settings.run_words) for i in own]
            hits = [len(texts) + i in gone for i in own]
            near = [hit for hit, value in zip(hits, true, strict=True) if value >= settings.threshold]
            of_near = f"{np.mean(near):.3f} of {len(near)}" if near else "none there"
            yield f"{kind}  {rate:4.0%}    {np.mean(true):.3f}  {np.mean(hits):.3f}  {of_near}"
    true = np.array([jaccard(cut[a], cut[b], settings.run_words) for a, b in pairs.tolist()])
    for least in (settings.threshold, settings.threshold - 0.05, settings.threshold - 0.1):
        yield f"precision: {np.mean(true >= least):.4f} of {len(true)} pairs found have Jaccard >= {least:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the sources' files of at least 20 lines and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, help="folders, archives or tables of real files")
    parser.add_argument("--copies", type=int, default=200, help="for each kind and rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threshold", type=float, default=DuplicateSettings().threshold)
    parser.add_argument("--run-words", type=int, default=DuplicateSettings().run_words)
    options = parser.parse_args(arguments)
    keep = FileFilter(FilterSettings(licences=None))
    items = (item for source in options.sources for item in reading.read(source))
    found = (keep(item) for item in items if isinstance(item, RawFile))
    texts = sorted({text for item in found if (text := getattr(item, "text", "")).count("\n") >= 20})
    settings = DuplicateSettings(threshold=options.threshold, run_words=options.run_words)
    if not texts:
        named = ", ".join(map(str, options.sources))
        sys.stderr.write(f"Copies are planted among files of at least 20 lines; got none in {named}. Name others.\n")
        return 1
    for line in measure(texts, copies=min(options.copies, len(texts)), seed=options.seed, settings=settings):
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
