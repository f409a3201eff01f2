"""How a repository becomes examples: the split, the pieces, the middles, the order."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma.finetuning.files import batches, draw_triple, pieces, read
from tests.training.corpus.packed import TEXTS, tiny_encoder

TOKENIZER = tiny_encoder().tokenizer


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for index in range(20):
        (tmp_path / f"module_{index}.py").write_text(f"def f{index}(a):\n    return a + {index}\n")
    (tmp_path / "test_module.py").write_text("assert True\n")
    (tmp_path / "notes.txt").write_text("not code\n")
    return tmp_path


def test_files_are_held_out_by_seed_and_path_alone(repository):
    first = read(repository, held_out_rate=0.2)
    assert len(first.sources.texts) == 4
    assert len(first.training) == 16
    assert not set(first.sources.texts) & set(first.training)
    assert read(repository, held_out_rate=0.2) == first
    assert read(repository, held_out_rate=0.2, seed=1) != first
    (repository / "module_3.py").write_text("changed = True\n")
    assert set(read(repository, held_out_rate=0.2).training) == set(first.training)


def test_a_repository_needs_two_files_and_a_rate(repository, tmp_path):
    with pytest.raises(ValueError, match=r"must lie between 0 and 1; got 1\. Try 0\.1"):
        read(repository, held_out_rate=1)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/a.py").write_text("a = 1\n")
    with pytest.raises(ValueError, match=r"must hold two source files .*alone has 1\. Name another"):
        read(tmp_path / "alone")


@given(TEXTS)
def test_pieces_are_the_lines_that_fit_in_their_order(text):
    room = 12
    found = list(pieces(text, TOKENIZER, max_tokens=room))
    lines = text.splitlines(keepends=True)
    assert "".join(found) == "".join(line for line in lines if len(TOKENIZER.encode(line)) <= room)
    assert all(sum(len(TOKENIZER.encode(line)) for line in piece.splitlines(keepends=True)) <= room for piece in found)


@given(TEXTS.filter(bool), st.integers(0, 2**32))
def test_a_triple_is_its_piece(piece, seed):
    prefix, suffix, middle = draw_triple(piece, Random(seed))
    assert prefix + middle + suffix == piece
    assert draw_triple(piece, Random(seed)) == (prefix, suffix, middle)


def test_most_middles_are_whole_lines():
    piece = "".join(f"line {index}\n\n" for index in range(20))
    found = [draw_triple(piece, Random(seed)) for seed in range(400)]
    lines = [middle for prefix, _, middle in found if middle.count("\n") == 1 and middle.startswith("line")]
    assert 0.5 < len(lines) / 400 < 0.75


def test_batches_have_one_size_and_every_piece_comes_each_epoch_with_new_middles():
    found = [f"a = {index}\nb = {index}\nc = {index}\n" for index in range(5)]
    stream = batches(found, batch_size=4, seed=0)
    epochs = [[next(stream), next(stream)] for _ in range(2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [4, 4]
        assert {prefix + middle + suffix for batch in epoch for prefix, suffix, middle in batch} == set(found)
    assert epochs[0] != epochs[1]
    again = batches(found, batch_size=4, seed=0)
    assert [next(again) for _ in range(4)] == [batch for epoch in epochs for batch in epoch]
    assert len(next(batches(found[:1], batch_size=4, seed=0))) == 4
