"""Examples to ids and weights, and ids back to files."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.corpus.packed import TEXTS, document, library, real_encoder, tiny_encoder
from training.corpus.examples import Example, whole
from training.corpus.infill import InfillSettings, transform
from training.corpus.tokenising import LossSettings, decode, encode

MIXED = InfillSettings(fim_rate=0.7, context_rate=0.4)


def made(texts: list[str], *, settings: InfillSettings = MIXED, seed: int = 0) -> Example:
    fragments = [whole(document(text, path=f"f{index}.py")) for index, text in enumerate(texts)]
    return transform(fragments, settings=settings, seed=seed, epoch=0)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(0, 99))
def test_ids_decode_to_the_exact_files(texts: list[str], seed: int):
    encoded = encode(made(texts, seed=seed), encoder=tiny_encoder())
    files = decode(encoded.token_ids, tokenizer=tiny_encoder().tokenizer)
    assert files == tuple((f"f{index}.py", text) for index, text in enumerate(texts))


@pytest.mark.shared
def test_ids_of_256k_pieces_decode_to_the_exact_files():
    files = library(20)
    example = transform([whole(file) for file in files], settings=MIXED, seed=0, epoch=0)
    encoded = encode(example, encoder=real_encoder())
    assert decode(encoded.token_ids, tokenizer=real_encoder().tokenizer) == tuple((f.path, f.text) for f in files)


def test_u2581_comes_back_as_a_space_which_is_the_tokenizers_one_exception():
    encoded = encode(made(["a\u2581b"]), encoder=tiny_encoder())
    assert decode(encoded.token_ids, tokenizer=tiny_encoder().tokenizer) == (("f0.py", "a b"),)


@given(st.lists(TEXTS, min_size=1, max_size=3), st.integers(0, 99))
def test_ids_are_the_tokenizers_ids_of_each_piece(texts: list[str], seed: int):
    example = made(texts, seed=seed)
    tokenizer = tiny_encoder().tokenizer
    expected = []
    for piece in example.pieces():
        expected += [tokenizer.token_to_id(piece.text)] if piece.kind == "control" else tokenizer.encode(piece.text)
    assert encode(example, encoder=tiny_encoder()).token_ids.tolist() == expected


def test_files_are_found_where_the_example_says():
    files = library(6)
    example = transform([whole(file) for file in files], settings=MIXED, seed=0, epoch=0)
    encoded = encode(example, encoder=tiny_encoder())
    tokenizer = tiny_encoder().tokenizer
    assert [file.document_id for file in encoded.files] == [file.id for file in files]
    for file, written, source in zip(encoded.files, example.files, files, strict=True):
        assert (file.start, file.end, file.role, file.layout) == (0, len(source.text), written.role, written.layout)
        ids = encoded.token_ids[file.first_token : file.first_token + file.num_tokens]
        assert decode([*ids, tokenizer.file_separator_id], tokenizer=tokenizer) == ((source.path, source.text),)
        middle = next((piece.text for piece in written.pieces if piece.kind == "middle"), "")
        assert file.middle_tokens == len(tokenizer.encode(middle))


def test_all_weights_are_1_but_that_of_the_first_token():
    encoded = encode(made(["a\n", "b\n"]), encoder=tiny_encoder())
    assert encoded.loss_weights.dtype == np.float32
    assert encoded.loss_weights.tolist() == [0.0] + [1.0] * (len(encoded) - 1)


def test_middles_and_context_files_have_their_own_weights():
    loss = LossSettings(text=1.0, middle=3.0, context=0.25)
    example = made(["ab = 1\n", "cd = 2\n"], settings=InfillSettings(fim_rate=1, spm_rate=0, context_rate=1))
    encoded = encode(example, encoder=tiny_encoder(), loss=loss)
    tokenizer = tiny_encoder().tokenizer
    context = len(tokenizer.encode("f0.py\nab = 1\n")) + 1  # with the separator
    middle = encoded.files[1].middle_tokens + 1  # with the piece that ends it
    rest = len(encoded) - 1 - context - middle
    assert encoded.loss_weights.tolist() == [0.0] + [0.25] * context + [1.0] * rest + [3.0] * middle


def test_a_middle_between_files_ends_with_the_weight_of_a_middle():
    loss = LossSettings(middle=2.0)
    example = made(["ab = 1\n", "cd = 2\n"], settings=InfillSettings(fim_rate=1, context_rate=0))
    encoded = encode(example, encoder=tiny_encoder(), loss=loss)
    ends = np.flatnonzero(encoded.token_ids == tokenizer_separator())
    assert encoded.loss_weights[ends].tolist() == [2.0, 2.0]
    assert (encoded.loss_weights == 2.0).sum() == sum(file.middle_tokens for file in encoded.files) + 2


def tokenizer_separator() -> int:
    return tiny_encoder().tokenizer.file_separator_id


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
def test_weights_must_be_numbers_from_0_up(weight: float):
    with pytest.raises(ValueError, match=f"A loss weight must be 0 or more; got middle={weight}. Give, for example"):
        LossSettings(middle=weight)


def test_something_must_be_learned():
    with pytest.raises(ValueError, match=r"must be above 0; got none, so nothing would be learned\. Give text=1\."):
        replace(LossSettings(text=0, middle=0), context=0)


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match=r"Token ids must lie in \[0, 8192\)"):
        decode([2, 9000], tokenizer=tiny_encoder().tokenizer)
