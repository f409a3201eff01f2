"""The queries that share a key-value head, as the rows of one matrix: what the Pallas kernels multiply at a time."""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float


def grouped(query: Float[Array, "B T N H"], *, kv_heads: int, rows: int) -> Float[Array, "B K R H"]:
    """Scaled queries; row r is query r // G of its head, and rows from T G on, which fill up to `rows`, are 0."""
    batch, time, heads, width = query.shape
    groups = heads // kv_heads
    scaled = query * jnp.asarray(width**-0.5, query.dtype)
    found = scaled.reshape(batch, time, kv_heads, groups, width).transpose(0, 2, 1, 3, 4)
    found = found.reshape(batch, kv_heads, time * groups, width)
    return jnp.pad(found, ((0, 0), (0, 0), (0, rows - time * groups), (0, 0)))


def ungrouped(mixed: Float[Array, "B K R H"], like: Float[Array, "B T N H"]) -> Float[Array, "B T N H"]:
    """The results of the first T G rows, in the shape and dtype of the queries."""
    batch, time, heads, width = like.shape
    kv_heads = mixed.shape[1]
    groups = heads // kv_heads
    found = mixed[:, :, : time * groups].reshape(batch, kv_heads, time, groups, width)
    return found.transpose(0, 2, 1, 3, 4).reshape(like.shape).astype(like.dtype)
