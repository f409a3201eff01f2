"""Root-mean-square normalisation on TPU: each row is read once, and the sum before it never waits in HBM to be read.

Rows are split into tiles, a row is never split. The gradient of the scale is a sum over all rows, kept in VMEM while
the tiles pass by one after another:

    rows  | tile 0 | tile 1 | ... | tile n, of which the last rows may not exist
    scale |  start |  += ...      | +=, without the rows that do not exist -> written
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from keras_codegemma.axes import Array, Float

LANES = 128
SUBLANES = 16
"""Rows of a bfloat16 register; row tiles are multiples of it."""
VMEM_BYTES = 12 * 2**20
"""What the tiles may take of the 16 MiB that a kernel gets unless it asks for more."""
_DTYPES = (jnp.bfloat16, jnp.float32)


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Rows that one step holds in VMEM."""

    rows: int

    def __post_init__(self):
        if self.rows % SUBLANES or self.rows <= 0:
            raise ValueError(f"Row tiles must be multiples of {SUBLANES}; got {self.rows}. Round it up.")


def tiles_for(rows: int, *, width: int, itemsize: int) -> Tiles | None:
    """The largest tile of at most 256 rows that fits, no larger than the rows need; None where none fits."""
    needed = -(-rows // SUBLANES) * SUBLANES
    for tile in (256, 128, 64, 32, SUBLANES):
        tiles = Tiles(rows=min(tile, needed))
        if vmem_bytes(tiles, width=width, itemsize=itemsize) <= VMEM_BYTES:
            return tiles
    return None


def vmem_bytes(tiles: Tiles, *, width: int, itemsize: int) -> int:
    """Bytes of VMEM that the larger of the two kernels, either with a residual, holds at once."""
    return (
        2 * 4 * tiles.rows * width * itemsize  # two operands and two results (backward: three and one), double-buffered
        + 2 * tiles.rows * width * 4  # normalised rows and the gradient, or the rows, in float32
        + 2 * 2 * 8 * width * 4  # the scale and its gradient: a row takes whole registers; double-buffered
    )


def supports(x: Array | jax.ShapeDtypeStruct, scale: Array | jax.ShapeDtypeStruct) -> str | None:
    """Why these shapes ([..., D] and [D]) and dtypes cannot run, or None when they can."""
    width = x.shape[-1]
    if width % LANES:
        return f"the width must be a multiple of {LANES}, got {width}"
    if x.dtype not in _DTYPES or scale.dtype not in _DTYPES:
        return f"rows and scale must be bfloat16 or float32, got {x.dtype} and {scale.dtype}"
    if x.size == 0:
        return "there must be at least one row"
    if tiles_for(SUBLANES, width=width, itemsize=x.dtype.itemsize) is None:
        needed = vmem_bytes(Tiles(rows=SUBLANES), width=width, itemsize=x.dtype.itemsize)
        return f"the kernel would need {needed} bytes of VMEM of {VMEM_BYTES}"
    return None


def rms_norm(
    x: Float[Array, "*rows D"],
    residual: Float[Array, "*rows D"] | None,
    scale: Float[Array, " D"],
    *,
    epsilon: float,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows D"]]:
    """As `reference.rms_norm`.

    Args:
        x: rows.
        residual: of the shape and dtype of `x`, or None.
        scale: the offset from 1.
        epsilon: added to the mean square.
        tiles: by `tiles_for` when None.
        interpret: run on any platform, slowly, for tests.
    """
    flat, tiles = _flat(x, tiles)
    operands = (flat,) if residual is None else (flat, residual.reshape(flat.shape))
    of_rows, of_scale = _specs(flat, tiles)
    results = pl.pallas_call(
        partial(_forward_kernel, epsilon=epsilon, added=residual is not None),
        grid=(pl.cdiv(flat.shape[0], tiles.rows),),
        in_specs=[*[of_rows] * len(operands), of_scale],
        out_specs=[of_rows] * len(operands),
        out_shape=[jax.ShapeDtypeStruct(flat.shape, x.dtype)] * len(operands),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        cost_estimate=_cost(flat, arrays=2 * len(operands), flops=4),
        interpret=interpret,
        name="rms_norm",
    )(*operands, scale[None])
    total, normed = (flat, *results) if residual is None else results
    return total.reshape(x.shape), normed.reshape(x.shape)


def backward(
    total: Float[Array, "*rows D"],
    scale: Float[Array, " D"],
    of_total: Float[Array, "*rows D"] | None,
    of_normed: Float[Array, "*rows D"],
    *,
    epsilon: float,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> tuple[Float[Array, "*rows D"], Float[Array, " D"]]:
    """As `reference.backward`; `plain` has the formulas."""
    flat, tiles = _flat(total, tiles)
    gradients = [x.reshape(flat.shape) for x in (of_normed, of_total) if x is not None]
    of_rows, of_scale = _specs(flat, tiles)
    rows, columns = pl.pallas_call(
        partial(_backward_kernel, epsilon=epsilon, rows=flat.shape[0], tile=tiles.rows, added=of_total is not None),
        grid=(pl.cdiv(flat.shape[0], tiles.rows),),
        in_specs=[of_rows, of_scale, *[of_rows] * len(gradients)],
        out_specs=[of_rows, of_scale],
        out_shape=[
            jax.ShapeDtypeStruct(flat.shape, total.dtype),
            jax.ShapeDtypeStruct((1, flat.shape[1]), jnp.float32),
        ],
        # One after another: they add to the same gradient of the scale.
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary",)),
        cost_estimate=_cost(flat, arrays=2 + len(gradients), flops=10),
        interpret=interpret,
        name="rms_norm_backward",
    )(flat, scale[None], *gradients)
    return rows.reshape(total.shape), columns[0]


def _flat(x: Array, tiles: Tiles | None) -> tuple[Float[Array, "M D"], Tiles]:
    flat = x.reshape(-1, x.shape[-1])
    tiles = tiles or tiles_for(flat.shape[0], width=flat.shape[1], itemsize=x.dtype.itemsize)
    assert tiles is not None
    return flat, tiles


def _specs(flat: Array, tiles: Tiles) -> tuple[pl.BlockSpec, pl.BlockSpec]:
    """Blocks of rows, and the one of the scale."""
    width = flat.shape[1]
    return pl.BlockSpec((tiles.rows, width), lambda i: (i, 0)), pl.BlockSpec((1, width), lambda i: (0, 0))


def _cost(flat: Array, *, arrays: int, flops: int) -> pl.CostEstimate:
    return pl.CostEstimate(
        flops=flops * flat.size, transcendentals=flat.shape[0], bytes_accessed=arrays * flat.size * flat.dtype.itemsize
    )


def _normalised(rows: Array, epsilon: float) -> tuple[Array, Array]:
    wide = rows.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + epsilon)
    return wide * inverse, inverse


def _forward_kernel(x_ref, *refs, epsilon, added):
    *operand_refs, normed_ref = refs
    if added:
        residual_ref, scale_ref, total_ref = operand_refs
        # In float32 and rounded once, which is what a sum of two bfloat16 is.
        total = x_ref[...].astype(jnp.float32) + residual_ref[...].astype(jnp.float32)
        rows = total.astype(x_ref.dtype)
        total_ref[...] = rows
    else:
        (scale_ref,) = operand_refs
        rows = x_ref[...]
    normed, _ = _normalised(rows, epsilon)
    normed_ref[...] = (normed * (1.0 + scale_ref[...].astype(jnp.float32))).astype(normed_ref.dtype)


def _backward_kernel(total_ref, scale_ref, *refs, epsilon, rows, tile, added):
    *gradient_refs, of_rows_ref, of_scale_ref = refs
    step = pl.program_id(0)

    @pl.when(step == 0)
    def _init():
        of_scale_ref[...] = jnp.zeros_like(of_scale_ref)

    normed, inverse = _normalised(total_ref[...], epsilon)
    gradient = gradient_refs[0][...].astype(jnp.float32)
    # Rows behind the last hold anything, NaN included; `where` does not let it into the sum.
    exists = step * tile + jax.lax.broadcasted_iota(jnp.int32, inverse.shape, 0) < rows
    of_scale_ref[...] += jnp.where(exists, gradient * normed, 0.0).sum(0, keepdims=True)
    scaled = gradient * (1.0 + scale_ref[...].astype(jnp.float32))
    of_rows = inverse * (scaled - normed * jnp.mean(scaled * normed, axis=-1, keepdims=True))
    if added:
        of_rows += gradient_refs[1][...].astype(jnp.float32)
    of_rows_ref[...] = of_rows.astype(of_rows_ref.dtype)
