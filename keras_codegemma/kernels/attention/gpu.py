"""Causal attention within segments on NVIDIA GPUs: JAX's own Triton kernels, with our tiles, padding and head grouping.

`jax.experimental.pallas.ops.gpu.attention` skips the blocks of the future, keeps scores in registers and has a backward
pass of one kernel. It knows no groups of heads, so keys and values are repeated for their queries, [B, T, N, H] each;
their gradients are summed over the groups by the repetition's own derivative. Memory is linear in T.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.gpu.attention import BlockSizes, mha

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels import cuda

MIN_WIDTH = 16
"""The tensor cores' smallest product."""
_PADDING = -1
"""Segment of the slots that fill up the last block: no query of the caller has it, and they see themselves."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Queries and keys that one program of the kernels holds.

    Attributes:
        query: rows of queries, forwards.
        key: rows of keys and values, forwards.
        long: backwards, rows of what a program makes the gradient of.
        short: backwards, rows of what it goes through.
    """

    query: int
    key: int
    long: int
    short: int

    def __post_init__(self):
        sizes = self.query, self.key, self.long, self.short
        if any(size < MIN_WIDTH or size & (size - 1) for size in sizes):
            raise ValueError(f"Attention tiles must be powers of two from {MIN_WIDTH} on; got {sizes}. Round them up.")


SMALL_TILES = Tiles(query=64, key=32, long=32, short=32)
"""For 99 KiB of shared memory a program at a head width of 256: every GPU from Ampere on."""
LARGE_TILES = Tiles(query=128, key=64, long=64, short=32)
"""For 163 KiB: A100, H100 and what came after them."""


def tiles_for_this_gpu() -> Tiles:
    """The large ones where programs are compiled on a GPU that has room for them."""
    return LARGE_TILES if cuda.is_roomy() else SMALL_TILES


def supports(query: Array | jax.ShapeDtypeStruct, key: Array | jax.ShapeDtypeStruct) -> str | None:
    """Why these shapes ([B, T, N, H] and [B, T, K, H]) and dtypes cannot run, or None when they can."""
    width = query.shape[3]
    if not MIN_WIDTH <= width <= 256:
        return f"heads must be {MIN_WIDTH} to 256 wide, got {width}"
    if query.dtype != jnp.bfloat16 or key.dtype != jnp.bfloat16:
        return f"queries and keys must both be bfloat16, got {query.dtype} and {key.dtype}"
    return cuda.refusal()


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"],
    *,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """As `reference.attention`, in bfloat16; sums and softmax in float32.

    Args:
        query: not yet scaled.
        key: one head for each N / K query heads.
        value: likewise.
        segment_ids: any integers of 0 or more.
        tiles: by `tiles_for_this_gpu` when None. T is padded up to a multiple of each.
        interpret: run on any platform, slowly, for tests.
    """
    _, time, heads, width = query.shape
    tiles = tiles or tiles_for_this_gpu()
    missing = -time % max(tiles.query, tiles.key, tiles.long, tiles.short)
    groups = heads // key.shape[2]
    query, key, value = (
        jnp.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0)))
        for x in (query, jnp.repeat(key, groups, axis=2), jnp.repeat(value, groups, axis=2))
    )
    mixed: Array = mha(
        query,
        key,
        value,
        jnp.pad(segment_ids, ((0, 0), (0, missing)), constant_values=_PADDING),
        sm_scale=width**-0.5,
        causal=True,
        block_sizes=BlockSizes(
            block_q=tiles.query,
            block_k=tiles.key,
            block_q_dkv=tiles.short,
            block_kv_dkv=tiles.long,
            block_q_dq=tiles.long,
            block_kv_dq=tiles.short,
        ),
        interpret=interpret,
    )
    return mixed[:, :time]
