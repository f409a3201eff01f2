"""Signatures: an estimate of Jaccard similarity that licence notices do not disturb."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.minhash import DuplicateSettings, minimum_hashes, sign, words_of_notice
from training.corpus.words import runs, words

BODY = " ".join(f"word{i}" for i in range(40))


def hashes(numbers) -> np.ndarray:
    return words(" ".join(f"n{number}" for number in numbers)).hashes


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=3000, unique=True))
def test_minima_are_those_of_a_set(numbers):
    found = minimum_hashes(hashes(numbers), 16)
    assert (found == minimum_hashes(hashes([*reversed(numbers), *numbers]), 16)).all()
    parts = [minimum_hashes(hashes(part), 16) for part in (numbers[:1], numbers[1:]) if part]
    assert (found == np.min(parts, axis=0)).all()


@pytest.mark.parametrize("overlap", [100, 500, 900])
def test_agreement_estimates_the_jaccard_similarity(overlap):
    left, right = hashes(range(1000)), hashes(range(1000 - overlap, 2000 - overlap))
    jaccard = overlap / (2000 - overlap)
    agreement = (minimum_hashes(left, 2048) == minimum_hashes(right, 2048)).mean()
    assert abs(agreement - jaccard) < 4 * np.sqrt(jaccard * (1 - jaccard) / 2048)


def test_a_signature_holds_the_hash_of_the_exact_text():
    signed = sign([words("A b"), words("a b")], DuplicateSettings())
    assert signed.texts[0].tobytes() == hashlib.blake2b(b"A b", digest_size=16).digest()
    assert (signed.texts[0] != signed.texts[1]).any()
    assert not signed.comparable.any()


def test_short_documents_and_builds_without_near_duplicates_are_compared_as_a_whole_only():
    settings = DuplicateSettings(run_words=2, least_runs=39)
    assert sign([words(BODY)], settings).comparable.tolist() == [True]
    assert sign([words(BODY + " /")], DuplicateSettings(run_words=2, least_runs=40)).comparable.tolist() == [False]
    assert sign([words(BODY)], DuplicateSettings(near=False)).comparable.tolist() == [False]


@pytest.mark.parametrize(
    "notice",
    [
        "# Copyright 2020 Someone\n# All rights\n",
        "#!/usr/bin/env python\n\n# SPDX-License-Identifier: MIT\n",
        "/*\n * Licensed under the Apache License\n */\n",
        "// Copyright (c) A\n\n// and more\n",
        "<!-- copyright me -->\n",
        "\ufeff# License: MIT\n",
        "-- Copyright\n",
        "@rem\nrem Copyright\n".removeprefix("@rem\n"),
    ],
)
def test_a_notice_at_the_head_is_not_compared(notice):
    plain, noticed = sign([words(BODY), words(notice + BODY)], DuplicateSettings()).minima
    assert (plain == noticed).all()


@pytest.mark.parametrize(
    "text", ["# just a comment\n" + BODY, "x = 1  # Copyright\n" + BODY, "/* Copyright " + BODY, ""]
)
def test_other_heads_are_compared(text):
    assert words_of_notice(words(text)) == 0


def test_bands_of_two_documents_agree_where_all_rows_do():
    settings = DuplicateSettings(permutations=6, bands=3)
    signed = sign([words(BODY), words(BODY)], settings)
    signed.minima[1, 3] += 1  # a row of the second band
    keys = signed.band_keys(3)
    assert (keys[0] == keys[1]).tolist() == [True, False, True]
    assert len(set(keys[0].tolist())) == 3


def test_signatures_are_those_of_the_formulas_in_whole_numbers():
    def mixed(value):
        for _ in range(2):
            value = (value ^ value >> 32) * 0xD6E8FEB86659FD93 % 2**64
        return value ^ value >> 32

    def word(name):
        return mixed(len(name) * 0x9E3779B97F4A7C15 % 2**64 ^ int.from_bytes(name.encode(), "little"))

    pairs = [mixed((word(a) * 0x9E3779B97F4A7C15 + word(b)) % 2**64) for a, b in (("one", "two"), ("two", "three"))]
    drawn = [hashlib.blake2b(f"permutation {index}".encode(), digest_size=16).digest() for index in range(5)]
    lines = [(int.from_bytes(item[:8], "little") | 1, int.from_bytes(item[8:], "little")) for item in drawn]
    expected = [min((a * value + b) % 2**64 for value in pairs) >> 32 for a, b in lines]
    assert minimum_hashes(runs(words("one two three").hashes, 2), 5).tolist() == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 0.0}, r"threshold lies in \(0, 1\]; got 0.0. The usual one is 0.7"),
        ({"run_words": 0}, "Sizes of signatures are at least 1; got .*run_words=0.* Leave the defaults"),
        ({"bands": 300}, "got 300 bands of 256 permutations. Ask for fewer bands"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DuplicateSettings(**fields)
