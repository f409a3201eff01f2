"""Encoded examples to rows of one length, by best fit, with as little padding as a bounded window allows."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from training.corpus.tokenising import Encoded

OPEN_ROWS = 512
"""Rows that are open at a time: at 8192 tokens, ids and weights of 34 MB."""


@dataclass(frozen=True, kw_only=True)
class PackedRow:
    """Examples side by side in one row; padding, all zeros, is at its end.

    Attributes:
        token_ids: int32 [L].
        segment_ids: int32 [L], 1 for the tokens of the first example, 2 for the second, 0 for padding.
        positions: int32 [L], counted from 0 in each example; 0 for padding.
        loss_weights: float32 [L], of predicting the token at the same place; 0 at the first token of each example.
        examples: what was packed, in order.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    positions: np.ndarray
    loss_weights: np.ndarray
    examples: tuple[Encoded, ...]


@dataclass(kw_only=True)
class PackingReport:
    """Counts of what went in and came out.

    Attributes:
        examples: packed.
        tokens: of these examples.
        rows: given out.
        positions: in these rows, padding included.
    """

    examples: int = 0
    tokens: int = 0
    rows: int = 0
    positions: int = 0

    @property
    def waste_rate(self) -> float:
        """Share of positions that are padding; 0 before the first row."""
        return 1 - self.tokens / self.positions if self.positions else 0.0


def pack(
    examples: Iterable[Encoded],
    *,
    sequence_length: int,
    open_rows: int = OPEN_ROWS,
    report: PackingReport | None = None,
) -> Iterator[PackedRow]:
    """Puts each example into the open row that it leaves the least room in.

    Rows are given out when they are full, or when more than `open_rows` are open, the fullest first. The same examples
    in the same order give the same rows.

    Args:
        examples: none longer than a row.
        sequence_length: L, of every row.
        open_rows: at least 1.
        report: is counted into; complete when the last row has been taken.

    Raises:
        ValueError: an example that is longer than a row or empty, or no room for an open row.
    """
    if sequence_length < 1 or open_rows < 1:
        raise ValueError(
            f"sequence_length and open_rows must be at least 1; got {sequence_length} and {open_rows}. Correct them."
        )
    report = report if report is not None else PackingReport()
    # Sorted by room; the number tells rows of the same room apart, the oldest first.
    rooms: list[tuple[int, int]] = []
    rows: dict[int, list[Encoded]] = {}
    for number, example in enumerate(examples):
        _check(example, sequence_length)
        report.examples += 1
        report.tokens += len(example)
        at = bisect_left(rooms, (len(example), -1))
        room, row = rooms.pop(at) if at < len(rooms) else (sequence_length, number)
        rows.setdefault(row, []).append(example)
        insort(rooms, (room - len(example), row))
        if rooms[0][0] == 0 or len(rooms) > open_rows:
            yield _closed(rows.pop(rooms.pop(0)[1]), sequence_length, report)
    for _, row in rooms:
        yield _closed(rows.pop(row), sequence_length, report)


def lay_out(examples: Iterable[Encoded], *, sequence_length: int) -> PackedRow:
    """A row of these examples.

    Raises:
        ValueError: they are longer than a row together.
    """
    examples = tuple(examples)
    lengths = [len(example) for example in examples]
    total = sum(lengths)
    if total > sequence_length:
        raise ValueError(
            f"A row of {sequence_length} tokens cannot hold examples of {total}; give it fewer, or use a longer row."
        )
    token_ids, segment_ids, positions = (np.zeros(sequence_length, np.int32) for _ in range(3))
    loss_weights = np.zeros(sequence_length, np.float32)
    if examples:
        token_ids[:total] = np.concatenate([example.token_ids for example in examples])
        loss_weights[:total] = np.concatenate([example.loss_weights for example in examples])
    segment_ids[:total], positions[:total] = segments_of(np.array(lengths, np.int64))
    return PackedRow(
        token_ids=token_ids,
        segment_ids=segment_ids,
        positions=positions,
        loss_weights=loss_weights,
        examples=examples,
    )


def segments_of(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids and positions, both int32 [sum of lengths], of examples of these lengths, int [n]."""
    segment_ids = np.repeat(np.arange(1, len(lengths) + 1, dtype=np.int32), lengths)
    begins = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return segment_ids, (np.arange(len(begins)) - begins).astype(np.int32)


def _closed(examples: list[Encoded], sequence_length: int, report: PackingReport) -> PackedRow:
    report.rows += 1
    report.positions += sequence_length
    return lay_out(examples, sequence_length=sequence_length)


def _check(example: Encoded, sequence_length: int) -> None:
    if not 1 <= len(example) <= sequence_length:
        raise ValueError(
            f"An example to be packed must have 1 to sequence_length={sequence_length} tokens; got {len(example)}, "
            f"with {[file.document_id for file in example.files][:4]}. Split documents with `fitting.Fitter` first."
        )
