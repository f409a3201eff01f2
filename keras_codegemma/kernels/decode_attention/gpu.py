"""Attention of a few new tokens over a cache on NVIDIA GPUs, in Triton: parts of a row side by side, then their mean.

One token alone would keep one multiprocessor busy, so the slots of a row are cut into parts, a program each, which
leave their softmax's numerator, denominator and maximum; a program beyond a row's tokens reads nothing (Dao et al.,
2023, "Flash-Decoding"). The cut depends on the model and T alone: a row's sums are made in the same order whatever the
batch is, and whatever the capacity. A prompt has programs enough, and is not cut.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels import cuda
from keras_codegemma.kernels.decode_attention import query_rows

MIN_ROWS = 16
"""The tensor cores' smallest product: query rows (T times G) are padded to it, blocks of slots have no fewer."""
MAX_ROWS = 32
"""Query rows of a program; with more, registers and 99 KiB of shared memory do not suffice at a head width of 256."""
_BLOCK_BYTES = 16384
"""Of keys, and of values, that a program reads at a time."""
_CUT_ROWS = 128
"""Query rows of a row up to which it is cut."""
_MASKED = -1e30


def supports(query: Array | jax.ShapeDtypeStruct, key: Array | jax.ShapeDtypeStruct) -> str | None:
    """Why these shapes ([B, T, N, H] and [B, S, K, H]) and dtypes cannot run, or None when they can."""
    width = query.shape[3]
    if width not in (16, 32, 64, 128, 256):
        return f"heads must be 16, 32, 64, 128 or 256 wide, got {width}"
    if key.shape[1] < MIN_ROWS:
        return f"the cache must have {MIN_ROWS} slots or more, got {key.shape[1]}"
    if query.dtype != jnp.bfloat16:
        return f"queries must be bfloat16, got {query.dtype}"
    if key.dtype not in (jnp.bfloat16, jnp.int8):
        return f"the cache must be bfloat16 or int8, got {key.dtype}"
    return cuda.refusal()


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
    """As `reference.decode_attention`, in bfloat16; products in it, sums and softmax in float32.

    Args:
        query: bfloat16, not yet scaled.
        key: cached keys, bfloat16, or int8 with `key_scale`.
        value: likewise.
        lengths: tokens of each row before these; lengths + T <= S.
        key_scale: float32, one for each slot and head.
        value_scale: likewise.
        interpret: run on any platform, slowly, for tests.
    """
    batch, time, heads, width = query.shape
    slots, kv_heads = key.shape[1], key.shape[2]
    groups = heads // kv_heads
    rows = min(MAX_ROWS, max(MIN_ROWS, pl.next_power_of_2(time * groups)))
    tiles = pl.cdiv(time * groups, rows)
    block = _block_for(slots, width * key.dtype.itemsize)
    part = _part_for(time * groups, kv_heads) or slots
    parts = pl.cdiv(slots, part)

    grouped = query_rows.grouped(query, kv_heads=kv_heads, rows=tiles * rows)
    scales = () if key_scale is None or value_scale is None else (key_scale, value_scale)

    cached = pl.BlockSpec((None, slots, None, width), lambda p, t, bk: (bk // kv_heads, 0, bk % kv_heads, 0))
    of_slots = pl.BlockSpec((None, slots, None), lambda p, t, bk: (bk // kv_heads, 0, bk % kv_heads))
    of_rows = pl.BlockSpec((None, None, None, rows), lambda p, t, bk: (bk // kv_heads, bk % kv_heads, p, t))
    mixed, highest, total = pl.pallas_call(
        partial(_kernel, time=time, groups=groups, slots=slots, block=block, part=part, scaled=bool(scales)),
        grid=(parts, tiles, batch * kv_heads),
        in_specs=[
            pl.BlockSpec((None,), lambda p, t, bk: (bk // kv_heads,)),
            pl.BlockSpec((None, None, rows, width), lambda p, t, bk: (bk // kv_heads, bk % kv_heads, t, 0)),
            cached,
            cached,
            *[of_slots] * len(scales),
        ],
        out_specs=[
            pl.BlockSpec((None, None, None, rows, width), lambda p, t, bk: (bk // kv_heads, bk % kv_heads, p, t, 0)),
            of_rows,
            of_rows,
        ],
        out_shape=[
            jax.ShapeDtypeStruct((batch, kv_heads, parts, tiles * rows, width), jnp.float32),
            *[jax.ShapeDtypeStruct((batch, kv_heads, parts, tiles * rows), jnp.float32)] * 2,
        ],
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
        interpret=interpret,
        name="decode_attention",
    )(lengths.astype(jnp.int32), grouped, key, value, *scales)
    used = (x[:, :, :, : time * groups] for x in (mixed, highest, total))
    return query_rows.ungrouped(_join(*used), query)


def _block_for(slots: int, slot_bytes: int) -> int:
    """Slots that a program reads at a time: a power of two, no more than there are."""
    most = max(MIN_ROWS, min(128, _BLOCK_BYTES // slot_bytes))
    return min(most, 1 << (slots.bit_length() - 1))


def _part_for(query_rows: int, kv_heads: int) -> int | None:
    """Slots of a part, a multiple of every block; None for all of them.

    Small enough that one row of 8192 slots has 64 programs a head with few heads, and 256 in all with 16.
    """
    if query_rows > _CUT_ROWS:
        return None
    return 128 if kv_heads <= 4 else 512


def _join(
    mixed: Float[Array, "B K P R H"], highest: Float[Array, "B K P R"], total: Float[Array, "B K P R"]
) -> Float[Array, "B K R H"]:
    """The softmax's mean over all parts. The first part holds slot 0, which every query sees."""
    share = jnp.exp(highest - highest.max(2, keepdims=True))
    return jnp.einsum("bkprh,bkpr->bkrh", mixed, share) / jnp.einsum("bkpr,bkpr->bkr", total, share)[..., None]


def _kernel(length_ref, query_ref, key_ref, value_ref, *refs, time, groups, slots, block, part, scaled):
    """Rows that only fill up a tile (their query number is T or more) see what the last query sees, and are dropped."""
    scale_refs, (mixed_ref, highest_ref, total_ref) = refs[: 2 * scaled], refs[2 * scaled :]
    rows, width = query_ref.shape
    query = query_ref[...]
    length = length_ref[...]
    number = jax.lax.div(pl.program_id(1) * rows + jnp.arange(rows), groups)
    last = length + jnp.minimum(number, time - 1)  # the last slot that each row sees
    start = pl.program_id(0) * part
    stop = jnp.minimum(jnp.minimum(start + part, length + time), slots)

    def add_block(step: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """Invariant: afterwards the sums hold the part's slots up to and with this block."""
        highest, total, mixed = sums
        first = start + step * block
        # The last block of a capacity that is no multiple of it is moved left, over slots that were read before.
        place = jnp.minimum(first, slots - block)
        slot = place + jnp.arange(block)
        is_new = (slot >= first) & (slot < stop)
        key = _read(key_ref, place, is_new[:, None]).astype(query.dtype)
        value = _read(value_ref, place, is_new[:, None]).astype(query.dtype)
        scores = triton.dot(query, key.T)
        if scaled:
            scores *= _read(scale_refs[0], place, is_new)[None, :]
        allowed = is_new[None, :] & (slot[None, :] <= last[:, None])
        scores = jnp.where(allowed, scores, _MASKED)
        new = jnp.maximum(highest, scores.max(-1))
        weights = jnp.where(allowed, jnp.exp(scores - new[:, None]), 0.0)
        old = jnp.exp(highest - new)
        total = total * old + weights.sum(-1)
        if scaled:
            weights *= _read(scale_refs[1], place, is_new)[None, :]
        return new, total, mixed * old[:, None] + triton.dot(weights.astype(query.dtype), value)

    empty = (
        jnp.full((rows,), _MASKED, jnp.float32),
        jnp.zeros((rows,), jnp.float32),
        jnp.zeros((rows, width), jnp.float32),
    )
    steps = jnp.maximum(jax.lax.div(stop - start + block - 1, block), 0)
    highest, total, mixed = jax.lax.fori_loop(0, steps, add_block, empty)
    is_row = pl.program_id(1) * rows + jnp.arange(rows) < time * groups
    triton.store(mixed_ref, mixed, mask=is_row[:, None])
    highest_ref[...] = highest
    total_ref[...] = total


def _read(ref: Any, place: Array, is_new: Array) -> Array:
    """A block of slots; what is not to be read is 0, whatever it holds."""
    index = pl.ds(place, is_new.shape[0])
    other = jnp.zeros((), ref.dtype)
    return triton.load(ref.at[index, :] if len(ref.shape) == 2 else ref.at[index], mask=is_new, other=other)
