"""Causal attention within segments on TPU: JAX's own splash attention, with our tiles and head grouping.

Splash attention (jax.experimental.pallas.ops.tpu.splash_attention) skips the blocks of the future, keeps scores in VMEM
and has a backward pass of two kernels, one for queries and one for keys and values. Its fused backward kernel is left
out: it writes one partial query gradient per block of keys, so its memory grows with T squared.
"""

from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    BlockSizes,
    CausalMask,
    MultiHeadMask,
    SegmentIds,
    make_splash_mha,
)

from keras_codegemma.axes import Array, Float, Int

LANES = 128
"""Size of a vector register's last axis; lengths and head widths must be multiples of it."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Queries and keys that one step of the kernels holds in VMEM.

    Args:
        query: rows of queries.
        key: rows of keys and values.
    """

    query: int = 512
    key: int = 512

    def __post_init__(self):
        if self.query % LANES or self.key % LANES or min(self.query, self.key) < LANES:
            raise ValueError(
                f"Attention tiles must be multiples of {LANES}; got query={self.query}, key={self.key}. Round them up."
            )


def tiles_for(time: int) -> Tiles:
    """The largest tiles of at most 512 rows that divide a length which `supports` accepts."""
    rows = next(rows for rows in (512, 384, 256, LANES) if time % rows == 0)
    return Tiles(query=rows, key=rows)


def vmem_bytes(tiles: Tiles, *, head_dim: int, itemsize: int) -> int:
    """Bytes of VMEM that the largest of the three kernels, the one of key and value gradients, holds at once."""
    query_tile, key_tile = tiles.query * head_dim * itemsize, tiles.key * head_dim * itemsize
    return (
        2 * 2 * query_tile  # queries and output gradients, double-buffered
        + 2 * 2 * key_tile  # keys and values, double-buffered
        + 2 * 2 * key_tile  # their gradients, double-buffered
        + 2 * tiles.key * head_dim * 4  # float32 sums of both
        + 4 * tiles.query * tiles.key * 4  # scores, weights and their gradients
        + 2 * 3 * 8 * tiles.query * 4  # log sums, sums along the output, segments: rows of 8 sublanes
        + 2 * tiles.key * LANES * 4  # segments of the keys, one lane used
    )


def supports(query: Array | jax.ShapeDtypeStruct, key: Array | jax.ShapeDtypeStruct) -> str | None:
    """Why these shapes ([B, T, N, H] and [B, T, K, H]) and dtypes cannot run, or None when they can."""
    time, width = query.shape[1], query.shape[3]
    if time % LANES:
        return f"the length must be a multiple of {LANES}, got {time}"
    if width % LANES:
        return f"the head width must be a multiple of {LANES}, got {width}"
    if query.dtype not in (jnp.bfloat16, jnp.float32) or key.dtype != query.dtype:
        return f"queries and keys must both be bfloat16 or float32, got {query.dtype} and {key.dtype}"
    return None


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"],
    *,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """As `reference.attention`, in the dtype of `query`.

    Args:
        query: not yet scaled.
        key: one head for each N / K query heads.
        value: likewise.
        segment_ids: any integers.
        tiles: by `tiles_for` when None; both must divide T.
        interpret: run on any platform, slowly, for tests.
    """
    _, time, heads, width = query.shape
    tiles = tiles or tiles_for(time)
    kernel = make_splash_mha(
        MultiHeadMask([CausalMask((time, time))] * heads),
        block_sizes=BlockSizes(
            block_q=tiles.query,
            block_kv=tiles.key,
            block_q_dkv=tiles.query,
            block_kv_dkv=tiles.key,
            block_q_dq=tiles.query,
            block_kv_dq=tiles.key,
        ),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    segments = SegmentIds(q=segment_ids, kv=segment_ids)
    scaled = query * jnp.asarray(width**-0.5, query.dtype)
    by_head = (x.transpose(0, 2, 1, 3) for x in (scaled, key, value))  # B N T H
    mixed = cast(Array, jax.vmap(kernel)(*by_head, segments))
    return mixed.transpose(0, 2, 1, 3)
