"""Attention of a few new tokens over a cache in blocks of slots, any platform.

The cache is read only as far as the longest row has come, with a running softmax (Milakov and Gimelshein, 2018,
algorithm 3), so neither work nor memory grows with the capacity. The block size is fixed, so a row's sums are made in
the same order whatever the batch or the capacity.
"""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Bool, Float, Int

# Slots that one step reads. Small enough that a short prompt does not pay for a long cache; large enough that the loop
# itself is cheap.
BLOCK = 256
_MASKED = -1e30


def decode_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    lengths: Int[Array, " B"],
    key_scale: Float[Array, "B S K"] | None = None,
    value_scale: Float[Array, "B S K"] | None = None,
) -> Float[Array, "B T N H"]:
    """As `reference.decode_attention`, in the dtype of `query`; softmax and sums in float32.

    Products are in the dtype of the cache, or for an int8 one in the dtype of `query`.
    """
    batch, time, heads, width = query.shape
    capacity, kv_heads = key.shape[1], key.shape[2]
    product_dtype = query.dtype if key.dtype == jnp.int8 else key.dtype
    scaled = query * jnp.asarray(width**-0.5, query.dtype)
    grouped = scaled.reshape(batch, time, kv_heads, heads // kv_heads, width)
    grouped = grouped.transpose(0, 2, 3, 1, 4).astype(product_dtype)  # B K G T H
    positions = lengths[:, None] + jnp.arange(time, dtype=jnp.int32)  # B T
    block = min(BLOCK, capacity)
    # Invariant after block i: `total` and `mixed` are the softmax's denominator and numerator over the slots of
    # blocks 0 .. i, relative to exp(`highest`). Slot 0 is visible to every query, so `highest` is real after block 0.
    highest = jnp.full(grouped.shape[:-1], _MASKED, jnp.float32)
    total = jnp.zeros(grouped.shape[:-1], jnp.float32)
    mixed = jnp.zeros(grouped.shape, jnp.float32)

    def read_block(step: Int[Array, ""], running: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        # The last block of a capacity that is no multiple is moved left; slots read before are masked out.
        start = jnp.minimum(step * block, capacity - block)
        slots = start + jnp.arange(block, dtype=jnp.int32)
        # A weight of 0 does not hide what an unwritten slot holds if that is infinite or NaN.
        written = slots[None, :] < (lengths + time)[:, None]  # B S
        block_key = _read(key, key_scale, start, block=block, dtype=product_dtype)
        block_value = _read(value, value_scale, start, block=block, dtype=product_dtype)
        block_value = jnp.where(written[:, :, None, None], block_value, 0)
        allowed = (slots[None, None, :] <= positions[:, :, None]) & (slots >= step * block)  # B T S
        return _add_block(running, grouped, block_key, block_value, allowed)

    used = jnp.max(lengths) + time
    steps = (used + block - 1) // block
    _, total, mixed = jax.lax.fori_loop(0, steps, read_block, (highest, total, mixed))
    joined = (mixed / total[..., None]).transpose(0, 3, 1, 2, 4)  # B T K G H
    return joined.reshape(query.shape).astype(query.dtype)


def _read(
    x: Float[Array, "B S K H"],
    scale: Float[Array, "B S K"] | None,
    start: Int[Array, ""],
    *,
    block: int,
    dtype: jnp.dtype,
) -> Float[Array, "B block K H"]:
    rows = jax.lax.dynamic_slice_in_dim(x, start, block, axis=1)
    if scale is None:
        return rows
    return (rows * jax.lax.dynamic_slice_in_dim(scale, start, block, axis=1)[..., None]).astype(dtype)


def _add_block(
    running: tuple[Array, Array, Array],
    query: Float[Array, "B K G T H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    allowed: Bool[Array, "B T S"],
) -> tuple[Array, Array, Array]:
    highest, total, mixed = running
    scores = jnp.einsum("bkgth,bskh->bkgts", query, key, preferred_element_type=jnp.float32)
    scores = jnp.where(allowed[:, None, None], scores, _MASKED)
    new_highest = jnp.maximum(highest, scores.max(-1))
    weights = jnp.where(allowed[:, None, None], jnp.exp(scores - new_highest[..., None]), 0.0)
    old = jnp.exp(highest - new_highest)
    values = jnp.einsum("bkgts,bskh->bkgth", weights.astype(value.dtype), value, preferred_element_type=jnp.float32)
    return new_highest, total * old + weights.sum(-1), mixed * old[..., None] + values
