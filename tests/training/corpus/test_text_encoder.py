"""The fast encoder gives the tokenizer's ids, and says what it relies on."""

import re
import struct

import numpy as np
import pytest
from hypothesis import example, given

from keras_codegemma.tokenizer import CodeGemmaTokenizer
from tests.training.corpus.packed import PIECES, REAL_MODEL, TEXTS, TINY_MODEL, library, real_encoder, tiny_encoder
from training.corpus.text_encoder import TextEncoder, is_bpe, smallest_unit

TINY = CodeGemmaTokenizer(TINY_MODEL)
CUT_IN_EVERY_WAY = TextEncoder(TINY)


@example("".join(PIECES))
@example("a\u2581b \u2581 c\u2581\u2581\nd")
@given(TEXTS)
def test_ids_of_any_text_are_the_tokenizers(text: str):
    assert tiny_encoder().encode(text).tolist() == TINY.encode(text)


def test_ids_of_real_files_are_the_tokenizers():
    encoder = TextEncoder(TINY)
    for file in library(40):
        assert encoder.encode(file.text).tolist() == TINY.encode(file.text), file.path
        windows = file.text.replace("\n", "\r\n").replace("    ", "\t")
        assert encoder.encode(windows).tolist() == TINY.encode(windows), file.path


@pytest.mark.shared
@example("".join(PIECES))
@example("a\u2581b \u2581 c\u2581\u2581\nd")
@given(TEXTS)
def test_ids_of_any_text_are_the_tokenizers_with_256k_pieces(text: str):
    assert real_encoder().encode(text).tolist() == real_encoder().tokenizer.encode(text)


@pytest.mark.shared
def test_ids_of_real_files_are_the_tokenizers_with_256k_pieces():
    encoder, tokenizer = real_encoder(), CodeGemmaTokenizer(REAL_MODEL)
    for file in library(40):
        windows = file.text.replace("\n", "\r\n").replace("    ", "\t")
        for text in (file.text, windows, file.text + "é"):
            assert encoder.encode(text).tolist() == tokenizer.encode(text), file.path


@pytest.mark.shared
def test_codegemmas_vocabulary_can_be_cut_at_letters():
    assert real_encoder().unit == "letters"


def test_the_tiny_vocabulary_can_be_cut_at_letters():
    assert tiny_encoder().unit == "letters"


@pytest.mark.parametrize(
    ("pieces", "unit"),
    [
        (["a", "\u2581a", "\n\n", "\u2581\u2581", "();", "ab", "\u2581)", "<table>", "(<a>", "[a=0]"], "letters"),
        (["a", "é(", "(é"], "letters"),  # letters are told apart in ASCII text only
        (["a", "f("], "words"),
        (["a", "(f"], "words"),
        (["a", "1a"], "words"),
        (["a", "f<"], "words"),
        (["a", "a)<b"], "words"),
        (["a", "a\u2581b"], "lines"),
        (["a", ")\u2581"], "lines"),
        (["a", "a\n"], "texts"),
        (["a", "\n\u2581"], "texts"),
    ],
)
def test_the_unit_follows_from_the_pieces(pieces: list[str], unit: str):
    assert smallest_unit(pieces) == unit


@given(TEXTS)
def test_every_unit_gives_the_tokenizers_ids(text: str):
    expected = TINY.encode(text)
    for unit in ("letters", "words", "lines", "texts"):
        CUT_IN_EVERY_WAY.unit = unit
        assert CUT_IN_EVERY_WAY.encode(text).tolist() == expected


def test_only_bpe_models_are_cut():
    assert is_bpe(TINY.model_bytes)
    # ModelProto.trainer_spec (field 2) with model_type (field 3): 1 is unigram, 2 BPE; a float score comes before.
    piece = b"\x0a\x08" + b"\x0a\x01a" + b"\x15" + struct.pack("<f", -1.0)
    assert is_bpe(piece + b"\x12\x02\x18\x02")
    assert not is_bpe(piece + b"\x12\x02\x18\x01")
    assert not is_bpe(piece + b"\x12\x00")
    assert not is_bpe(piece)


def test_memory_is_bounded_and_forgetting_changes_nothing():
    encoder = TextEncoder(TINY, max_remembered=50)
    for file in library(5):
        assert encoder.encode(file.text).tolist() == TINY.encode(file.text)
        assert len(encoder._memory) <= 50


def test_lines_of_ascii_have_small_parts_in_any_text():
    encoder, text = TextEncoder(TINY), "foo.bar(1)\n\n(café)\nx = y\u2581\nlast"
    assert encoder.encode(text).tolist() == TINY.encode(text)
    assert encoder._memory.keys() == {
        "foo",
        ".",
        "bar",
        "(1)",
        "\n\n",
        "(café)",
        "\n",
        "x",
        " =",
        " y",
        "\u2581",
        "last",
    }


def test_long_words_are_not_remembered():
    encoder = TextEncoder(TINY)
    encoder.encode("A" * 65 + " " + "B" * 63)
    assert max(map(len, encoder._memory)) == 64


def test_a_lone_surrogate_is_refused_with_its_place_in_the_whole_text():
    with pytest.raises(ValueError, match=re.escape(r"got the lone surrogate '\ud800' at character 8")):
        tiny_encoder().encode("ab cd\nef\ud800")


def test_what_is_no_text_is_refused():
    with pytest.raises(TypeError, match="Text to encode must be a str; got bytes"):
        tiny_encoder().encode(b"a")  # type: ignore[arg-type]


@given(TEXTS)
def test_characters_say_where_in_the_text_each_token_begins(text: str):
    ids = tiny_encoder().encode(text)
    begins = tiny_encoder().characters(ids)
    assert len(begins) == len(ids)
    total = 0
    for token_id, begin in zip(ids.tolist(), begins.tolist(), strict=True):
        assert begin == total
        total += TINY.vocabulary.characters_begun([token_id])
    assert total == len(text)


def test_ids_are_int32():
    assert tiny_encoder().encode("").dtype == np.int32
    assert tiny_encoder().encode("a b").dtype == np.int32
