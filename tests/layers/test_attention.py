"""Attention over a sequence and over a cache, against a float64 softmax written out."""

import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from keras_codegemma.cache import LayerCache
from keras_codegemma.kernels.attention import attention
from keras_codegemma.kernels.decode_attention import blocks
from keras_codegemma.layers.attention import attend_cached
from tests.tolerances import tolerance

# Shapes and types of every call in this file are checked against the annotations.
attention, attend_cached = (jaxtyped(typechecker=beartype)(function) for function in (attention, attend_cached))

HEADS = [(4, 1), (4, 2), (4, 4), (1, 1)]


def written_out(query: np.ndarray, key: np.ndarray, value: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """query [T, N, H], key and value [S, K, H], allowed [T, S]; the definition in float64."""
    time, heads, width = query.shape
    group = heads // key.shape[1]
    result = np.zeros((time, heads, width))
    for head in range(heads):
        scores = query[:, head].astype(np.float64) @ key[:, head // group].astype(np.float64).T / np.sqrt(width)
        scores = np.where(allowed, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        result[:, head] = weights / weights.sum(-1, keepdims=True) @ value[:, head // group]
    return result


@pytest.mark.parametrize(("heads", "key_value_heads"), HEADS)
def test_attention_equals_the_definition_within_each_segment(heads, key_value_heads):
    rng = np.random.default_rng([heads, key_value_heads])
    query = rng.normal(size=(2, 9, heads, 8)).astype("float32")
    key, value = rng.normal(size=(2, 2, 9, key_value_heads, 8)).astype("float32")
    segments = np.array([[1, 1, 1, 2, 2, 2, 2, 0, 0], [3, 3, 3, 3, 3, 3, 3, 3, 3]], "int32")
    result = np.asarray(attention(*map(jnp.asarray, (query, key, value, segments))))
    index = np.arange(9)
    for row in range(2):
        allowed = (index[:, None] >= index) & (segments[row][:, None] == segments[row])
        expected = written_out(query[row], key[row], value[row], allowed)
        np.testing.assert_allclose(
            result[row], expected, rtol=tolerance("operation", "float32"), atol=tolerance("operation", "float32")
        )


@pytest.mark.parametrize("block", [4, 16, 256])
@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize(("heads", "key_value_heads"), HEADS)
def test_cached_attention_equals_the_definition_at_each_rows_own_length(
    monkeypatch, heads, key_value_heads, time, block
):
    monkeypatch.setattr(blocks, "BLOCK", block)
    rng = np.random.default_rng([heads, key_value_heads, time, block])
    capacity, lengths = 30, np.array([0, 17, 27], "int32")
    key, value = rng.normal(size=(2, 3, capacity, key_value_heads, 8)).astype("float32")
    query = rng.normal(size=(3, time, heads, 8)).astype("float32")
    for row, length in enumerate(lengths):
        key[row, length + time :] = np.nan
        value[row, length + time :] = np.nan
    cache = LayerCache(key=jnp.asarray(key), value=jnp.asarray(value), lengths=jnp.asarray(lengths))
    result = np.asarray(attend_cached(jnp.asarray(query), cache))
    for row, length in enumerate(lengths):
        used = length + time
        allowed = length + np.arange(time)[:, None] >= np.arange(used)
        expected = written_out(query[row], key[row, :used], value[row, :used], allowed)
        np.testing.assert_allclose(
            result[row], expected, rtol=tolerance("operation", "float32"), atol=tolerance("operation", "float32")
        )


def test_a_row_of_padding_alone_gives_finite_numbers():
    rng = np.random.default_rng(0)
    query, key, value = (jnp.asarray(rng.normal(size=(1, 4, 2, 8)), "float32") for _ in range(3))
    assert np.isfinite(np.asarray(attention(query, key, value, jnp.zeros((1, 4), "int32")))).all()
