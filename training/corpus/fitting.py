"""The documents of a repository to encoded examples that fit into a row, none longer, nothing left out.

Documents are put one behind the other, in the order given, until the next one would not fit. A document that is too
long for what is left is split, at syntax where it can be: always if it is longer than a row, and also if it is long
enough (`FittingSettings.split_above`), so that rows are full. Fragments are infilled one by one, so no cut goes
through a middle. Lengths are measured before infilling, with room for the sentinels of the files that chance
will infill; an example that is still too long, because spans cut words in two, is put together again with less.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from random import Random

import numpy as np

from keras_codegemma import fim
from training.corpus import infill, tokenising
from training.corpus.document import Document, Dropped
from training.corpus.encoded_text import EncodedText
from training.corpus.examples import Fragment, whole
from training.corpus.infill import InfillSettings, MiddleNodes
from training.corpus.spans import Range
from training.corpus.text_encoder import TextEncoder
from training.corpus.tokenising import Encoded, LossSettings

SplitPoints = Callable[[Document], Sequence[int]]
"""Character offsets of a document where it may be cut: starts of top-level nodes and of members."""

STAGE = "fitting"
CUTS = ("syntax", "statement", "line", "character")
"""What a document is cut at: a split point, the first line of a syntax node, another line, or inside a line."""

_END_TOKENS = 1
_INFILL_TOKENS = 4
"""Three sentinels, and one token more than before, as spans that cut words in two make it; see `_next_example`."""


@dataclass(frozen=True, kw_only=True)
class FittingSettings:
    """How documents are made to fit.

    Attributes:
        sequence_length: of a row, and the most tokens of an example where `example_lengths` says nothing else.
        example_lengths: the most tokens of an example, one of these for each, all as likely; a row then holds several.
            A middle for each piece of 200 tokens teaches a small model sooner where a middle begins and ends than one
            for each row, and pieces as long as a row keep it used to them. Empty for `sequence_length`.
        split_above: a document that does not fit into what is left of an example is split if it is longer than this
            share of its most tokens; otherwise it begins the next example. 1 splits only what is longer than that.
        slack: share of an example's most tokens that a cut may leave empty to be at syntax.
        least: share of them below which what is left is not filled with a fragment.

    Raises:
        ValueError: a share outside [0, 1], a `sequence_length` or one of `example_lengths` below 64, or one of these
            above `sequence_length`.
    """

    sequence_length: int = 8192
    example_lengths: tuple[int, ...] = ()
    split_above: float = 0.15
    slack: float = 0.02
    least: float = 0.06

    def __post_init__(self) -> None:
        if self.sequence_length < 64:
            raise ValueError(
                f"sequence_length must be at least 64, room for a path and sentinels; got {self.sequence_length}. "
                "Give, for example, 8192."
            )
        if wrong := [length for length in self.example_lengths if not 64 <= length <= self.sequence_length]:
            raise ValueError(
                f"example_lengths must lie in [64, sequence_length={self.sequence_length}]; got {wrong[0]}. Leave it "
                "out, or give longer rows."
            )
        for name in ("split_above", "slack", "least"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]; got {getattr(self, name)}. Give a share of a row.")


class Fitter:
    """Documents to encoded examples.

    Args:
        encoder: of the tokenizer.
        settings: lengths.
        infilling: rates and spans.
        loss: weights.
        seed: of the corpus.
        epoch: another epoch has other spans and layouts.
        middle_nodes: syntax nodes of a document; None for no syntax.
        split_points: places to cut a document at; None for lines only.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        settings: FittingSettings,
        infilling: InfillSettings,
        loss: LossSettings,
        seed: int,
        epoch: int = 0,
        middle_nodes: MiddleNodes | None = None,
        split_points: SplitPoints | None = None,
    ) -> None:
        self._encoder = encoder
        self._settings = settings
        self._infilling = infilling
        self._loss = loss
        self._seed = seed
        self._epoch = epoch
        self._middle_nodes = middle_nodes
        self._split_points = split_points
        self._lengths = settings.example_lengths or (settings.sequence_length,)

    def fit(self, documents: Sequence[Document]) -> Iterator[Encoded | Dropped]:
        """Every document as part of one or more examples, or as dropped.

        Args:
            documents: of one repository, in the order they are to be read.
        """
        fitting = []
        for document in documents:
            if reason := self._refusal(document):
                yield _dropped(document, reason)
            else:
                fitting.append(document)
        measures = _Measures(fitting, self._measure)
        place, turns = _Place(index=0, start=0), infill.Turns()
        while place.index < len(fitting):
            encoded, place = self._next_example(measures, place, turns=turns)
            turns = infill.Turns(
                shapes=turns.shapes + (len(encoded.files) > 1),
                layouts=turns.layouts + sum(file.layout is not None for file in encoded.files),
            )
            measures.forget_before(place.index)
            yield encoded

    def _next_example(self, measures: "_Measures", place: "_Place", *, turns: infill.Turns) -> tuple[Encoded, "_Place"]:
        length = limit = self._length(measures[place.index].document, place.start)
        while True:
            fragments, next_place = self._take(measures, place, length=length, limit=limit)
            example = infill.transform(
                fragments,
                settings=self._infilling,
                seed=self._seed,
                epoch=self._epoch,
                turns=turns,
                middle_nodes=measures.nodes_of,
            )
            encoded = tokenising.encode(example, encoder=self._encoder, loss=self._loss, text_of=measures.text_of)
            if len(encoded) <= length:
                return encoded, next_place
            # Infilling cut more words in two than was reckoned with: again, from the same place, with less.
            limit -= len(encoded) - length

    def _length(self, document: Document, start: int) -> int:
        """The most tokens of the example that begins here."""
        key = f"{self._seed}/{self._epoch}/{document.id}/{start}/length"
        return Random(key).choice(self._lengths)

    def _take(
        self, measures: "_Measures", place: "_Place", *, length: int, limit: int
    ) -> tuple[list[Fragment], "_Place"]:
        """Fragments from `place` on that should make at most `limit` of `length` tokens, and the place after them."""
        fragments: list[Fragment] = []
        room = limit - 1  # <bos>
        index, start = place.index, place.start
        while index < len(measures.documents):
            measure = measures[index]
            document, end = measure.document, len(measure.document.text)
            overhead = measure.path_tokens + _END_TOKENS + self._infill_tokens(document, start)
            need = measure.tokens(start, end) + overhead
            if need <= room:
                fragments.append(replace(whole(document), start=start))
                room -= need
                index, start = index + 1, 0
                continue
            is_long = need > length or measure.num_tokens + overhead > self._settings.split_above * length
            if not fragments or (is_long and room - overhead >= self._settings.least * length):
                slack = int(self._settings.slack * length)
                cut, kind = self._cut(measure, start, room=max(1, room - overhead), slack=slack)
                fragments.append(Fragment(document=document, start=start, end=cut, cut=kind))
                start = cut
            break
        return fragments, _Place(index=index, start=start)

    def _infill_tokens(self, document: Document, start: int) -> int:
        may_be = infill.may_be_infilled(document, start, settings=self._infilling, seed=self._seed, epoch=self._epoch)
        return _INFILL_TOKENS if may_be else 0

    def _cut(self, measure: "_Measure", start: int, *, room: int, slack: int) -> tuple[int, str]:
        """The best place to end a fragment of at most `room` tokens, better `slack` less, and what it is (`CUTS`)."""
        text = measure.document.text
        last = max(start + 1, measure.character_after(start, room))
        near = max(start, measure.character_after(start, max(0, room - slack)))
        far = max(start, measure.character_after(start, room // 2))
        for first in (near, far):
            if (found := _greatest(measure.split_lines, first, last)) is not None:
                return found, "syntax"
            if (found := measure.last_node_line(first, last)) is not None:
                return found, "statement"
            line = text.rfind("\n", first, last) + 1
            if line > max(first, start):
                return line, "line"
        # Not between the halves of a line end.
        return (last - 1 if text[last - 1 : last + 1] == "\r\n" and last - 1 > start else last), "character"

    def _measure(self, document: Document) -> "_Measure":
        return _Measure(document, self._encoder, self._split_points, self._middle_nodes)

    def _refusal(self, document: Document) -> str | None:
        try:
            path = fim.path_line(document.path)
            path_tokens = len(self._encoder.encode(path))
            if not document.text.isascii():
                document.text.encode()
        except ValueError:  # UnicodeEncodeError is one
            return "not-writable"
        return "path-too-long" if path_tokens > min(self._lengths) // 2 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """The next character to be put into an example."""

    index: int
    start: int


class _Measure:
    """Which token each character of a document begins in, of the document tokenized whole."""

    def __init__(
        self,
        document: Document,
        encoder: TextEncoder,
        split_points: SplitPoints | None,
        middle_nodes: MiddleNodes | None,
    ) -> None:
        self.document = document
        self.path_tokens = len(encoder.encode(fim.path_line(document.path)))
        self.text = EncodedText(document.text, encoder)
        self.num_tokens = len(self.text.token_ids)
        self._split_points = split_points
        self._middle_nodes = middle_nodes

    def tokens(self, start: int, end: int) -> int:
        """Tokens between two characters; one that is cut counts on both sides."""
        is_end = end == len(self.document.text)
        last = self.num_tokens if is_end else int(np.searchsorted(self.text.begins, end))
        return last - self._token_of(start)

    def character_after(self, start: int, num_tokens: int) -> int:
        """The character where this many tokens after `start` end."""
        last = self._token_of(start) + num_tokens
        return int(self.text.begins[last]) if last < self.num_tokens else len(self.document.text)

    @cached_property
    def split_lines(self) -> list[int]:
        """Sorted beginnings of the lines that begin with a split point."""
        return self._lines(self._split_points(self.document) if self._split_points else ())

    def last_node_line(self, first: int, last: int) -> int | None:
        """The beginning of the last line above `first` and up to `last` that begins with a syntax node."""
        text, nodes = self.document.text, self.nodes
        line_end = text.find("\n", last)
        at = bisect_right(nodes, line_end if line_end >= 0 else len(text), key=itemgetter(0))
        # From the end: documents have thousands of nodes, and the first few tried are near enough.
        while at and nodes[at - 1][0] > first:
            at -= 1
            place = nodes[at][0]
            begin = text.rfind("\n", 0, place) + 1
            if first < begin <= last and not text[begin:place].strip():
                return begin
        return None

    @cached_property
    def nodes(self) -> Sequence[Range]:
        """Syntax nodes of the document, which is parsed once for all its fragments."""
        return self._middle_nodes(self.document) if self._middle_nodes else ()

    def _lines(self, places: Iterable[int]) -> list[int]:
        text = self.document.text
        begins = ((text.rfind("\n", 0, place) + 1, place) for place in places)
        return sorted({begin for begin, place in begins if not text[begin:place].strip()})

    def _token_of(self, character: int) -> int:
        return max(0, int(np.searchsorted(self.text.begins, character, "right")) - 1) if character else 0


class _Measures:
    """The measures of documents by index, made when asked for and forgotten when passed."""

    def __init__(self, documents: Sequence[Document], measure: Callable[[Document], _Measure]) -> None:
        self.documents = documents
        self._measure = measure
        self._measures: dict[int, _Measure] = {}

    def __getitem__(self, index: int) -> _Measure:
        if index not in self._measures:
            self._measures[index] = self._measure(self.documents[index])
        return self._measures[index]

    def text_of(self, document: Document) -> EncodedText:
        return self._of(document).text

    def nodes_of(self, document: Document) -> Sequence[Range]:
        return self._of(document).nodes

    def _of(self, document: Document) -> _Measure:
        return next(measure for measure in self._measures.values() if measure.document is document)

    def forget_before(self, index: int) -> None:
        for passed in [key for key in self._measures if key < index]:
            del self._measures[passed]


def _greatest(places: list[int], first: int, last: int) -> int | None:
    """The greatest place above `first` and up to `last`."""
    index = bisect_right(places, last) - 1
    return places[index] if index >= 0 and places[index] > first else None


def _dropped(document: Document, reason: str) -> Dropped:
    return Dropped(
        document_id=document.id,
        repository=document.repository,
        path=document.path,
        language=document.language,
        licence=document.licence,
        size_bytes=document.size_bytes
        if document.text.isascii()
        else len(document.text.encode(errors="surrogatepass")),
        stage=STAGE,
        reason=reason,
    )
