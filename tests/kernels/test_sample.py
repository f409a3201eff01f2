"""Drawing ids: which may be drawn, exactly as by sorting; how often; and rows that do not hear of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels.sample import cases, nucleus, reference, sample
from keras_codegemma.kernels.sample.draw import draw
from keras_codegemma.kernels.sample.top import largest

DRAWS = 20_000


def logits_of(case: cases.Case, *, ties: bool) -> jax.Array:
    rng = np.random.default_rng([case.batch, case.vocabulary])
    values = rng.normal(size=(case.batch, case.vocabulary)) * 3
    return jnp.asarray(np.round(values) + 0.0 if ties else values, jnp.float32)  # without -0.0, which sorts below 0.0


def keys_of(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("case", cases.TESTED, ids=lambda case: case.name)
def test_the_largest_are_those_of_a_sort_and_equals_keep_their_order(monkeypatch, case, ties):
    monkeypatch.setattr("keras_codegemma.kernels.sample.top.SMALL", 0)
    logits = logits_of(case, ties=ties)
    for count in {min(count, case.vocabulary) for count in (1, 5, 256)}:
        values, ids = largest(logits, count)
        expected_values, expected_ids = jax.lax.top_k(logits, count)
        assert np.array_equal(values, expected_values)
        assert np.array_equal(ids, expected_ids)


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("case", cases.TESTED, ids=lambda case: case.name)
def test_the_nucleus_is_that_of_a_sort(case, top_p):
    logits = logits_of(case, ties=True) / 2
    values, ids = reference.candidates(logits, jnp.float32(top_p), top_k=None)
    kept = np.zeros(logits.shape, bool)
    np.put_along_axis(kept, np.asarray(ids), np.isfinite(np.asarray(values)), axis=1)
    # Sums in another order may put the edge one id further.
    assert (np.abs(np.asarray(nucleus.nucleus(logits, jnp.float32(top_p))) ^ kept).sum(1) <= 1).all()
    assert np.asarray(nucleus.nucleus(logits, jnp.float32(1.0))).sum() >= 0.99 * logits.size


@pytest.mark.parametrize(
    "options", [{}, {"top_p": 0.6}, {"top_p": 0.97}, {"top_k": 3}, {"top_k": 30, "top_p": 0.8}, {"temperature": 0.5}]
)
def test_draws_follow_the_distribution_of_the_reference(options):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=600), jnp.float32).at[:3].add(4.0)
    given = {"temperature": 1.0, "top_k": None, "top_p": None, **options}
    limit = jnp.float32(jnp.inf if given["top_p"] is None else given["top_p"])
    values, ids = reference.candidates(logits[None] / given["temperature"], limit, top_k=given["top_k"])
    expected = np.zeros(600)
    expected[np.asarray(ids[0])] = np.asarray(jax.nn.softmax(values[0]), np.float64)
    run = jax.jit(lambda keys: sample(jnp.tile(logits, (DRAWS, 1)), keys, **options))
    got = np.bincount(np.asarray(run(keys_of(DRAWS))), minlength=600) / DRAWS
    assert got[expected == 0].max(initial=0.0) == 0
    # Five standard deviations of a binomial share, for any of 600 of them, and room for a share of one draw.
    assert (np.abs(got - expected) <= 5 * np.sqrt(expected * (1 - expected) / DRAWS) + 1 / DRAWS).all()


def test_a_row_is_drawn_alike_whatever_its_mates():
    peaked = jnp.zeros(1000).at[7].set(20.0).at[8].set(19.5)
    flat = jnp.zeros(1000)  # its nucleus is beyond the 256 likeliest
    keys = keys_of(64)
    alone = [int(sample(peaked[None], key[None], top_p=0.9)[0]) for key in keys[:8]]
    beside = [int(sample(jnp.stack([peaked, flat]), jnp.stack([key, key]), top_p=0.9)[0]) for key in keys[:8]]
    assert alone == beside
    assert set(alone) <= {7, 8}
    ids = sample(jnp.tile(flat, (64, 1)), keys, top_p=0.9)
    assert int(ids.max()) > 256
    assert int(ids.max()) <= 900  # of equals the lowest ids


def test_ids_that_may_not_be_drawn_never_are():
    logits = jnp.full((4096, 1300), -jnp.inf).at[:, [0, 511, 512, 1299]].set(0.0)
    ids, counts = np.unique(np.asarray(draw(logits, keys_of(4096))), return_counts=True)
    assert ids.tolist() == [0, 511, 512, 1299]
    assert counts.min() > 900


def test_nothing_of_the_vocabularys_size_is_sorted():
    arguments = jnp.zeros((1, 256_000)), keys_of(1)
    for options in ({}, {"top_k": 40}, {"top_p": 0.9}, {"top_k": 40, "top_p": 0.9}):
        text = jax.jit(lambda *x, o=options: sample(*x, **o)).lower(*arguments).as_text()
        for line in text.splitlines():
            assert not ("sort" in line or "top_k" in line) or "256000" not in line


def test_bad_input_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"one random key for each row of logits \[B, V\]; got \(2,\) and \(3, 5\)"):
        sample(jnp.zeros((3, 5)), keys_of(2))
    with pytest.raises(ValueError, match=r"must be one of \['xla', 'reference'\]; got 'pallas'"):
        sample(jnp.zeros((2, 5)), keys_of(2), implementation="pallas")
