"""Shows examples of a corpus as a model reads them, control pieces and middles in colour where a person looks on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from rich.text import Text

from keras_codegemma.fim import CONTROL_PIECES, Sentinel
from keras_codegemma.tokenizer import CodeGemmaTokenizer
from training.corpus import shards
from training.corpus.manifest import read_manifest
from training.corpus.tokenising import Encoded

_CONTROL_STYLE = "bold white on dark_magenta"
_MIDDLE_STYLE = "black on light_green"
_HEAD_STYLE = "bold cyan"


@dataclass(frozen=True, kw_only=True)
class Found:
    """An example and its place."""

    shard: int
    row: int
    number: int
    example: Encoded


def choose(corpus: Path, *, count: int, seed: int) -> Iterator[Found]:
    """Examples drawn at random: a shard in proportion to its rows, a row of it, an example of that.

    Raises:
        FileNotFoundError, ValueError: as `manifest.read_manifest`.
    """
    manifest = read_manifest(corpus)
    rng = Random(seed)
    for _ in range(count):
        at = rng.randrange(manifest.num_rows)
        shard = 0
        while at >= manifest.shards[shard].rows:
            at -= manifest.shards[shard].rows
            shard += 1
        yield _example(corpus, manifest.shards[shard].name, shard=shard, row=at, rng=rng)


def at(corpus: Path, *, shard: int, row: int) -> Iterator[Found]:
    """All examples of one row.

    Raises:
        ValueError: there is no such shard or row.
    """
    manifest = read_manifest(corpus)
    if not 0 <= shard < len(manifest.shards) or not 0 <= row < manifest.shards[shard].rows:
        rows = [item.rows for item in manifest.shards]
        raise ValueError(f"The shards have {rows} rows, counted from 0; got shard {shard}, row {row}. Correct them.")
    packed = next(
        item for place, item in enumerate(shards.read_rows(corpus / manifest.shards[shard].name)) if place == row
    )
    for number, example in enumerate(packed.examples):
        yield Found(shard=shard, row=row, number=number, example=example)


def head(found: Found) -> Text:
    """One line on the example and one on each of its files."""
    example = found.example
    text = Text(
        f"── shard {found.shard}, row {found.row}, example {found.number}: {len(example)} tokens, "
        f"{len(example.files)} file{'s' * (len(example.files) > 1)}\n",
        style=_HEAD_STYLE,
    )
    for file in example.files:
        middle = f", {file.span_kind}, middle of {file.middle_tokens} tokens" if file.layout else ""
        cut = f", cut at {file.cut}" if file.cut else ""
        text.append(
            f"   {file.role}, {file.layout or 'whole'}{middle}, {file.num_tokens} tokens{cut}\n", style=_HEAD_STYLE
        )
    return text


def written(example: Encoded, tokenizer: CodeGemmaTokenizer) -> Text:
    """The example as text; control pieces stand as they are called."""
    ids = tokenizer.vocabulary.ids
    names = {ids[name]: name for name in CONTROL_PIECES}
    text, begin, inside_middle = Text(), 0, False
    places = np.flatnonzero(np.isin(example.token_ids, list(names)))
    for place in [*places.tolist(), len(example)]:
        if place > begin:
            piece = tokenizer.decode(example.token_ids[begin:place], keep_special=True)
            text.append(str(piece), style=_MIDDLE_STYLE if inside_middle else "")
        if place < len(example):
            name = names[int(example.token_ids[place])]
            text.append(name, style=_CONTROL_STYLE)
            inside_middle = name == Sentinel.FIM_MIDDLE
        begin = place + 1
    return text


def _example(corpus: Path, name: str, *, shard: int, row: int, rng: Random) -> Found:
    packed = next(item for place, item in enumerate(shards.read_rows(corpus / name)) if place == row)
    number = rng.randrange(len(packed.examples))
    return Found(shard=shard, row=row, number=number, example=packed.examples[number])
