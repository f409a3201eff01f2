"""Parts of an encoded text have the ids that they have by themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma.tokenizer import CodeGemmaTokenizer
from tests.training.corpus.packed import TEXTS, TINY_MODEL, library, real_encoder, tiny_encoder
from training.corpus.encoded_text import EncodedText
from training.corpus.text_encoder import TextEncoder

TINY = CodeGemmaTokenizer(TINY_MODEL)


@given(TEXTS, st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=8))
def test_ids_of_a_part_are_those_of_the_part_alone(text: str, places: list[tuple[float, float]]):
    encoded = EncodedText(text, tiny_encoder())
    for place in places:
        start, end = sorted(round(share * len(text)) for share in place)
        assert encoded.between(start, end).tolist() == TINY.encode(text[start:end])


@pytest.mark.parametrize("text", ["\n\nif a:\n    b\n\n\n\r\nc é\t\n\u2581d<|fim_middle|>\n", "\x80\n\x80\n\n\x80\x80"])
def test_ids_of_every_part_of_a_short_text(text: str):
    encoded = EncodedText(text, tiny_encoder())
    for start in range(len(text) + 1):
        for end in range(start, len(text) + 1):
            assert encoded.between(start, end).tolist() == TINY.encode(text[start:end]), (start, end)


@pytest.mark.shared
def test_ids_of_parts_of_real_files_with_256k_pieces():
    for file in library(10):
        encoded = EncodedText(file.text, real_encoder())
        for start in range(0, len(file.text), 997):
            for end in (start, start + 1, start + 500, start + 5000):
                expected = real_encoder().tokenizer.encode(file.text[start:end])
                assert encoded.between(start, min(end, len(file.text))).tolist() == expected


def test_a_vocabulary_that_cannot_be_cut_is_asked_anew():
    encoder = TextEncoder(TINY)
    encoder.unit = "texts"
    encoded = EncodedText("a\nb\nc\n", encoder)
    assert encoded.between(1, 4).tolist() == TINY.encode("\nb\n")
