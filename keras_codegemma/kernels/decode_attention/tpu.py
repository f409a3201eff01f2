"""Attention of a few new tokens over a cache on TPU: only blocks of slots that a row has used are read.

    grid (row, key-value head, block of slots)

    row of 700 slots in blocks of 256:   block 0 | block 1 | block 2 | block 2 again | ...
                                          read     read      read      not read: the same block as before

The lengths come before the grid starts (scalar prefetch), so the index of the block to fetch is clamped to the row's
last used one: Pallas does not fetch a block twice in a row, and the body skips it. A cache [B, S, K, H] is taken as
[B, S, K H], so that one head's slots are a legal tile for any number of heads.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.decode_attention import query_rows

LANES = 128
QUERY_ROWS = 16
"""Rows of a bfloat16 register: query rows (T times G) are padded to a multiple of it."""
MAX_BLOCK = 512
VMEM_LIMIT_BYTES = 16 * 2**20
"""What the TPU compiler gives a kernel unless asked for more. Long chunks of a prompt are attended in pieces."""
_MASKED = -1e30


def block_for(slots: int) -> int | None:
    """Slots in a block: the largest of 512, 256 and 128 that divides the capacity, or None."""
    return next((block for block in (MAX_BLOCK, 256, LANES) if slots % block == 0), None)


def vmem_bytes(*, query_rows: int, block: int, head_dim: int, itemsize: int, cache_itemsize: int) -> int:
    """Bytes of VMEM that the kernel holds at once, for T times G query rows of one key-value head."""
    rows = -(-query_rows // QUERY_ROWS) * QUERY_ROWS
    return (
        2 * 2 * block * head_dim * cache_itemsize  # keys and values, double-buffered
        + 2 * block * head_dim * itemsize  # the same in the queries' dtype
        + 2 * 2 * rows * head_dim * itemsize  # queries and result, double-buffered
        + rows * head_dim * 4  # weighted values so far
        + 2 * rows * LANES * 4  # highest score and denominator: a column takes whole registers
        + 3 * rows * max(block, LANES) * 4  # scores, weights, mask
        + 2 * 2 * 8 * block * 4  # scales of an int8 cache, double-buffered
    )


def supports(query: Array | jax.ShapeDtypeStruct, key: Array | jax.ShapeDtypeStruct) -> str | None:
    """Why these shapes ([B, T, N, H] and [B, S, K, H]) and dtypes cannot run, or None when they can."""
    width = query.shape[3]
    if width % LANES:
        return f"the head width must be a multiple of {LANES}, got {width}"
    if block_for(key.shape[1]) is None:
        return f"the cache's capacity must be a multiple of {LANES}, got {key.shape[1]}"
    if query.dtype not in (jnp.bfloat16, jnp.float32):
        return f"queries must be bfloat16 or float32, got {query.dtype}"
    if key.dtype not in (query.dtype, jnp.int8):
        return f"the cache must be int8 or of the queries' dtype, got {key.dtype} for {query.dtype}"
    return None


def decode_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    lengths: Int[Array, " B"],
    key_scale: Float[Array, "B S K"] | None = None,
    value_scale: Float[Array, "B S K"] | None = None,
    *,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """As `reference.decode_attention`, in the dtype of `query`; products in it, sums and softmax in float32.

    Args:
        query: not yet scaled.
        key: cached keys, of the dtype of `query`, or int8 with `key_scale`.
        value: likewise.
        lengths: tokens of each row before these; lengths + T <= S.
        key_scale: float32, one for each slot and head.
        value_scale: likewise.
        interpret: run on any platform, slowly, for tests.
    """
    batch, time, heads, width = query.shape
    slots, kv_heads = key.shape[1], key.shape[2]
    groups = heads // kv_heads
    block = block_for(slots)
    assert block is not None
    needed = vmem_bytes(
        query_rows=time * groups,
        block=block,
        head_dim=width,
        itemsize=query.dtype.itemsize,
        cache_itemsize=key.dtype.itemsize,
    )
    if needed > VMEM_LIMIT_BYTES and time > 1:
        first = time // 2
        pieces = ((query[:, :first], lengths), (query[:, first:], lengths + first))
        halves = [
            decode_attention(piece, key, value, before, key_scale, value_scale, interpret=interpret)
            for piece, before in pieces
        ]
        return jnp.concatenate(halves, axis=1)
    rows = -(-time * groups // QUERY_ROWS) * QUERY_ROWS
    grouped = query_rows.grouped(query, kv_heads=kv_heads, rows=rows)
    scales = () if key_scale is None or value_scale is None else (key_scale, value_scale)

    def of_cache(b: Array, k: Array, s: Array, lengths_ref: Array) -> tuple[Array, ...]:
        return b, jnp.minimum(s, jax.lax.div(lengths_ref[b] + time - 1, block)), k

    def of_scales(b: Array, k: Array, s: Array, lengths_ref: Array) -> tuple[Array | int, ...]:
        return b, k, 0, jnp.minimum(s, jax.lax.div(lengths_ref[b] + time - 1, block))

    of_query = pl.BlockSpec((1, 1, rows, width), lambda b, k, s, lengths_ref: (b, k, 0, 0))
    cached = pl.BlockSpec((1, block, width), of_cache)
    mixed = pl.pallas_call(
        partial(_kernel, time=time, groups=groups, block=block, scaled=bool(scales)),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(batch, kv_heads, slots // block),
            in_specs=[of_query, cached, cached, *[pl.BlockSpec((1, 1, 1, block), of_scales)] * len(scales)],
            out_specs=of_query,
            scratch_shapes=[
                pltpu.VMEM((rows, 1), jnp.float32),
                pltpu.VMEM((rows, 1), jnp.float32),
                pltpu.VMEM((rows, width), jnp.float32),
            ],
        ),
        out_shape=jax.ShapeDtypeStruct(grouped.shape, query.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        interpret=interpret,
        name="decode_attention",
    )(
        lengths.astype(jnp.int32),
        grouped,
        key.reshape(batch, slots, kv_heads * width),
        value.reshape(batch, slots, kv_heads * width),
        *(scale.transpose(0, 2, 1)[:, :, None] for scale in scales),  # B K 1 S
    )
    return query_rows.ungrouped(mixed, query)


def _kernel(lengths_ref, query_ref, key_ref, value_ref, *refs, time, groups, block, scaled):
    scale_refs, (out_ref, highest, total, mixed) = refs[: 2 * scaled], refs[2 * scaled :]
    row, step = pl.program_id(0), pl.program_id(2)
    used = lengths_ref[row] + time

    @pl.when(step == 0)
    def _init():
        highest[...] = jnp.full_like(highest, _MASKED)
        total[...] = jnp.zeros_like(total)
        mixed[...] = jnp.zeros_like(mixed)

    @pl.when(step * block < used)
    def _run():
        _add_block(
            *(query_ref, key_ref, value_ref, scale_refs, highest, total, mixed),
            first=step * block,
            used=used,
            time=time,
            groups=groups,
        )

    @pl.when(step == pl.num_programs(2) - 1)
    def _finish():
        out_ref[0, 0] = (mixed[...] / total[...]).astype(out_ref.dtype)


def _add_block(query_ref, key_ref, value_ref, scale_refs, highest, total, mixed, *, first, used, time, groups):
    """Invariant: afterwards the sums hold the slots up to and with this block; slot 0 is visible to every query."""
    query = query_ref[0, 0]  # R H
    key, value = key_ref[0].astype(query.dtype), value_ref[0].astype(query.dtype)  # S H
    slot = first + jax.lax.broadcasted_iota(jnp.int32, (1, key.shape[0]), 1)
    scores = jax.lax.dot_general(query, key, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    if scale_refs:
        scores *= scale_refs[0][0, 0]
    # Rows that only fill up the register (their query number is T or more) see what the last query sees.
    query_number = jax.lax.div(jax.lax.broadcasted_iota(jnp.int32, (query.shape[0], 1), 0), groups)
    allowed = slot <= used - time + jnp.minimum(query_number, time - 1)
    scores = jnp.where(allowed, scores, _MASKED)
    new = jnp.maximum(highest[...], scores.max(-1, keepdims=True))
    weights = jnp.where(allowed, jnp.exp(scores - new), 0.0)
    old = jnp.exp(highest[...] - new)
    total[...] = total[...] * old + weights.sum(-1, keepdims=True)
    if scale_refs:
        weights = jnp.where(slot < used, weights * scale_refs[1][0, 0], 0.0)
    # A weight of 0 does not hide what an unwritten slot holds if that is NaN.
    slot_of_row = first + jax.lax.broadcasted_iota(jnp.int32, (key.shape[0], 1), 0)
    value = jnp.where(slot_of_row < used, value, jnp.zeros_like(value))
    mixed[...] = mixed[...] * old + jnp.dot(weights.astype(query.dtype), value, preferred_element_type=jnp.float32)
    highest[...] = new
