"""Documents to an example: what is infilled, where, and in which layout; and the exact documents back.

Everything random follows from the corpus seed, a document's id and place, and the epoch: neither the order of reading
nor the number of workers matters. Shapes and layouts are not drawn for each example or file alone: they take turns
along a repository in an order that is drawn (`_is_turn`), because a corpus has too few of them for their shares to come
out near the rates by chance: of 14 000 files in two layouts one standard deviation is 0.4 points. Works on characters,
before any tokenizer.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import floor
from random import Random

from keras_codegemma import fim
from keras_codegemma.fim import Sentinel
from training.corpus import spans
from training.corpus.document import Document
from training.corpus.examples import Example, Fragment, Piece, WrittenFile, parts, read_files

MiddleNodes = Callable[[Document], Sequence[spans.Range]]
"""Sorted character ranges of the whole syntax nodes of a document that a middle may cover."""


@dataclass(frozen=True, kw_only=True)
class InfillSettings:
    """How examples are infilled.

    Attributes:
        fim_rate: chance that a target file is infilled. CodeGemma: 0.8; 0.9 in 2B 1.1 (arXiv 2406.11409).
        spm_rate: share of the layout "spm" among infilled files. CodeGemma's model card: half of them.
        context_rate: share of examples that are whole files before one target, the last file. In all others every
            file is a target, as in the report's figure 2. No share is published.
        span_weights: which spans become middles.
        max_lines: the most lines of a span of the kind `lines`.
        max_characters: the most characters of a span of the kind `characters`; None for any span.
        path_rate: chance that an infilled file, alone in its example, has its path line, which prompts of one file
            rarely have. Files of an example of several always have it, and so have files that are left whole.

    Raises:
        ValueError: a rate outside [0, 1], or `max_lines` or `max_characters` below 1.
    """

    fim_rate: float = 0.8
    spm_rate: float = 0.5
    context_rate: float = 0.5
    span_weights: spans.SpanWeights = field(default_factory=spans.SpanWeights)
    max_lines: int = 16
    max_characters: int | None = None
    path_rate: float = 1.0

    def __post_init__(self) -> None:
        for name in ("fim_rate", "spm_rate", "context_rate", "path_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]; got {getattr(self, name)}. Give a chance such as 0.5.")
        if self.max_lines < 1:
            raise ValueError(f"max_lines must be at least 1; got {self.max_lines}. Give a number of lines.")
        if self.max_characters is not None and self.max_characters < 1:
            raise ValueError(f"max_characters must be at least 1; got {self.max_characters}. Give a number, or None.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Turns:
    """How far a repository has come in what takes turns.

    Attributes:
        shapes: examples of several files before this one.
        layouts: infilled files before this example.
    """

    shapes: int = 0
    layouts: int = 0


def transform(
    fragments: Sequence[Fragment],
    *,
    settings: InfillSettings,
    seed: int,
    epoch: int,
    turns: Turns | None = None,
    middle_nodes: MiddleNodes | None = None,
) -> Example:
    """Writes documents of one repository as one example.

    Args:
        fragments: in the order they are to be read, at least one.
        settings: rates and spans.
        seed: of the corpus.
        epoch: another epoch has other spans and layouts.
        turns: of the repository; by default this is its first example.
        middle_nodes: gives the syntax nodes of a document; None for no syntax.

    Raises:
        ValueError: no fragments, or a path that is no single line of text.
    """
    if not fragments:
        raise ValueError("An example must have at least one document; got none. Leave empty groups out.")
    turns, repository = turns or Turns(), f"{seed}/{epoch}/{fragments[0].document.repository}"
    is_context = _is_turn(turns.shapes, rate=settings.context_rate, key=f"{repository}/shape")
    files: list[WrittenFile] = []
    for index, fragment in enumerate(fragments):
        if is_context and index < len(fragments) - 1:
            files.append(_written_whole(fragment, role="context"))
        else:
            turn = turns.layouts + sum(file.layout is not None for file in files)
            is_spm = _is_turn(turn, rate=settings.spm_rate, key=f"{repository}/layout")
            rng = _rng(fragment, seed=seed, epoch=epoch, use="span")
            has_path = len(fragments) > 1 or (
                _rng(fragment, seed=seed, epoch=epoch, use="path").random() < settings.path_rate
            )
            files.append(
                _target(
                    fragment,
                    settings=settings,
                    rng=rng,
                    is_spm=is_spm,
                    has_path=has_path,
                    middle_nodes=middle_nodes,
                )
            )
    return Example(files=tuple(files), shape="context" if is_context else "files")


def undo(example: Example) -> tuple[tuple[str, str], ...]:
    """(path, text) of every fragment, read from the pieces alone; the path is empty where none is written."""
    return read_files(parts(example.pieces()))


def may_be_infilled(document: Document, start: int, *, settings: InfillSettings, seed: int, epoch: int) -> bool:
    """Whether the fragment of a document that begins at `start` is to be infilled, if it is a target."""
    fragment = Fragment(document=document, start=start, end=start)
    return _rng(fragment, seed=seed, epoch=epoch, use="span").random() < settings.fim_rate


def can_be_infilled(text: str) -> bool:
    """Whether a text has a character to fill in; files of blanks alone are left whole."""
    return not (not text or text.isspace())


_BLOCK = 16


def _is_turn(turn: int, *, rate: float, key: str) -> bool:
    """Whether a turn is one of those that come at a rate.

    Of each 16 turns in a row 16 * rate are, rounded up or down; which of them, and where rounding begins, follow from
    the key, so that none can be told from those before it.
    """
    block, place = divmod(turn, _BLOCK)
    begin, order = _block(key, block)
    at = block * _BLOCK + order[place]
    return floor((at + 1) * rate + begin) > floor(at * rate + begin)


@lru_cache(maxsize=16)
def _block(key: str, block: int) -> tuple[float, list[int]]:
    """Where rounding begins, and the order of a block's turns."""
    return Random(key).random(), Random(f"{key}/{block}").sample(range(_BLOCK), _BLOCK)


def _rng(fragment: Fragment, *, seed: int, epoch: int, use: str) -> Random:
    return Random(f"{seed}/{epoch}/{fragment.document.id}/{fragment.start}/{use}")


def _target(
    fragment: Fragment,
    *,
    settings: InfillSettings,
    rng: Random,
    is_spm: bool,
    has_path: bool,
    middle_nodes: MiddleNodes | None,
) -> WrittenFile:
    is_infilled = rng.random() < settings.fim_rate  # `may_be_infilled` draws it too
    layout = "spm" if is_spm else "psm"
    text = fragment.text
    if not (is_infilled and can_be_infilled(text)):
        return _written_whole(fragment, role="target")
    span = spans.choose(
        text,
        weights=settings.span_weights,
        rng=rng,
        nodes=lambda: _nodes_within(fragment, middle_nodes),
        max_lines=settings.max_lines,
        max_characters=settings.max_characters,
    )
    prefix, middle, suffix = text[: span.start], text[span.start : span.end], text[span.end :]
    written = fim.format(
        prefix, suffix, layout=layout, middle=middle, path=fragment.document.path if has_path else None
    )
    return WrittenFile(fragment=fragment, role="target", layout=layout, span_kind=span.kind, pieces=_as_pieces(written))


def _written_whole(fragment: Fragment, *, role: str) -> WrittenFile:
    # Path line and text are one piece, so that they are tokenized like a context file of a prompt (`fim.format`).
    piece = Piece(kind="file", text=fim.path_line(fragment.document.path) + fragment.text)
    return WrittenFile(fragment=fragment, role=role, layout=None, span_kind=None, pieces=(piece,))


def _nodes_within(fragment: Fragment, middle_nodes: MiddleNodes | None) -> Sequence[spans.Range]:
    if middle_nodes is None:
        return ()
    nodes = middle_nodes(fragment.document)
    if fragment.is_whole:
        return nodes
    first, last = fragment.start, fragment.end
    # Nodes are sorted: those before the fragment and behind it need not be looked at.
    begin, stop = bisect_left(nodes, (first, first)), bisect_left(nodes, (last, last))
    return [(start - first, end - first) for start, end in nodes[begin:stop] if end <= last]


def _as_pieces(written: Sequence[fim.Part]) -> tuple[Piece, ...]:
    """Names each text after the sentinel before it."""
    kinds = {
        None: "path",
        Sentinel.FIM_PREFIX: "prefix",
        Sentinel.FIM_SUFFIX: "suffix",
        Sentinel.FIM_MIDDLE: "middle",
    }
    pieces: list[Piece] = []
    last: Sentinel | None = None
    for part in written:
        if isinstance(part, Sentinel):
            last = part
            pieces.append(Piece(kind="control", text=part.value))
        else:
            pieces.append(Piece(kind=kinds[last], text=part))
    return tuple(pieces)
