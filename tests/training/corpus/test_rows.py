"""Records of rows: exact, laid out as documented, and refused when damaged."""

import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.corpus.packed import example_of, library, tiny_encoder
from training.corpus.fitting import Fitter, FittingSettings
from training.corpus.infill import InfillSettings
from training.corpus.packing import PackedRow, lay_out, pack
from training.corpus.rows import MAX_TOKEN_ID, from_bytes, read_arrays, to_bytes
from training.corpus.tokenising import Encoded, LossSettings

ROW = lay_out([example_of([5, 6, 7], weights=[0, 1, 1]), example_of([8, 9], weights=[0, 0.5])], sequence_length=8)


def assert_same(first: PackedRow, second: PackedRow):
    for name in ("token_ids", "segment_ids", "positions", "loss_weights"):
        before, after = getattr(first, name), getattr(second, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert [example.files for example in first.examples] == [example.files for example in second.examples]
    assert [example.token_ids.tolist() for example in first.examples] == [
        example.token_ids.tolist() for example in second.examples
    ]


@given(
    st.lists(st.lists(st.integers(0, MAX_TOKEN_ID), min_size=1, max_size=9), max_size=5),
    st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=45, max_size=45),
)
def test_rows_come_back_exactly(ids: list[list[int]], weights: list[float]):
    row = lay_out([example_of(one, weights=weights[: len(one)]) for one in ids], sequence_length=64)
    assert_same(from_bytes(to_bytes(row)), row)


def test_real_rows_come_back_with_all_that_is_known_of_their_files():
    fitter = Fitter(
        tiny_encoder(),
        settings=FittingSettings(sequence_length=512),
        infilling=InfillSettings(),
        loss=LossSettings(middle=2.0, context=0.5),
        seed=0,
    )
    examples = [made for made in fitter.fit(library(20)) if isinstance(made, Encoded)]
    layouts, cuts = set(), set()
    for row in pack(examples, sequence_length=512):
        assert_same(from_bytes(to_bytes(row)), row)
        layouts |= {file.layout for example in row.examples for file in example.files}
        cuts |= {file.cut for example in row.examples for file in example.files}
    assert layouts == {None, "psm", "spm"}
    assert cuts >= {None, "line"}


def test_the_record_is_laid_out_as_its_docstring_says():
    expected = struct.pack("<4sBB5I", b"KCGR", 1, 2, 8, 5, 2, 4, 2)
    expected += struct.pack("<2I", 3, 2)
    expected += struct.pack("<4I4f", 1, 2, 1, 1, 0, 1, 0, 0.5)
    expected += struct.pack("<5H", 5, 6, 7, 8, 9)
    expected += struct.pack("<2I", 1, 1)
    expected += (5).to_bytes(16) + (8).to_bytes(16)
    expected += struct.pack("<10I", 0, 3, 1, 2, 0, 0, 2, 1, 1, 0)
    expected += bytes(8)
    assert to_bytes(ROW) == expected


def test_ids_beyond_16_bits_have_a_third_byte():
    record = to_bytes(lay_out([example_of([1, 0x1FFFF])], sequence_length=2))
    assert record[5] == 3
    assert struct.pack("<2H", 1, 0xFFFF) + bytes([0, 1]) in record
    assert read_arrays(record).token_ids.tolist() == [1, 0x1FFFF]


def test_arrays_are_read_without_the_files():
    arrays = read_arrays(to_bytes(ROW))
    assert arrays.sequence_length == 8
    assert arrays.token_ids.tolist() == [5, 6, 7, 8, 9]
    assert arrays.lengths.tolist() == [3, 2]
    assert arrays.loss_weights.tolist() == [0, 1, 1, 0, 0.5]


@pytest.mark.parametrize("record", [b"", b"KCGR", b"another file of some length, with no rows"])
def test_other_bytes_are_refused(record: bytes):
    with pytest.raises(ValueError, match=f"A record must be a packed row; got {len(record)} bytes that begin"):
        read_arrays(record)


def test_another_version_is_refused():
    record = bytearray(to_bytes(ROW))
    record[4] = 2
    with pytest.raises(ValueError, match=r"must have version 1; got version 2\. Build the corpus again"):
        from_bytes(bytes(record))


@pytest.mark.parametrize("change", [lambda record: record[:-1], lambda record: record + b"\0"])
def test_a_record_of_another_size_is_refused(change):
    record = to_bytes(ROW)
    message = f"must have {len(record)} bytes; got {len(change(record))}. The shard is damaged: check it with"
    with pytest.raises(ValueError, match=re.escape(message)):
        from_bytes(change(record))


@pytest.mark.parametrize("token_id", [-1, MAX_TOKEN_ID + 1])
def test_ids_that_cannot_be_written_are_refused(token_id: int):
    example = replace(example_of([1, 2]), token_ids=np.array([1, token_id], np.int32))
    with pytest.raises(ValueError, match=re.escape("Token ids of a row must lie in [0, 16777215]; got")):
        to_bytes(lay_out([example], sequence_length=4))
