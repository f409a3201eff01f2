"""A packed row as the bytes of one record, and back.

All numbers are little-endian. A record is a header (`_HEADER`: the letters KCGR, version, bytes per id, then the counts
L, n, s, r, k), and after it, without gaps:

    u32 [s]       tokens of each example, from which segment ids and positions follow
    u32 [r]       tokens of each run of one loss weight
    f32 [r]       these weights
    u16 [n]       the lower 16 bits of the ids
    u8  [n]       the next 8 bits, if the header says 3 bytes per id
    u32 [s]       files of each example
    u8  [k, 16]   document ids
    u32 [k, 5]    of each file: start, end, first token in its example, tokens, tokens of its middle
    u8  [k, 4]    of each file: role, layout, kind of span, cut, as indices into `_NAMES`

L is the row's length, n its tokens without padding, s its examples, r its runs, k its files. Ids that lie apart from
their higher bits compress better; ArrayRecord compresses each record (zstd).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.corpus.examples import ROLES
from training.corpus.fitting import CUTS
from training.corpus.packing import PackedRow, lay_out
from training.corpus.spans import KINDS
from training.corpus.tokenising import Encoded, EncodedFile

VERSION = 1
MAX_TOKEN_ID = 2**24 - 1

_HEADER = struct.Struct("<4sBB5I")
_MAGIC = b"KCGR"
_NAMES: tuple[Sequence[str | None], ...] = (ROLES, (None, "psm", "spm"), (None, *KINDS), (None, *CUTS))
"""Only ever to be added to at the end: records refer to them by index."""
_NUMBERS = ("start", "end", "first_token", "num_tokens", "middle_tokens")
_FILE_BYTES = 16 + 4 * len(_NUMBERS) + len(_NAMES)


@dataclass(frozen=True, kw_only=True)
class RowArrays:
    """What a model needs of a row; padding is left out.

    Attributes:
        sequence_length: L.
        token_ids: int32 [n].
        lengths: of each example, uint32 [s].
        loss_weights: float32 [n].
    """

    sequence_length: int
    token_ids: np.ndarray
    lengths: np.ndarray
    loss_weights: np.ndarray


def to_bytes(row: PackedRow) -> bytes:
    """The record of a row.

    Raises:
        ValueError: an id above `MAX_TOKEN_ID` or below 0.
    """
    examples, files = row.examples, [file for example in row.examples for file in example.files]
    lengths = np.array([len(example) for example in examples], "<u4")
    token_ids = row.token_ids[: int(lengths.sum())]
    _check_ids(token_ids)
    runs, weights = _runs_of(row.loss_weights[: len(token_ids)])
    id_bytes = 3 if len(token_ids) and token_ids.max() > 0xFFFF else 2
    counts = (len(row.token_ids), len(token_ids), len(lengths), len(runs), len(files))
    numbers = [[getattr(file, name) for name in _NUMBERS] for file in files]
    codes = [[names.index(value) for names, value in zip(_NAMES, _named(file), strict=True)] for file in files]
    blocks = [
        _HEADER.pack(_MAGIC, VERSION, id_bytes, *counts),
        lengths.tobytes(),
        runs.astype("<u4").tobytes(),
        weights.astype("<f4").tobytes(),
        (token_ids & 0xFFFF).astype("<u2").tobytes(),
        (token_ids >> 16).astype("u1").tobytes() if id_bytes == 3 else b"",
        np.array([len(example.files) for example in examples], "<u4").tobytes(),
        b"".join(bytes.fromhex(file.document_id) for file in files),
        np.array(numbers, "<u4").tobytes(),
        np.array(codes, "u1").tobytes(),
    ]
    return b"".join(blocks)


def read_arrays(record: bytes) -> RowArrays:
    """The arrays of a record, without its files.

    Raises:
        ValueError: no record of a row, or a damaged one.
    """
    return _read_arrays(record)[0]


def from_bytes(record: bytes) -> PackedRow:
    """The row of a record, with all that is known about its files.

    Raises:
        ValueError: no record of a row, or a damaged one.
    """
    arrays, rest, num_files = _read_arrays(record)
    num_examples = len(arrays.lengths)
    files_of = np.frombuffer(rest, "<u4", num_examples)
    at = 4 * num_examples
    ids = rest[at : at + 16 * num_files]
    at += len(ids)
    numbers = np.frombuffer(rest, "<u4", num_files * len(_NUMBERS), at).reshape(num_files, len(_NUMBERS)).tolist()
    at += 4 * num_files * len(_NUMBERS)
    codes = np.frombuffer(rest, "u1", num_files * len(_NAMES), at).reshape(num_files, len(_NAMES)).tolist()
    files = [_file(ids[16 * index : 16 * index + 16].hex(), numbers[index], codes[index]) for index in range(num_files)]
    examples = []
    token = file = 0
    for length, num in zip(arrays.lengths.tolist(), files_of.tolist(), strict=True):
        examples.append(
            Encoded(
                token_ids=arrays.token_ids[token : token + length],
                loss_weights=arrays.loss_weights[token : token + length],
                files=tuple(files[file : file + num]),
            )
        )
        token, file = token + length, file + num
    return lay_out(examples, sequence_length=arrays.sequence_length)


def _read_arrays(record: bytes) -> tuple[RowArrays, bytes, int]:
    """The arrays, what lies behind them, and the number of files."""
    if len(record) < _HEADER.size or record[:4] != _MAGIC:
        raise ValueError(
            f"A record must be a packed row; got {len(record)} bytes that begin {record[:8]!r}. Read shards that "
            "`shards.write_shard` made."
        )
    _, version, id_bytes, length, num_tokens, num_examples, num_runs, num_files = _HEADER.unpack_from(record)
    if version != VERSION:
        raise ValueError(
            f"A packed row must have version {VERSION}; got version {version}. Build the corpus again, or read it "
            "with the release that wrote it."
        )
    size = _HEADER.size + 8 * num_examples + 8 * num_runs + id_bytes * num_tokens + _FILE_BYTES * num_files
    if len(record) != size:
        raise ValueError(
            f"A packed row of these counts must have {size} bytes; got {len(record)}. The shard is damaged: check it "
            "with `shards.verify`."
        )
    at = _HEADER.size
    lengths = np.frombuffer(record, "<u4", num_examples, at)
    at += 4 * num_examples
    runs = np.frombuffer(record, "<u4", num_runs, at)
    weights = np.frombuffer(record, "<f4", num_runs, at + 4 * num_runs)
    at += 8 * num_runs
    token_ids = np.frombuffer(record, "<u2", num_tokens, at).astype(np.int32)
    at += 2 * num_tokens
    if id_bytes == 3:
        token_ids |= np.frombuffer(record, "u1", num_tokens, at).astype(np.int32) << 16
        at += num_tokens
    arrays = RowArrays(
        sequence_length=length, token_ids=token_ids, lengths=lengths, loss_weights=np.repeat(weights, runs)
    )
    return arrays, record[at:], num_files


def _runs_of(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and values of the runs of equal numbers."""
    if not len(weights):
        return np.zeros(0, np.int64), weights
    begins = np.concatenate([[0], np.flatnonzero(np.diff(weights)) + 1])
    return np.diff(np.append(begins, len(weights))), weights[begins]


def _named(file: EncodedFile) -> tuple[str | None, ...]:
    return file.role, file.layout, file.span_kind, file.cut


def _file(document_id: str, numbers: Sequence[int], codes: Sequence[int]) -> EncodedFile:
    role, layout, span_kind, cut = (names[code] for names, code in zip(_NAMES, codes, strict=True))
    return EncodedFile(
        document_id=document_id,
        role=str(role),
        layout=layout,
        span_kind=span_kind,
        cut=cut,
        **dict(zip(_NUMBERS, numbers, strict=True)),
    )


def _check_ids(token_ids: np.ndarray) -> None:
    if len(token_ids) and (token_ids.min() < 0 or token_ids.max() > MAX_TOKEN_ID):
        raise ValueError(
            f"Token ids of a row must lie in [0, {MAX_TOKEN_ID}]; got {token_ids.min()} to {token_ids.max()}. "
            "Check the tokenizer."
        )
