"""The pieces of a SentencePiece model: names, ids, texts and bytes, checked to be CodeGemma's.

Ids are looked up by name, never assumed: in CodeGemma's file 67, 68 and 69 are prefix, middle and suffix, not
in the order of the prompt, and in plain Gemma's file the same ids mean nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, SupportsIndex

import sentencepiece

from keras_codegemma.fim import CONTROL_PIECES

# In pieces, a space is written as this character.
_BLANK = "\u2581"
_UNKNOWN_TEXT = " \u2047 "

# Changed by a dummy prefix, stripped or collapsed blanks, Unicode normalization or a missing byte fallback.
_PROBE = " a  b\t\r\n\n\x00 \ufb01 \uff21 e\u0301 \u00e9 \u1e9b\u0323 \U0001f9d1\u200d\U0001f4bb  "


class Vocabulary:
    """A SentencePiece model with CodeGemma's control pieces.

    Args:
        model_bytes: the model file.

    Attributes:
        ids: the control pieces and <unk> by name.
        control_ids: the ids of the control pieces.
        byte_values: the ids of the pieces that stand for one byte, with the byte.

    Raises:
        ValueError: not a SentencePiece model, one without CodeGemma's pieces, or one that does not keep text.
    """

    def __init__(self, model_bytes: bytes) -> None:
        self._processor = _load_model(model_bytes)
        self._size: int = self._processor.vocab_size()
        self._texts: dict[int, str] = {}
        self.ids: dict[str, int] = {n: self._processor.piece_to_id(n) for n in (*CONTROL_PIECES, "<unk>")}
        self.control_ids = frozenset(self.ids[name] for name in CONTROL_PIECES)
        self.byte_values = _byte_values(self._processor)
        self._check_control_pieces()
        self._check_that_text_is_kept()

    def __len__(self) -> int:
        return self._size

    def encode(self, text: str) -> list[int]:
        """Plain SentencePiece: spelled sentinels become commands, spelled <bos>, <eos> and <pad> do not."""
        return self._processor.encode(text) if text else []

    def text_of(self, token_id: int) -> str:
        """The text of a piece that is no byte; control pieces by name, <unk> as SentencePiece writes it."""
        text = self._texts.get(token_id)
        if text is None:
            piece = self._processor.id_to_piece(token_id)
            text = _UNKNOWN_TEXT if piece == "<unk>" else piece.replace(_BLANK, " ")
            self._texts[token_id] = text
        return text

    def characters_begun(self, ids: Iterable[int]) -> int:
        """How many characters of the encoded text begin in these ids, which must come from `encode`.

        A character that is spelled in bytes begins at its first byte.
        """
        values = self.byte_values
        return sum(values[i] & 0xC0 != 0x80 if i in values else len(self.text_of(i)) for i in ids)

    def id_of(self, token: str) -> int:
        """The id of a piece by its name.

        Raises:
            ValueError: no piece has this name.
        """
        token_id: int = self._processor.piece_to_id(token)
        if self._processor.id_to_piece(token_id) != token:
            raise ValueError(
                f"A token must be a piece of the vocabulary; got {token!r}, which is none. Use encode for "
                "text; a space is written U+2581 in pieces."
            )
        return token_id

    def token_of(self, token_id: SupportsIndex) -> str:
        """The name of a piece by its id; raises as `checked` does."""
        return self._processor.id_to_piece(self.checked([token_id])[0])

    def checked(self, ids: Any) -> list[int]:
        """Ids as a list of int.

        Raises:
            TypeError: ids that are not integers.
            ValueError: an id outside the vocabulary.
        """
        checked: list[int] = []
        for i in listed(ids):
            try:
                checked.append(i.__index__())
            except (AttributeError, TypeError):
                raise TypeError(
                    f"Token ids must be integers; got {type(i).__name__}: {i!r:.80}. Convert them to int, "
                    "and use decode_batch for rows of ids."
                ) from None
        if checked and (min(checked) < 0 or max(checked) >= self._size):
            wrong = next(i for i in checked if not 0 <= i < self._size)
            raise ValueError(
                f"Token ids must lie in [0, {self._size}), the vocabulary; got {wrong} at position "
                f"{checked.index(wrong)}. Check that the ids are this tokenizer's, no padding such as -1."
            )
        return checked

    def _check_control_pieces(self) -> None:
        missing = [name for name, i in self.ids.items() if self._processor.id_to_piece(i) != name]
        if missing:
            raise ValueError(
                f"The vocabulary must hold CodeGemma's control pieces; got one of {self._size} pieces "
                f"without {', '.join(missing)}. Use a CodeGemma tokenizer: plain Gemma's cannot mark what to "
                "fill in."
            )

    def _check_that_text_is_kept(self) -> None:
        spelled = b"".join(
            bytes([self.byte_values[i]]) if i in self.byte_values else self.text_of(i).encode()
            for i in self.encode(_PROBE)
        )
        kept = spelled.decode("utf-8", errors="replace")
        if kept != _PROBE:
            raise ValueError(
                f"The vocabulary must keep text as it is; got one that reads {_PROBE!r} back as {kept!r}. "
                "Use a model without normalization or dummy prefix and with byte fallback, such as "
                "CodeGemma's own."
            )


def listed(ids: Any) -> list[Any]:
    """A list of ids, or of rows: arrays by their own conversion, much faster than element by element."""
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    if not isinstance(ids, Iterable):
        raise TypeError(
            f"Token ids must be a list or an array of integers; got {type(ids).__name__}: {ids!r:.80}. Put a "
            "single id in a list."
        )
    return list(ids)


def read_model(path: Path) -> bytes:
    """The bytes of a SentencePiece model file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"A tokenizer must be given the path of a SentencePiece model; got {str(path)!r}, where no file "
            "is. Check the path; in a preset folder it is assets/tokenizer/vocabulary.spm."
        ) from None


def _load_model(model_bytes: bytes) -> sentencepiece.SentencePieceProcessor:
    try:
        # Empty bytes would be taken for "no model given".
        return sentencepiece.SentencePieceProcessor(model_proto=model_bytes or b"\n")
    except RuntimeError:
        raise ValueError(
            f"A tokenizer must be given a SentencePiece model; got {len(model_bytes)} bytes that begin "
            f"{model_bytes[:24]!r} and are none. Fetch the file again (a Git LFS pointer is not the file)."
        ) from None


def _byte_values(processor: sentencepiece.SentencePieceProcessor) -> dict[int, int]:
    """The ids of the byte pieces <0x00> to <0xFF>, with their bytes; empty where the vocabulary has none."""
    ids = {processor.piece_to_id(f"<0x{byte:02X}>"): byte for byte in range(256)}
    return {i: byte for i, byte in ids.items() if processor.is_byte(i)}
