"""Words and their hashes: where they begin and end, and that a hash is a function of the word alone."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.words import LONGEST_HASHED_BYTES, runs, words

TEXTS = st.text(alphabet=st.sampled_from("abAB09_ \n.(+éñ漢\x00")) | st.text()


def spans(data: bytes) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(rb"[A-Za-z0-9_\x80-\xff]+", data)]


@given(TEXTS)
def test_words_are_those_a_regular_expression_finds(text):
    found = words(text)
    assert list(zip(found.starts.tolist(), found.ends.tolist(), strict=True)) == spans(
        text.encode("utf-8", "surrogatepass")
    )
    assert len(found.hashes) == len(found.starts)


@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_a_hash_depends_on_the_lowered_word_alone(texts):
    seen: dict[bytes, int] = {}
    for text in texts:
        found = words(text)
        for start, end, value in zip(found.starts, found.ends, found.hashes.tolist(), strict=True):
            assert seen.setdefault(found.data[start:end].lower(), value) == value
    assert len(set(seen.values())) == len(seen)


def test_words_of_every_length_up_to_the_longest_hashed_differ_in_each_byte():
    for length in (1, 7, 8, 9, 16, 17, 64, LONGEST_HASHED_BYTES):
        plain = "a" * length
        variants = {plain, *(plain[:i] + "b" + plain[i + 1 :] for i in range(length)), plain + "a"}
        assert len({words(variant).hashes[0] for variant in variants}) == len(variants)


def test_a_very_long_word_is_hashed_by_its_head_and_length():
    long = "x" * 100_000
    assert words(long).hashes[0] == words("x" * 99_999 + "y").hashes[0]
    assert words(long).hashes[0] != words(long + "x").hashes[0]


def test_runs_are_functions_of_neighbouring_words_in_order():
    found = runs(words("a b c a b c").hashes, 3)
    assert len(found) == 4
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 3
    assert runs(words("a b").hashes, 3).size == 0
    assert runs(words("").hashes, 1).size == 0


def test_runs_spread_over_all_bits():
    values = runs(words(" ".join(map(str, range(4096)))).hashes, 2)
    bits = np.unpackbits(values.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert abs(bits - 0.5).max() < 0.05  # six standard deviations of a fair coin thrown 4095 times


def test_the_text_of_a_run_is_as_it_was_written():
    assert words("  def Add(a, b):\n    return a").text(1, 3) == "Add(a, b"
