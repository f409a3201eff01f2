r"""The tokenizer's ids, several times faster on source code, where the same words come again and again.

SentencePiece's BPE joins neighbouring characters into pieces of its vocabulary. Where no piece has two given characters
side by side, nothing that stands before the place between them can be joined with what stands after, so the text can be
cut there and its parts encoded one by one, with the same ids. In CodeGemma's vocabulary that holds around line feeds
(pieces with "\n" have nothing else), before a space that follows something else (a space can only begin a piece), and
in lines of ASCII between letters and all else, up to a "<" or "[" (there are pieces such as "<table>").

`TextEncoder` reads off the vocabulary which cuts are safe, and remembers the ids of each part. In a vocabulary without
safe cuts it encodes texts whole.
"""

import re
from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from keras_codegemma.tokenizer import CodeGemmaTokenizer

MAX_REMEMBERED = 400_000
_MAX_REMEMBERED_CHARS = 64
"""Longer parts, such as base64, hardly come again."""

# A space is U+2581 in pieces, and U+2581 in a text is a space to SentencePiece.
_JOINS_LINES = re.compile("[^\n]\n|\n[^\n]")
_JOINS_WORDS = re.compile("[^\u2581]\u2581")
_JOINS_LETTERS = re.compile("[^<[]*(?:[A-Za-z][^A-Za-z\u2581]|[^A-Za-z\u2581<[][A-Za-z])")
_LINES = re.compile("[^\n]+|\n+")
_WORDS = re.compile("[ \u2581]*[^ \u2581\n]+|[ \u2581]+|\n+")
_LETTERS = re.compile(r" *[A-Za-z]+| *[^A-Za-z \n<[]+(?:[<[][^ \n]*)?| *[<[][^ \n]*| +|\n+")
_PATTERNS = {"letters": (_LETTERS, _WORDS), "words": (_WORDS, _WORDS), "lines": (_LINES, _LINES)}
"""What cuts lines of ASCII, and any other."""
_OTHERS = re.compile("[^\0-\x7f][^\n]*")
"""The rest of a line from a character that is not ASCII."""


class TextEncoder:
    """Text to ids as `CodeGemmaTokenizer.encode` gives them.

    Args:
        tokenizer: whose ids these are.
        max_remembered: parts of text to remember; with one more, all are forgotten.

    Attributes:
        tokenizer: as given.
        unit: "letters", "words", "lines" or "texts": what is encoded by itself.
    """

    def __init__(self, tokenizer: CodeGemmaTokenizer, *, max_remembered: int = MAX_REMEMBERED) -> None:
        self.tokenizer = tokenizer
        pieces = [tokenizer.id_to_token(i) for i in range(tokenizer.vocabulary_size())]
        self.unit = smallest_unit(pieces) if is_bpe(tokenizer.model_bytes) else "texts"
        self._memory = _Memory(tokenizer, max_remembered=max_remembered)
        self._num_chars = _characters_begun(pieces, tokenizer.vocabulary.byte_values)

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, int32 [n].

        Raises:
            TypeError, ValueError: as `CodeGemmaTokenizer.encode`.
        """
        if self.unit == "texts" or not isinstance(text, str):
            return np.array(self.tokenizer.encode(text), np.int32)
        try:
            return np.frombuffer(b"".join(map(self._memory.__getitem__, self._parts(text))), np.int32)
        except ValueError:
            return np.array(self.tokenizer.encode(text), np.int32)  # raises, with the place in the whole text

    def _parts(self, text: str) -> list[str]:
        """What is encoded by itself: the smaller the parts, the fewer are different."""
        for_ascii, for_others = _PATTERNS[self.unit]
        if text.isascii():
            return for_ascii.findall(text)
        parts: list[str] = []
        at = 0
        for found in _OTHERS.finditer(text):
            line = text.rfind("\n", at, found.start()) + 1 or at
            parts += for_ascii.findall(text, at, line)
            parts += for_others.findall(text, line, found.end())
            at = found.end()
        return parts + for_ascii.findall(text, at)

    def characters(self, token_ids: np.ndarray) -> np.ndarray:
        """How many characters of a text have begun before each of its ids, int64 [n]."""
        return np.cumsum(self._num_chars[token_ids]) - self._num_chars[token_ids]


class _Memory(dict[str, bytes]):
    """The ids of parts of text, as int32 in the machine's order."""

    def __init__(self, tokenizer: CodeGemmaTokenizer, *, max_remembered: int) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._max_remembered = max_remembered

    def __missing__(self, part: str) -> bytes:
        # Neither a sentinel to be kept from becoming one, nor a lone surrogate to be refused.
        is_plain = "<" not in part and part.isascii()
        encode = self._tokenizer.vocabulary.encode if is_plain else self._tokenizer.encode
        ids = array("i", encode(part)).tobytes()
        if len(part) <= _MAX_REMEMBERED_CHARS:
            if len(self) >= self._max_remembered:
                self.clear()
            self[part] = ids
        return ids


def smallest_unit(pieces: Sequence[str]) -> str:
    """What can be encoded by itself in a BPE vocabulary of these pieces.

    Returns:
        "letters": as "words", but in lines of ASCII runs of letters and of all else, each with the spaces before it;
        from "<" or "[" on, the rest of the word. "words": a run of spaces with what follows it up to the next space or
        line feed. "lines", or "texts" where none of these can.
    """
    if any(map(_JOINS_LINES.search, pieces)):
        return "texts"
    if any(map(_JOINS_WORDS.search, pieces)):
        return "lines"
    ascii_pieces = (piece for piece in pieces if piece.replace("\u2581", "").isascii())
    return "words" if any(map(_JOINS_LETTERS.match, ascii_pieces)) else "letters"


def is_bpe(model_bytes: bytes) -> bool:
    """Whether a SentencePiece model joins pairs (BPE); the other kinds weigh whole texts against each other.

    Reads ModelProto.trainer_spec (field 2), in it model_type (field 3), where BPE is 2. The protocol buffer classes
    that SentencePiece ships need a newer protobuf than Beam allows.
    """
    for field, value in _fields(model_bytes):
        if field == 2 and isinstance(value, bytes):
            return dict(_fields(value)).get(3) == 2
    return False


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers of a protocol buffer message with their values: numbers, or the bytes of all else."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}[kind]
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _characters_begun(pieces: Sequence[str], byte_values: dict[int, int]) -> np.ndarray:
    """Of each piece, how many characters of the text begin in it; one that is spelled in bytes, in its first byte."""
    counts = np.array([len(piece) for piece in pieces])
    for token_id, byte in byte_values.items():
        counts[token_id] = byte & 0xC0 != 0x80
    return counts
