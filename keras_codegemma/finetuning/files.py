"""A repository as training examples: which files are held out, pieces that fit a row, and the middle of each piece.

Files are held out by a hash of seed and path, so the same repository always gives the same split.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from keras_codegemma.evaluation.repository import Sources
from keras_codegemma.evaluation.repository import read as read_sources
from keras_codegemma.tokenizer import CodeGemmaTokenizer

SENTINEL_TOKENS = 6
"""<bos>, three sentinels, the end of the middle, and one more where a cut through a line makes two tokens of one."""

_LONGEST_BLOCK_LINES = 8
_LINE_RATE, _BLOCK_RATE = 0.6, 0.3
"""Chances that a middle is one line, or several; the rest begin and end inside lines, as a cursor does."""

Triple = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository's source files, tests left out.

    Attributes:
        sources: of the files to measure on, which are never trained on.
        training: text by path.
    """

    sources: Sources
    training: Mapping[str, str]

    @property
    def training_chars(self) -> int:
        """Of all files that are trained on."""
        return sum(map(len, self.training.values()))


def read(folder: Path, *, held_out_rate: float = 0.1, seed: int = 0) -> Repository:
    """Reads and splits a repository.

    Args:
        folder: of it, or inside it.
        held_out_rate: share of files to measure on, in (0, 1); at least one file.
        seed: of the split.

    Raises:
        ValueError: fewer than two source files, or a rate outside its range.
    """
    if not 0 < held_out_rate < 1:
        raise ValueError(f"held_out_rate must lie between 0 and 1; got {held_out_rate}. Try 0.1.")
    found = read_sources(folder)
    if len(found.texts) < 2:
        raise ValueError(
            f"A repository to fine-tune on must hold two source files that are no tests, one to measure on; {folder} "
            f"has {len(found.texts)}. Name another folder."
        )
    drawn = sorted(found.texts, key=lambda path: hashlib.sha256(f"{seed}\0{path}".encode()).digest())
    held_out = set(drawn[: min(len(drawn) - 1, max(1, round(held_out_rate * len(drawn))))])
    parts = [{path: text for path, text in found.texts.items() if (path in held_out) is side} for side in (True, False)]
    sources = Sources(folder=found.folder, root=found.root, texts=parts[0])
    return Repository(sources=sources, training=parts[1])


def pieces(text: str, tokenizer: CodeGemmaTokenizer, *, max_tokens: int) -> Iterator[str]:
    """Whole lines of a text in their order, as many at a time as fit; a line that alone does not fit is left out."""
    taken: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        tokens = len(tokenizer.encode(line))
        if taken and size + tokens > max_tokens:
            yield "".join(taken)
            taken, size = [], 0
        if tokens <= max_tokens:
            taken.append(line)
            size += tokens
    if taken:
        yield "".join(taken)


def draw_triple(piece: str, rng: Random) -> Triple:
    """Prefix, suffix and middle of a piece: a line, some lines, or from somewhere to somewhere.

    A line or block begins with a line that is not blank and ends with its line break, as an editor asks for them.
    """
    lines = piece.splitlines(keepends=True)
    telling = [index for index, line in enumerate(lines) if line.strip()]
    kind = rng.random()
    if not telling or kind >= _LINE_RATE + _BLOCK_RATE:
        first, last = sorted(rng.randint(0, len(piece)) for _ in range(2))
        last = min(last, first + 400)
        return piece[:first], piece[last:], piece[first:last]
    first = rng.choice(telling)
    last = first + 1 if kind < _LINE_RATE else min(len(lines), first + rng.randint(2, _LONGEST_BLOCK_LINES))
    return "".join(lines[:first]), "".join(lines[last:]), "".join(lines[first:last])


def batches(found: Sequence[str], *, batch_size: int, seed: int) -> Iterator[list[Triple]]:
    """Pieces without end, each epoch in a new order and with new middles."""
    epoch = 0
    while True:
        order = Random(f"{seed}/{epoch}").sample(range(len(found)), len(found))
        # An epoch's last, smaller batch is filled up from the epoch's start: one shape, one compiled step.
        order += order[: -len(order) % batch_size]
        order = (order * batch_size)[: -(-len(order) // batch_size) * batch_size]
        for start in range(0, len(order), batch_size):
            yield [draw_triple(found[i], Random(f"{seed}/{epoch}/{i}")) for i in order[start : start + batch_size]]
        epoch += 1
