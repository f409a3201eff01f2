"""Causal attention within segments in blocks: memory linear in the length, any platform.

The forward pass keeps a running softmax per block of queries (Milakov and Gimelshein, 2018); the backward pass computes
each block of weights again from the logarithm of its denominator (Dao et al., 2022, algorithm 4). Blocks that lie
wholly in the future are never touched, which halves the work.

    queries  | keys: block 0   1   2        o computed, diagonal masked inside
    block 0  |          o   .   .           . skipped
    block 1  |          o   o   .
    block 2  |          o   o   o
"""

from functools import partial
from typing import cast

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Bool, Float, Int

DEFAULT_BLOCK = 256
_MASKED = -1e30
_PADDING = -1
"""Segment of the slots that fill up the last block: no query of the caller has it, and they see themselves."""


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"],
    *,
    block: int = DEFAULT_BLOCK,
) -> Float[Array, "B T N H"]:
    """As `reference.attention`, in the dtype of `query`; products in that dtype, sums and softmax in float32.

    Args:
        query: not yet scaled.
        key: one head for each N / K query heads.
        value: likewise.
        segment_ids: a query sees the keys at or before it that have its id; any integers of 0 or more.
        block: queries and keys in a block; the length is padded up to a multiple of it, or becomes the block.
    """
    batch, time, heads, width = query.shape
    kv_heads = key.shape[2]
    block = min(block, time)
    missing = -time % block
    pad = ((0, 0), (0, missing), (0, 0), (0, 0))
    grouped = jnp.pad(query, pad).reshape(batch, time + missing, kv_heads, heads // kv_heads, width)
    segments = jnp.pad(segment_ids, ((0, 0), (0, missing)), constant_values=_PADDING)
    mixed = _attention(
        grouped.transpose(0, 2, 3, 1, 4),  # B K G T H
        jnp.pad(key, pad).transpose(0, 2, 1, 3),  # B K S H
        jnp.pad(value, pad).transpose(0, 2, 1, 3),
        segments,
        block,
    )
    return cast(Array, mixed).transpose(0, 3, 1, 2, 4).reshape(batch, time + missing, heads, width)[:, :time]


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attention(query: Array, key: Array, value: Array, segment_ids: Array, block: int) -> Array:
    return _forward(query, key, value, segment_ids, block)[0]


def _forward(
    query: Float[Array, "B K G T H"],
    key: Float[Array, "B K S H"],
    value: Float[Array, "B K S H"],
    segment_ids: Int[Array, "B T"],
    block: int,
) -> tuple[Float[Array, "B K G T H"], tuple[Array, ...]]:
    def query_block(index: Int[Array, ""]) -> tuple[Array, Array]:
        block_query = _rows(query, index, block)

        def key_block(step: Int[Array, ""], running: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            highest, total, mixed = running
            scores = _scores(block_query, _rows(key, step, block), segment_ids, index, step, block)
            new_highest = jnp.maximum(highest, scores.max(-1))
            weights = jnp.exp(scores - new_highest[..., None])
            old = jnp.exp(highest - new_highest)
            values = _product("bkgts,bksh->bkgth", weights.astype(value.dtype), _rows(value, step, block))
            return new_highest, total * old + weights.sum(-1), mixed * old[..., None] + values

        shape = block_query.shape[:-1]
        empty = jnp.full(shape, _MASKED), jnp.zeros(shape), jnp.zeros(block_query.shape, jnp.float32)
        # From the diagonal back to the start: the first block holds the query's own key, so `highest` is real at once.
        highest, total, mixed = jax.lax.fori_loop(
            0, index + 1, lambda step, running: key_block(index - step, running), empty
        )
        return (mixed / total[..., None]).astype(query.dtype), highest + jnp.log(total)

    blocks = jnp.arange(query.shape[3] // block, dtype=jnp.int32)
    mixed, log_total = jax.lax.map(query_block, blocks)  # blocks first
    output = jnp.moveaxis(mixed, 0, 3).reshape(query.shape)
    log_total = jnp.moveaxis(log_total, 0, 3).reshape(query.shape[:-1])
    return output, (query, key, value, segment_ids, output, log_total)


def _backward(block: int, saved: tuple[Array, ...], gradient: Float[Array, "B K G T H"]) -> tuple[Array | None, ...]:
    query, key, value, segment_ids, output, log_total = saved
    scale = query.shape[-1] ** -0.5
    # d softmax: weight * (d weight - sum over keys of weight * d weight), and that sum is output . gradient.
    along = jnp.sum(output.astype(jnp.float32) * gradient.astype(jnp.float32), axis=-1)  # B K G T
    num_blocks = query.shape[3] // block

    def key_block(query_gradient: Array, step: Int[Array, ""]) -> tuple[Array, tuple[Array, Array]]:
        block_key, block_value = _rows(key, step, block), _rows(value, step, block)

        def query_block(index: Int[Array, ""], sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            query_sum, key_sum, value_sum = sums
            block_query, block_gradient = _rows(query, index, block), _rows(gradient, index, block)
            scores = _scores(block_query, block_key, segment_ids, index, step, block)
            weights = jnp.exp(scores - _entries(log_total, index, block)[..., None])
            value_sum += _product("bkgts,bkgth->bksh", weights.astype(value.dtype), block_gradient)
            weight_gradient = _product("bkgth,bksh->bkgts", block_gradient, block_value)
            score_gradient = weights * (weight_gradient - _entries(along, index, block)[..., None])
            score_gradient = (score_gradient * scale).astype(query.dtype)
            key_sum += _product("bkgts,bkgth->bksh", score_gradient, block_query)
            added = _rows(query_sum, index, block) + _product("bkgts,bksh->bkgth", score_gradient, block_key)
            query_sum = jax.lax.dynamic_update_slice_in_dim(query_sum, added, index * block, axis=3)
            return query_sum, key_sum, value_sum

        zero = jnp.zeros(block_key.shape, jnp.float32)
        query_gradient, key_sum, value_sum = jax.lax.fori_loop(
            step, num_blocks, query_block, (query_gradient, zero, zero)
        )
        return query_gradient, (key_sum, value_sum)

    start = jnp.zeros(query.shape, jnp.float32)
    steps = jnp.arange(num_blocks, dtype=jnp.int32)
    query_gradient, by_block = jax.lax.scan(key_block, start, steps)
    key_gradient, value_gradient = (jnp.moveaxis(x, 0, 2).reshape(key.shape) for x in by_block)
    return (
        query_gradient.astype(query.dtype),
        key_gradient.astype(key.dtype),
        value_gradient.astype(value.dtype),
        None,
    )


_attention.defvjp(_forward, _backward)


def _scores(
    query: Float[Array, "B K G T H"],
    key: Float[Array, "B K S H"],
    segment_ids: Int[Array, "B T"],
    query_index: Int[Array, ""],
    key_index: Int[Array, ""],
    block: int,
) -> Float[Array, "B K G T S"]:
    """Scaled scores of one block of queries with one of keys; not allowed ones are very low."""
    scores = _product("bkgth,bksh->bkgts", query, key) * query.shape[-1] ** -0.5
    return jnp.where(_allowed(segment_ids, query_index, key_index, block)[:, None, None], scores, _MASKED)


def _allowed(
    segment_ids: Int[Array, "B T"], query_index: Int[Array, ""], key_index: Int[Array, ""], block: int
) -> Bool[Array, "B T S"]:
    index = jnp.arange(block)
    causal = (query_index * block + index)[:, None] >= (key_index * block + index)
    of_queries, of_keys = (_entries(segment_ids, i, block) for i in (query_index, key_index))
    return causal & (of_queries[:, :, None] == of_keys[:, None, :])


def _rows(x: Float[Array, "... T H"], index: Int[Array, ""], block: int) -> Float[Array, "... block H"]:
    return jax.lax.dynamic_slice_in_dim(x, index * block, block, axis=x.ndim - 2)


def _entries(x: Float[Array, "... T"], index: Int[Array, ""], block: int) -> Float[Array, "... block"]:
    return jax.lax.dynamic_slice_in_dim(x, index * block, block, axis=x.ndim - 1)


def _product(equation: str, x: Array, y: Array) -> Float[Array, "..."]:
    return jnp.einsum(equation, x, y, preferred_element_type=jnp.float32)
