"""SentencePiece for CodeGemma: text to ids and back, special ids by name, text in which commands stay text.

`CodeGemmaTokenizer` encodes and decodes; `StreamDecoder` decodes ids as they come, without showing half a
character. The pieces themselves are in `vocabulary.py`. No TensorFlow here: `to_tensorflow` reaches for it
only when called (`tensorflow_tokenizer.py`).
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, SupportsIndex, overload

from keras_codegemma.fim import CONTROL_PIECES, Part, Sentinel
from keras_codegemma.vocabulary import Vocabulary, listed, read_model

if TYPE_CHECKING:
    from keras_codegemma.tensorflow_tokenizer import TensorFlowTokenizer

_SENTINEL_PATTERN = re.compile("|".join(re.escape(sentinel) for sentinel in Sentinel))
_CONTROL_PATTERN = re.compile("|".join(re.escape(piece) for piece in CONTROL_PIECES))
_REPLACEMENT = "\ufffd"

_CONFIG_KEYS = {"name", "trainable", "dtype", "config_file", "proto", "sequence_length", "add_bos", "add_eos"}


class CodeGemmaTokenizer:
    """Turns text into token ids and back.

    `decode(encode(text)) == text` for every text, control characters and all line ends included, with one
    exception that lies in the vocabulary itself: SentencePiece writes a space as U+2581 (a lower-block
    character, "▁"), so a U+2581 in the text comes back as a space.

    Text that spells a control piece, such as a source file about FIM that contains "<|fim_prefix|>", is
    encoded as ordinary pieces. Text without one is encoded exactly as plain SentencePiece does.

    Args:
        proto: the SentencePiece model: its path, or its bytes.
        sequence_length: if given, calling the tokenizer (not `encode`) pads or cuts every row of ids to this
            length, as in KerasHub.

    Attributes:
        model_bytes: the SentencePiece model file, to be written out again.
        vocabulary: its pieces.
        pad_token_id, start_token_id, end_token_id, unk_token_id: ids of <pad>, <bos>, <eos>, <unk>.
        fim_prefix_id, fim_middle_id, fim_suffix_id, file_separator_id, start_of_turn_id, end_of_turn_id: ids
            of the control pieces of these names. All ids are looked up by name.
        infill_stop_ids: ids that end a completion: the four FIM and file pieces, and <eos>.
        chat_stop_ids: those and <end_of_turn>.

    Raises:
        FileNotFoundError: there is no file at `proto`.
        ValueError: not a SentencePiece model, one without CodeGemma's pieces (plain Gemma has no FIM pieces),
            one that does not keep text as it is, or a `sequence_length` below 1.
    """

    def __init__(self, proto: str | os.PathLike[str] | bytes, *, sequence_length: int | None = None) -> None:
        if sequence_length is not None and sequence_length < 1:
            raise ValueError(
                f"The sequence_length of a tokenizer must be at least 1, or None for no padding; got "
                f"{sequence_length}. Give a positive length."
            )
        self.sequence_length = sequence_length
        self.model_bytes = proto if isinstance(proto, bytes) else read_model(Path(proto))
        self.vocabulary = Vocabulary(self.model_bytes)

        ids = self.vocabulary.ids
        self.pad_token_id: int = ids["<pad>"]
        self.start_token_id: int = ids["<bos>"]
        self.end_token_id: int = ids["<eos>"]
        self.unk_token_id: int = ids["<unk>"]
        self.fim_prefix_id: int = ids[Sentinel.FIM_PREFIX]
        self.fim_middle_id: int = ids[Sentinel.FIM_MIDDLE]
        self.fim_suffix_id: int = ids[Sentinel.FIM_SUFFIX]
        self.file_separator_id: int = ids[Sentinel.FILE_SEPARATOR]
        self.start_of_turn_id: int = ids[Sentinel.START_OF_TURN]
        self.end_of_turn_id: int = ids[Sentinel.END_OF_TURN]
        self.infill_stop_ids: tuple[int, ...] = (
            self.fim_prefix_id,
            self.fim_middle_id,
            self.fim_suffix_id,
            self.file_separator_id,
            self.end_token_id,
        )
        self.chat_stop_ids: tuple[int, ...] = (*self.infill_stop_ids, self.end_of_turn_id)

    # Text to ids.

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Encodes one text; no <bos> or <eos> is added.

        Args:
            text: any text without lone surrogates.
            parse_special: read spelled control pieces (<pad>, <eos>, <bos>, the six sentinels) as commands.
                Only for prompts that their author wrote so, never for text from a file or a user.

        Raises:
            TypeError: not a str.
            ValueError: a lone surrogate, which UTF-8 cannot write.
        """
        self._check_text(text)
        if not parse_special:
            return self._encode_as_text(text)
        ids: list[int] = []
        start = 0
        for found in _CONTROL_PATTERN.finditer(text):
            ids += self.vocabulary.encode(text[start : found.start()])
            ids.append(self.vocabulary.ids[found[0]])
            start = found.end()
        return ids + self.vocabulary.encode(text[start:])

    def encode_batch(self, texts: Iterable[str], *, parse_special: bool = False) -> list[list[int]]:
        """Encodes every text as `encode` does."""
        if isinstance(texts, str):
            raise TypeError(
                f"encode_batch must be given a list of texts; got one str: {texts!r:.80}. Call encode, or "
                "put it in a list."
            )
        return [self.encode(text, parse_special=parse_special) for text in texts]

    def encode_parts(self, parts: Iterable[Part]) -> list[int]:
        """Encodes the parts of `fim.format` or `chat.format`: sentinels as commands, every text part as text.

        Each part is encoded by itself. Since nothing merges across a control piece, the ids are those of the
        written text wherever no part spells one.
        """
        ids: list[int] = []
        for part in parts:
            if isinstance(part, Sentinel):
                ids.append(self.vocabulary.ids[part])
            else:
                ids += self.encode(part)
        return ids

    def _encode_as_text(self, text: str) -> list[int]:
        """SentencePiece matches sentinels before all else, so a spelled one is cut after its first "<"."""
        if not _SENTINEL_PATTERN.search(text):
            return self.vocabulary.encode(text)
        ids: list[int] = []
        start = 0
        for found in _SENTINEL_PATTERN.finditer(text):
            cut = found.start() + 1
            ids += self.vocabulary.encode(text[start:cut])
            start = cut
        ids += self.vocabulary.encode(text[start:])
        assert self.vocabulary.control_ids.isdisjoint(ids), "text was encoded to a control piece"
        return ids

    def _check_text(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(
                f"Text to encode must be a str; got {type(text).__name__}: {text!r:.80}. Decode bytes first, "
                "and use encode_batch for a list."
            )
        if text.isascii():
            return
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"Text to encode must be valid Unicode; got the lone surrogate {text[error.start]!r} at "
                f"character {error.start}. Read the file as UTF-8, or replace such characters first."
            ) from None

    # Ids to text.

    def decode(self, ids: Iterable[SupportsIndex], *, keep_special: bool = False) -> str:
        """Decodes ids to text.

        Bytes that are not valid UTF-8 become one U+FFFD each, as in SentencePiece; <unk> is written " ⁇ ".

        Args:
            ids: integers, or an integer array of one axis.
            keep_special: write control pieces by name; they are left out otherwise.

        Raises:
            TypeError: ids that are not integers.
            ValueError: an id outside the vocabulary.
        """
        decoder = self.stream_decoder(keep_special=keep_special)
        return decoder.push(ids) + decoder.finish()

    def decode_batch(self, rows: Iterable[Iterable[SupportsIndex]], *, keep_special: bool = False) -> list[str]:
        """Decodes every row as `decode` does."""
        return [self.decode(row, keep_special=keep_special) for row in rows]

    def stream_decoder(self, *, keep_special: bool = False) -> "StreamDecoder":
        """A decoder for ids that come little by little."""
        return StreamDecoder(self.vocabulary, keep_special=keep_special)

    # KerasHub's names.

    def vocabulary_size(self) -> int:
        """The number of pieces V."""
        return len(self.vocabulary)

    def token_to_id(self, token: str) -> int:
        """The id of a piece by its name; ValueError where no piece has it."""
        return self.vocabulary.id_of(token)

    def id_to_token(self, token_id: SupportsIndex) -> str:
        """The name of a piece by its id; TypeError and ValueError as for `decode`."""
        return self.vocabulary.token_of(token_id)

    @overload
    def tokenize(self, inputs: str) -> list[int]: ...
    @overload
    def tokenize(self, inputs: list[str] | tuple[str, ...]) -> list[list[int]]: ...
    def tokenize(self, inputs: str | list[str] | tuple[str, ...]) -> list[int] | list[list[int]]:
        """Text to ids, or texts to rows; padded or cut on the right where `sequence_length` was given."""
        if isinstance(inputs, str):
            return self._to_length(self.encode(inputs))
        return [self._to_length(ids) for ids in self.encode_batch(inputs)]

    def detokenize(self, ids: Iterable[Any]) -> str | list[str]:
        """Ids to text, or rows of ids to texts, without control pieces."""
        rows = listed(ids)
        if rows and all(hasattr(row, "__iter__") for row in rows):
            return self.decode_batch(rows)
        return self.decode(rows)

    @overload
    def __call__(self, inputs: str) -> list[int]: ...
    @overload
    def __call__(self, inputs: list[str] | tuple[str, ...]) -> list[list[int]]: ...
    def __call__(self, inputs: str | list[str] | tuple[str, ...]) -> list[int] | list[list[int]]:
        """See `tokenize`."""
        return self.tokenize(inputs)

    def _to_length(self, ids: list[int]) -> list[int]:
        if self.sequence_length is None:
            return ids
        return ids[: self.sequence_length] + [self.pad_token_id] * (self.sequence_length - len(ids))

    def to_tensorflow(self) -> "TensorFlowTokenizer":
        """A tokenizer that runs inside `tf.data`, with the same ids, from tensorflow-text (the `tf` extra).

        Raises:
            ImportError: tensorflow or tensorflow-text is not installed.
        """
        from keras_codegemma.tensorflow_tokenizer import TensorFlowTokenizer

        return TensorFlowTokenizer(self)

    def get_config(self) -> dict[str, Any]:
        """The fields of KerasHub's tokenizer.json. The model itself is a file of its own (`model_bytes`)."""
        return {
            "proto": None,
            "sequence_length": self.sequence_length,
            "add_bos": False,
            "add_eos": False,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, proto: str | os.PathLike[str] | bytes | None = None) -> Self:
        """Makes a tokenizer from the "config" of a tokenizer.json, ours or KerasHub's.

        Args:
            config: see `get_config`; Keras's own fields (name, dtype, ...) are accepted and not used.
            proto: the SentencePiece model; needed where the config has none.

        Raises:
            ValueError: an unknown field, a missing model, or add_bos / add_eos set.
        """
        unknown = sorted(set(config) - _CONFIG_KEYS)
        if unknown:
            raise ValueError(
                f"A tokenizer config must have no fields but {sorted(_CONFIG_KEYS)}; got {unknown}. Remove them."
            )
        if config.get("add_bos") or config.get("add_eos"):
            raise ValueError(
                "A tokenizer config must leave add_bos and add_eos off, because parts are encoded apart; got "
                f"add_bos={config.get('add_bos')}, add_eos={config.get('add_eos')}. Set them to false: the "
                "preprocessor adds both tokens."
            )
        model = proto if proto is not None else config.get("proto")
        if model is None:
            raise ValueError(
                "A tokenizer must have its SentencePiece model; got a config without one and no proto. Pass "
                "proto=<the path of vocabulary.spm>."
            )
        return cls(model, sequence_length=config.get("sequence_length"))

    def __reduce__(self) -> tuple[Any, ...]:
        # For data loaders with worker processes.
        return _rebuild, (type(self), self.model_bytes, self.sequence_length)


class StreamDecoder:
    """Decodes ids as they come: joined, the pieces of text are exactly `decode` of all ids.

    Only complete characters are given out. A character that the vocabulary spells in bytes is held back until
    its last byte has come, or until it is certain that the bytes are not valid.
    """

    def __init__(self, vocabulary: Vocabulary, *, keep_special: bool = False) -> None:
        self._vocabulary = vocabulary
        self._hidden_ids = frozenset() if keep_special else vocabulary.control_ids
        self._held = bytearray()

    def push(self, ids: Iterable[SupportsIndex]) -> str:
        """Takes the next ids (one call may bring any number) and returns the text that is now complete.

        Raises:
            TypeError, ValueError: as for `CodeGemmaTokenizer.decode`; nothing is taken then.
        """
        byte_values = self._vocabulary.byte_values
        texts: list[str] = []
        for i in self._vocabulary.checked(ids):
            if i in byte_values:
                self._held.append(byte_values[i])
                continue
            if self._held:
                texts.append(self.finish())
            if i not in self._hidden_ids:
                texts.append(self._vocabulary.text_of(i))
        texts.append(_take_characters(self._held))
        return "".join(texts)

    def finish(self) -> str:
        """Returns what is held back, each byte of it as U+FFFD; to be called once, after the last ids."""
        text = _take_characters(self._held)
        text += _REPLACEMENT * len(self._held)
        self._held.clear()
        return text


def _take_characters(held: bytearray) -> str:
    """Removes all decided characters from the front of `held` and returns them.

    Left over are at most 3 bytes, the beginning of a character that may still become valid. A byte that
    cannot begin or go on with a character is one U+FFFD, which is SentencePiece's rule (Python's own may take
    several as one).
    """
    texts: list[str] = []
    while held:
        try:
            texts.append(held.decode("utf-8"))
            held.clear()
        except UnicodeDecodeError as error:
            texts.append(held[: error.start].decode("utf-8"))
            del held[: error.start]
            if error.reason == "unexpected end of data":
                break
            texts.append(_REPLACEMENT)
            del held[:1]
    return "".join(texts)


def _rebuild(cls: type[CodeGemmaTokenizer], model_bytes: bytes, sequence_length: int | None) -> CodeGemmaTokenizer:
    return cls(model_bytes, sequence_length=sequence_length)
