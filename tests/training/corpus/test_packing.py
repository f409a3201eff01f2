"""Packing: nothing lost, nothing mixed, the best place for each, and bounded memory."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_models import CONFIGS, random_backbone
from tests.tolerances import tolerance
from tests.training.corpus.packed import example_of, pack_all
from training.corpus.packing import PackingReport, lay_out, pack, segments_of
from training.corpus.tokenising import Encoded

SIZES = st.lists(st.integers(1, 20), max_size=60)


def numbered(sizes: list[int]):
    return [example_of([index + 1] * size) for index, size in enumerate(sizes)]


@given(SIZES, st.integers(1, 5))
def test_every_example_comes_out_once_whole_and_in_a_segment_of_its_own(sizes: list[int], open_rows: int):
    report = PackingReport()
    examples = numbered(sizes)
    rows = list(pack(examples, sequence_length=20, open_rows=open_rows, report=report))
    seen: Counter[int] = Counter()
    for row in rows:
        assert len(row.token_ids) == len(row.segment_ids) == len(row.positions) == len(row.loss_weights) == 20
        real = row.segment_ids > 0
        assert not row.token_ids[~real].any()
        assert not row.positions[~real].any()
        assert not row.loss_weights[~real].any()
        assert real.sum() == np.flatnonzero(real).size == (np.argmin(real) if not real.all() else 20)
        for segment in range(1, row.segment_ids.max() + 1):
            inside = row.segment_ids == segment
            (number,) = set(row.token_ids[inside].tolist())
            seen[number] += int(inside.sum())
            assert row.positions[inside].tolist() == list(range(inside.sum()))
            assert row.loss_weights[inside].tolist() == [0.0] + [1.0] * (int(inside.sum()) - 1)
    assert seen == {index + 1: size for index, size in enumerate(sizes)}
    assert (report.examples, report.tokens, report.rows) == (len(sizes), sum(sizes), len(rows))
    assert report.positions == 20 * len(rows)
    assert report.waste_rate == pytest.approx(1 - sum(sizes) / (20 * len(rows)) if rows else 0)


def test_an_example_goes_where_it_leaves_the_least_room():
    rows = pack_all(numbered([6, 5, 8, 4, 2, 5]), sequence_length=10)
    # 6 | 5 | 8; 4 fills the first row, 2 the third, 5 the second.
    assert sorted(tuple(row.token_ids.tolist()) for row in rows) == [
        (1,) * 6 + (4,) * 4,
        (2,) * 5 + (6,) * 5,
        (3,) * 8 + (5,) * 2,
    ]


def test_rows_come_out_as_soon_as_they_are_full_and_the_fullest_when_too_many_are_open():
    taken = []

    def source():
        for index, example in enumerate(numbered([10, 6, 8, 7, 9])):
            taken.append(index)
            yield example

    rows = pack(source(), sequence_length=10, open_rows=2)
    assert next(rows).token_ids[0] == 1
    assert taken == [0]
    assert next(rows).token_ids[0] == 3  # 6, 8 and 7 are open: 8 is the fullest
    assert taken == [0, 1, 2, 3]
    assert [int(row.token_ids[0]) for row in rows] == [5, 4, 2]


def test_at_most_so_many_rows_are_open():
    given_out = 0
    for count, row in enumerate(pack(numbered([11] * 100), sequence_length=20, open_rows=7), start=1):
        given_out = count
        assert row.segment_ids.max() == 1
    assert given_out == 100


@given(SIZES)
def test_the_same_examples_give_the_same_rows(sizes: list[int]):
    first, second = (pack_all(numbered(sizes), sequence_length=20) for _ in range(2))
    assert [row.token_ids.tolist() for row in first] == [row.token_ids.tolist() for row in second]


def test_no_examples_give_no_rows_and_no_waste():
    report = PackingReport()
    assert list(pack([], sequence_length=8, report=report)) == []
    assert report.waste_rate == 0


@pytest.mark.parametrize("size", [0, 21])
def test_examples_that_fit_no_row_are_refused(size: int):
    example = example_of([1] * 21)
    if size == 0:
        example = type(example)(token_ids=example.token_ids[:0], loss_weights=example.loss_weights[:0], files=())
    with pytest.raises(ValueError, match=f"must have 1 to sequence_length=20 tokens; got {size}, with"):
        pack_all([example], sequence_length=20)


@pytest.mark.parametrize(("length", "rows"), [(0, 1), (8, 0)])
def test_a_row_and_the_window_must_have_room(length: int, rows: int):
    message = f"sequence_length and open_rows must be at least 1; got {length} and {rows}. Correct them."
    with pytest.raises(ValueError, match=message):
        next(pack([], sequence_length=length, open_rows=rows))


def test_a_row_cannot_be_overfull():
    with pytest.raises(ValueError, match="A row of 8 tokens cannot hold examples of 10; give it fewer"):
        lay_out(numbered([5, 5]), sequence_length=8)


def test_segments_and_positions_follow_from_lengths():
    segment_ids, positions = segments_of(np.array([2, 3]))
    assert (segment_ids.tolist(), positions.tolist()) == ([1, 1, 2, 2, 2], [0, 1, 0, 1, 2])


def test_a_model_sees_each_packed_example_as_if_it_were_alone():
    rng = np.random.default_rng(0)
    backbone = random_backbone(CONFIGS["multi_query"])
    examples = [example_of(rng.integers(1, 320, size).tolist()) for size in (9, 14, 5)]

    def hidden(packed: list[Encoded]) -> np.ndarray:
        row = lay_out(packed, sequence_length=32)
        features = {
            "token_ids": row.token_ids[None],
            "padding_mask": row.segment_ids[None] > 0,
            "segment_ids": row.segment_ids[None],
            "positions": row.positions[None],
        }
        return np.asarray(backbone(features))[0]

    begin = 0
    for example in examples:
        alone = hidden([example])[: len(example)]
        together = hidden(examples)[begin : begin + len(example)]
        assert np.abs(together - alone).max() <= tolerance("hidden", "float32") * np.abs(alone).max()
        begin += len(example)
