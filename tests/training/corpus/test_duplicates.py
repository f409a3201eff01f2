"""Duplicates: groups are whole, the smallest name stays, and neither order nor sharing out changes the result."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.corpus.duplicates import EXACT, NEAR, Duplicate, decide, find, linked, sorted_keys, taken
from training.corpus.minhash import DuplicateSettings, Signatures, sign
from training.corpus.words import words

SETTINGS = DuplicateSettings()


def text(seed: int, *, changed: int = 0) -> str:
    """200 words; `changed` of them differ."""
    rng = Random(seed)
    found = [f"w{rng.randrange(10**6)}" for _ in range(200)]
    found[:changed] = [f"{word}x" for word in found[:changed]]
    return " ".join(found)


def signed(texts) -> Signatures:
    return sign([words(item) for item in texts], SETTINGS)


def names(count: int) -> list[tuple[str, str, str]]:
    return [("r", f"{row:03d}", "1") for row in range(count)]


def found(texts) -> list[Duplicate]:
    return find(signed(texts), names(len(texts)), SETTINGS)


def test_equal_texts_are_exact_duplicates_however_short():
    assert found(["x", "y", "x"]) == [Duplicate(document=2, kept=0, reason=EXACT)]


def test_edited_copies_are_near_duplicates_and_others_stay():
    texts = [text(1), text(2), text(1, changed=5), text(3)]
    assert found(texts) == [Duplicate(document=2, kept=0, reason=NEAR)]


def test_groups_are_transitive():
    chain = [text(1, changed=changed) for changed in (0, 25, 50)]  # neighbours share 7/9 of their pairs of words
    assert [(item.document, item.kept) for item in found(chain)] == [(1, 0), (2, 0)]
    assert found([chain[0], chain[2]]) == []


def test_the_smallest_repository_path_and_revision_stays():
    same = signed([text(1)] * 4)
    order = [("b", "a", "1"), ("a", "z", "2"), ("a", "z", "1"), ("c", "a", "1")]
    assert {item.kept for item in find(same, order, SETTINGS)} == {2}


def test_nothing_is_found_among_nothing():
    assert find(signed([]), [], SETTINGS) == []
    assert find(signed([text(1)]), names(1), SETTINGS) == []


def test_without_near_duplicates_only_equal_texts_go():
    exact = DuplicateSettings(near=False)
    texts = [text(1), text(1, changed=1), text(1)]
    assert find(sign([words(item) for item in texts], exact), names(3), exact) == [
        Duplicate(document=2, kept=0, reason=EXACT)
    ]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 3, 20, 60])), max_size=12), st.randoms())
def test_the_order_of_documents_changes_nothing(parts, rng):
    documents = [(name, text(seed, changed=changed)) for name, (seed, changed) in zip(names(99), parts, strict=False)]
    shuffled = list(documents)
    rng.shuffle(shuffled)

    def by_name(items):
        gone = find(signed(content for _, content in items), [name for name, _ in items], SETTINGS)
        return {(items[item.document][0], items[item.kept][0], item.reason) for item in gone}

    assert by_name(documents) == by_name(shuffled)


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_ranges_of_keys_looked_at_apart_give_the_same_pairs(parts):
    texts = [text(seed, changed=changed) for seed in range(6) for changed in (0, 0, 2, 10)]
    signatures = signed(texts)
    keys = sorted_keys(signatures, SETTINGS)

    def lookup(rows):
        return taken(signatures, rows)

    shares = [keys.between(part, parts) for part in range(parts)]
    assert sum(len(share.keys) for share in shares) == len(keys.keys)
    pairs = [linked(share.keys, share.rows, lookup=lookup, settings=SETTINGS) for share in shares]
    decided = decide(np.concatenate(pairs), name=lambda row: names(24)[row], lookup=lookup)
    assert decided == find(signatures, names(24), SETTINGS)
    assert len(decided) == 18


def test_ranges_of_keys_hold_the_smallest_and_the_largest():
    keys = sorted_keys(signed(["a", "b"]), SETTINGS)
    keys.keys[:] = [0, 2**64 - 1]
    assert [share.rows.tolist() for share in (keys.between(0, 3), keys.between(1, 3), keys.between(2, 3))] == [
        [keys.rows[0]],
        [],
        [keys.rows[1]],
    ]


def test_many_documents_of_one_key_that_are_not_alike_stay():
    texts = [text(seed) for seed in range(30)]
    signatures = signed(texts)
    pairs = linked(
        np.zeros(30, dtype=np.uint64), np.arange(30), lookup=lambda rows: taken(signatures, rows), settings=SETTINGS
    )
    assert pairs.shape == (0, 2)


def test_signatures_are_asked_for_in_portions():
    asked = []
    signatures = signed(["x"] * 10_000)

    def lookup(rows):
        asked.append(len(rows))
        return taken(signatures, rows)

    keys = sorted_keys(signatures, SETTINGS)
    assert len(linked(keys.keys, keys.rows, lookup=lookup, settings=SETTINGS)) == 9_999
    assert max(asked) <= 4096
