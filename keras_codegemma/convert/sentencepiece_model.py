"""A SentencePiece model file from a `tokenizer.json`, the only form transformers 5 saves.

Gemma's vocabulary is laid out so that the file can be had back: control pieces, `<unk>`, pieces that match as
a whole (newline runs, the FIM pieces, HTML tags), 256 bytes, then ordinary pieces in the order in which they
merge. A `tokenizer.json` of another layout is refused.

The file is a protocol buffer, encoded here by hand; the field numbers are those of
`sentencepiece_model.proto`.
"""

import struct
from pathlib import Path
from typing import Any

from keras_codegemma.convert.files import read_json

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_CONTROLS = ("<pad>", "<eos>", "<bos>")
_UNKNOWN_ID = len(_CONTROLS)
_BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
_BPE = 2


def sentencepiece_from_tokenizer_json(path: Path) -> bytes:
    """The SentencePiece model that a Gemma `tokenizer.json` was made from: the same ids for the same text.

    Args:
        path: a `tokenizer.json` of the tokenizers library.

    Raises:
        ValueError: not Gemma's kind of tokenizer; says what is different.
    """
    values = read_json(path)
    pieces = _pieces(values, path)
    first_byte = pieces.index(_BYTES[0]) if _BYTES[0] in pieces else 0
    _check(values, pieces, first_byte=first_byte, path=path)
    first_normal = first_byte + len(_BYTES)
    encoded = []
    for index, piece in enumerate(pieces):
        if index < _UNKNOWN_ID:
            kind = _CONTROL
        elif index == _UNKNOWN_ID:
            kind = _UNKNOWN
        elif index < first_byte:
            kind = _USER_DEFINED
        else:
            kind = _BYTE if index < first_normal else _NORMAL
        score = float(first_normal - index) if kind == _NORMAL else 0.0
        encoded.append(_piece(piece, score=score, kind=kind))
    return b"".join(encoded) + _trainer_spec(len(pieces)) + _normalizer_spec()


def _pieces(values: dict[str, Any], path: Path) -> list[str]:
    model = values.get("model") or {}
    vocabulary = model.get("vocab")
    if model.get("type") != "BPE" or not model.get("byte_fallback") or not isinstance(vocabulary, dict):
        raise ValueError(_not_gemma(path, f"a model of type {model.get('type')!r}"))
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    if [vocabulary[piece] for piece in pieces] != list(range(len(pieces))):
        raise ValueError(_not_gemma(path, "ids with gaps"))
    return pieces


def _check(values: dict[str, Any], pieces: list[str], *, first_byte: int, path: Path) -> None:
    head = (*_CONTROLS, "<unk>")
    if tuple(pieces[: len(head)]) != head or tuple(pieces[first_byte : first_byte + 256]) != _BYTES:
        raise ValueError(_not_gemma(path, f"pieces that begin {pieces[:5]}"))
    rank = {piece: index for index, piece in enumerate(pieces)}
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in values["model"].get("merges", [])]
    results = [rank.get("".join(merge), -1) for merge in merges]
    results = [result for result in results if result >= first_byte]
    if results != sorted(results):
        raise ValueError(_not_gemma(path, "merges that are not in the order of their pieces"))


def _not_gemma(path: Path, found: str) -> str:
    return (
        f"{path} must be Gemma's tokenizer to be turned back into a SentencePiece model; it has {found}. "
        "Copy the tokenizer.model of the model that this one was made from into the folder."
    )


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _piece(text: str, *, score: float, kind: int) -> bytes:
    """ModelProto.pieces: piece 1, score 2 (a 32-bit float, wire type 5), type 3."""
    return _bytes(1, _bytes(1, text.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind))


def _trainer_spec(vocabulary_size: int) -> bytes:
    """ModelProto.trainer_spec: model_type 3, vocab_size 4, split_digits 25, byte_fallback 35, special ids."""
    ids = _number(40, 3) + _number(41, 2) + _number(42, 1) + _number(43, 0)
    names = _bytes(45, b"<unk>") + _bytes(46, b"<bos>") + _bytes(47, b"<eos>") + _bytes(48, b"<pad>")
    sizes = _number(3, _BPE) + _number(4, vocabulary_size) + _number(25, 1) + _number(35, 1)
    return _bytes(2, sizes + ids + names)


def _normalizer_spec() -> bytes:
    """ModelProto.normalizer_spec: identity, no dummy prefix 3, all blanks kept 4, blanks as U+2581 5."""
    return _bytes(3, _bytes(1, b"identity") + _number(3, 0) + _number(4, 0) + _number(5, 1))
