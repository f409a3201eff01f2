"""Samplers: their distributions, and what they refuse."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma import sampling
from keras_codegemma.sampling import BeamSampler, GreedySampler, RandomSampler, TopKSampler, TopPSampler

LOGITS = np.log(np.array([0.05, 0.4, 0.1, 0.25, 0.2]))
DRAWS = 20_000


def frequencies(sampler):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    ids = jax.jit(lambda s, logits, keys: s(logits, keys))(sampler, jnp.tile(LOGITS, (DRAWS, 1)), keys)
    assert ids.dtype == jnp.int32
    return np.bincount(np.asarray(ids), minlength=5) / DRAWS


def test_greedy_takes_the_likeliest_and_of_equals_the_lowest():
    logits = jnp.asarray([[0.0, 3.0, 3.0], [1.0, 0.0, -1.0]])
    assert np.asarray(GreedySampler()(logits, jax.random.split(jax.random.key(0), 2))).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (RandomSampler(), [0.05, 0.4, 0.1, 0.25, 0.2]),
        (RandomSampler(temperature=0.5), np.square([0.05, 0.4, 0.1, 0.25, 0.2])),
        (TopKSampler(k=2), [0, 0.4, 0, 0.25, 0]),
        (TopKSampler(k=50, temperature=0.5), np.square([0.05, 0.4, 0.1, 0.25, 0.2])),
        # 0.4 + 0.25 < 0.7 <= 0.4 + 0.25 + 0.2
        (TopPSampler(p=0.7), [0, 0.4, 0, 0.25, 0.2]),
        (TopPSampler(p=1e-9), [0, 1, 0, 0, 0]),
        (TopPSampler(p=1.0), [0.05, 0.4, 0.1, 0.25, 0.2]),
        (TopPSampler(p=1.0, k=3), [0, 0.4, 0, 0.25, 0.2]),
    ],
    ids=repr,
)
def test_draws_follow_the_distribution(sampler, expected):
    expected = np.asarray(expected) / np.sum(expected)
    got = frequencies(sampler)
    # Four standard deviations of a binomial share.
    assert (np.abs(got - expected) <= 4 * np.sqrt(expected * (1 - expected) / DRAWS) + 1e-12).all()


@pytest.mark.parametrize("name", ["greedy", "random", "top_k", "top_p", "beam"])
def test_every_sampler_has_kerashubs_name(name):
    assert sampling.get(name).name == name


def test_no_sampler_is_greedy():
    assert sampling.get(None) == GreedySampler()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: sampling.get("best"), ValueError, "got 'best'. Choose one of these."),
        (lambda: sampling.get(3), TypeError, "got int. Pass for example samplers.TopPSampler(p=0.9)."),
        (lambda: RandomSampler(temperature=0.0), ValueError, "The temperature must be above 0; got 0.0."),
        (lambda: TopPSampler(p=0.0), ValueError, "p must lie in (0, 1]; got 0.0."),
        (lambda: TopKSampler(k=0), ValueError, "k must be a positive integer; got 0. Pass 1 or more."),
        (lambda: BeamSampler(num_beams=True), ValueError, "num_beams must be a positive integer; got True."),
    ],
)
def test_bad_settings_are_refused(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()
