"""An example to ids and loss weights; and ids back to the files they were made from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_codegemma.fim import Part, Sentinel
from keras_codegemma.tokenizer import CodeGemmaTokenizer
from training.corpus.document import Document
from training.corpus.encoded_text import EncodedText
from training.corpus.examples import END, START, Example, Fragment, Piece, WrittenFile, read_files
from training.corpus.text_encoder import TextEncoder

_BEFORE: dict[str, tuple[str, ...]] = {"prefix": (), "middle": ("prefix",), "suffix": ("prefix", "middle")}


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """How much the loss of predicting a token counts. All are 1 in the package's own `fit`.

    Attributes:
        text: tokens of targets, and all that is not named below.
        middle: tokens of a middle and the control piece that ends it.
        context: tokens of context files and the separators after them.

    Raises:
        ValueError: a weight below 0 or not finite, or none above 0.
    """

    text: float = 1.0
    middle: float = 1.0
    context: float = 1.0

    def __post_init__(self) -> None:
        weights = {"text": self.text, "middle": self.middle, "context": self.context}
        for name, weight in weights.items():
            if not (weight >= 0 and np.isfinite(weight)):
                raise ValueError(f"A loss weight must be 0 or more; got {name}={weight}. Give, for example, 0.5.")
        if not any(weights.values()):
            raise ValueError("One loss weight must be above 0; got none, so nothing would be learned. Give text=1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedFile:
    """Where a document, or a fragment of one, lies in an encoded example.

    Attributes:
        document_id: as `Document.id`.
        start: its first character in the document.
        end: the character after its last.
        first_token: index in the example of the first token of its path line.
        num_tokens: with its path line and sentinels, without the control piece after it.
        role: "target" or "context".
        layout: "psm", "spm" or None.
        span_kind: one of `spans.KINDS`, or None.
        middle_tokens: tokens of its middle, 0 without one.
        cut: as in `Fragment`.
    """

    document_id: str
    start: int
    end: int
    first_token: int
    num_tokens: int
    role: str
    layout: str | None
    span_kind: str | None
    middle_tokens: int
    cut: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """An example as a model learns it.

    Attributes:
        token_ids: int32 [n], from <bos> to the end.
        loss_weights: float32 [n], of predicting the token at the same place; 0 for the first.
        files: in order.
    """

    token_ids: np.ndarray
    loss_weights: np.ndarray
    files: tuple[EncodedFile, ...]

    def __len__(self) -> int:
        return len(self.token_ids)


TextOf = Callable[[Document], EncodedText]
"""Gives documents that were tokenized already."""


def encode(
    example: Example, *, encoder: TextEncoder, loss: LossSettings | None = None, text_of: TextOf | None = None
) -> Encoded:
    """Ids and loss weights of an example.

    Every piece of text is encoded by itself, as `CodeGemmaTokenizer.encode_parts` does, so text that spells a control
    piece stays text.

    Args:
        example: what `infill.transform` made.
        encoder: of the tokenizer.
        loss: weights; all 1 by default.
        text_of: the documents of the example with their ids, from which the ids of its pieces are taken where that
            gives the same; without it, all are encoded here.

    Raises:
        ValueError: text with a lone surrogate.
    """
    loss = loss or LossSettings()
    writer = _Writer(encoder)
    writer.control(START, weight=0.0)
    files = []
    for index, file in enumerate(example.files):
        weight = loss.context if file.role == "context" else loss.text
        pieces = _PieceIds(file.fragment, encoder, text_of)
        files.append(_encode_file(file, pieces, writer, weight=weight, middle_weight=loss.middle))
        is_last = index == len(example.files) - 1
        end = example.end if is_last else Sentinel.FILE_SEPARATOR.value
        writer.control(end, weight=weight if file.layout is None else loss.middle)
    return Encoded(token_ids=writer.token_ids(), loss_weights=writer.loss_weights(), files=tuple(files))


def decode(token_ids: Sequence[int] | np.ndarray, *, tokenizer: CodeGemmaTokenizer) -> tuple[tuple[str, str], ...]:
    """(path, text) of every file of an encoded example, with middles put back: `infill.undo`, from ids.

    Exact with the one exception of `CodeGemmaTokenizer`: a U+2581 comes back as a space.

    Args:
        token_ids: of one example, from <bos> to its end.
        tokenizer: that made them.

    Raises:
        ValueError: ids outside the vocabulary, or not one whole example.
    """
    ids = tokenizer.vocabulary.ids
    names: dict[int, Sentinel | None] = {ids[sentinel]: sentinel for sentinel in Sentinel}
    names |= {ids[START]: None, ids[END]: None}
    ids_array = np.asarray(token_ids)
    parts: list[Part | None] = []
    begin = 0
    for at in [*np.flatnonzero(np.isin(ids_array, list(names))), len(ids_array)]:
        if at > begin:
            parts.append(tokenizer.decode(ids_array[begin:at], keep_special=True))
        if at < len(ids_array):
            parts.append(names[int(ids_array[at])])
        begin = at + 1
    return read_files(parts)


class _Writer:
    """Ids and weights as they are put one behind the other."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._ids: list[np.ndarray] = []
        self._weights: list[float] = []
        self.num_tokens = 0

    def control(self, name: str, *, weight: float) -> None:
        self._put(np.array([self._encoder.tokenizer.vocabulary.ids[name]], np.int32), weight)

    def ids(self, ids: np.ndarray, *, weight: float) -> int:
        """Returns how many these are."""
        self._put(ids, weight)
        return len(ids)

    def token_ids(self) -> np.ndarray:
        return np.concatenate(self._ids)

    def loss_weights(self) -> np.ndarray:
        return np.repeat(np.array(self._weights, np.float32), [len(ids) for ids in self._ids])

    def _put(self, ids: np.ndarray, weight: float) -> None:
        self._ids.append(ids)
        self._weights.append(weight)
        self.num_tokens += len(ids)


class _PieceIds:
    """The ids of the pieces of one file, most of them cut out of its document's."""

    def __init__(self, fragment: Fragment, encoder: TextEncoder, text_of: TextOf | None) -> None:
        self._fragment = fragment
        self._encoder = encoder
        self._text = None if text_of is None else text_of(fragment.document)

    def of(self, piece: Piece, pieces: Sequence[Piece]) -> np.ndarray:
        """Of a piece of text, among all pieces of the file."""
        start = self._fragment.start
        if self._text is None or piece.kind == "path":
            return self._encoder.encode(piece.text)
        if piece.kind == "file":
            path = piece.text[: len(piece.text) - (self._fragment.end - start)]
            # A path line ends with a line feed, which must not meet another one.
            if self._text.text[start : start + 1] in ("", "\n") or self._encoder.unit == "texts":
                return self._encoder.encode(piece.text)
            ids = self._text.between(start, self._fragment.end)
            return np.concatenate([self._encoder.encode(path), ids])
        # Whatever the layout, prefix, middle and suffix follow each other in the document.
        before = _BEFORE[piece.kind]
        start += sum(len(other.text) for other in pieces if other.kind in before)
        return self._text.between(start, start + len(piece.text))


def _encode_file(
    file: WrittenFile, piece_ids: _PieceIds, writer: _Writer, *, weight: float, middle_weight: float
) -> EncodedFile:
    first_token = writer.num_tokens
    middle_tokens = 0
    for piece in file.pieces:
        if piece.kind == "control":
            writer.control(piece.text, weight=weight)
        elif piece.kind == "middle":
            middle_tokens = writer.ids(piece_ids.of(piece, file.pieces), weight=middle_weight)
        else:
            writer.ids(piece_ids.of(piece, file.pieces), weight=weight)
    return EncodedFile(
        document_id=file.fragment.document.id,
        start=file.fragment.start,
        end=file.fragment.end,
        first_token=first_token,
        num_tokens=writer.num_tokens - first_token,
        role=file.role,
        layout=file.layout,
        span_kind=file.span_kind,
        middle_tokens=middle_tokens,
        cut=file.fragment.cut,
    )
