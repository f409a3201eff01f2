"""Activations times int4 weights on TPU: nibbles become bfloat16 in VMEM, so that HBM is read half a byte a weight.

    grid (rows, outputs, inputs)     inputs 0 -> 1 -> ... -> last: the sum is whole in VMEM and is written

A byte holds an even input's weight and the next one's, so activations come as two matrices, of their even and of their
odd inputs. A group's scale is spread over its inputs by a product with a matrix of ones and zeros, which is exact: the
matrix unit does what lanes cannot. The compiler's own version writes the floats of all weights to HBM first, 15 times
the bytes of the weights (by its memory analysis, v5e), and moves 60 times their bytes for one row, where the kernel
moves 1.0 to 1.1 (`tests/tpu_compile/test_quantized_matmul.py`). int8 it makes floats within its product, and needs no
kernel.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.quantized_matmul.weights import QuantizedWeight

LANES = 128
SUBLANES = 16
"""Rows of a bfloat16 register; row tiles are multiples of it."""

VMEM_LIMIT_BYTES = 64 * 2**20
"""Of the 128 MiB of a v5e or v6e core, so that two kernels' buffers may overlap."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Rows of activations, outputs, and bytes of each output's weights that one step holds in VMEM."""

    rows: int
    outputs: int
    columns: int

    def __post_init__(self):
        if self.rows % SUBLANES or self.outputs % LANES or self.columns % LANES or min(self.rows, self.outputs) <= 0:
            raise ValueError(
                f"Tiles must be multiples of {SUBLANES} rows, {LANES} outputs and {LANES} columns; got "
                f"rows={self.rows}, outputs={self.outputs}, columns={self.columns}. Round them up."
            )


def tiles_for(rows: int, *, inputs: int) -> Tiles:
    """Tiles of no more rows than there are, whose columns divide a row of bytes."""
    needed = min(-(-rows // SUBLANES) * SUBLANES, 512)
    columns = next(size for size in (1024, 512, 256, LANES) if inputs // 2 % size == 0)
    return Tiles(rows=needed, outputs=512, columns=columns)


def vmem_bytes(tiles: Tiles) -> int:
    """Bytes of VMEM that the kernel holds at once, with results in float32."""
    weights = tiles.outputs * tiles.columns
    return (
        2 * 2 * tiles.rows * tiles.columns * 2  # even and odd activations, double-buffered
        + 2 * weights  # bytes, double-buffered
        + 2 * tiles.outputs * max(SUBLANES, tiles.columns // SUBLANES) * 2  # scales of groups of 32, double-buffered
        + 3 * tiles.rows * tiles.outputs * 4  # result, double-buffered, and its sum
        + 5 * weights * 4  # bytes, both nibbles, scales and a product of them, in 32 bits
    )


def supports(x: Array, weights: tuple[QuantizedWeight, ...], *, out_dtype: jnp.dtype) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if any(weight.bits == 8 for weight in weights):
        return "int8 the compiler makes floats within its own product"
    if x.dtype != jnp.bfloat16:
        return f"activations must be bfloat16, got {x.dtype}"
    if x.shape[0] == 0:
        return "there must be at least one row"
    if x.shape[1] % (2 * LANES):
        return f"inputs must be a multiple of {2 * LANES}, got {x.shape[1]}"
    return None


def quantized_matmul(
    x: Float[Array, "rows k"],
    weights: tuple[QuantizedWeight, ...],
    *,
    out_dtype: jnp.dtype,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> list[Float[Array, "rows n"]]:
    """X W^T for each int4 weight [N, K], weights rounded to bfloat16, summed in float32.

    Args:
        x: bfloat16.
        weights: of any group size.
        out_dtype: of the results.
        tiles: by `tiles_for` when None; their columns must divide K / 2.
        interpret: run on any platform, slowly, for tests.
    """
    tiles = tiles or tiles_for(x.shape[0], inputs=x.shape[1])
    halves = x[:, 0::2], x[:, 1::2]
    return [_product(halves, weight, out_dtype, tiles, interpret) for weight in weights]


def _product(
    halves: tuple[Array, Array], weight: QuantizedWeight, out_dtype: jnp.dtype, tiles: Tiles, interpret: bool
) -> Array:
    (rows, columns), outputs = halves[0].shape, weight.shape[0]
    steps, groups = columns // tiles.columns, 2 * tiles.columns // weight.group_size
    # Outputs last, so that a step's scales, which are few, fill the lanes.
    scale = weight.scale.reshape(outputs, steps, groups).transpose(1, 2, 0)
    of_half = pl.BlockSpec((tiles.rows, tiles.columns), lambda i, j, k: (i, k))
    grid = (pl.cdiv(rows, tiles.rows), pl.cdiv(outputs, tiles.outputs), steps)
    return pl.pallas_call(
        _kernel,
        grid=grid,
        in_specs=[
            of_half,
            of_half,
            pl.BlockSpec((tiles.outputs, tiles.columns), lambda i, j, k: (j, k)),
            pl.BlockSpec((1, groups, tiles.outputs), lambda i, j, k: (k, 0, j)),
        ],
        out_specs=pl.BlockSpec((tiles.rows, tiles.outputs), lambda i, j, k: (i, j)),
        out_shape=jax.ShapeDtypeStruct((rows, outputs), out_dtype),
        scratch_shapes=[pltpu.VMEM((tiles.rows, tiles.outputs), jnp.float32)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=VMEM_LIMIT_BYTES
        ),
        cost_estimate=pl.CostEstimate(
            flops=4 * rows * columns * outputs,
            transcendentals=0,
            bytes_accessed=2 * halves[0].nbytes * grid[1] + (weight.data.nbytes + weight.scale.nbytes) * grid[0],
        ),
        interpret=interpret,
        name="int4_matmul",
    )(*halves, weight.data, scale)


def _kernel(even_ref, odd_ref, data_ref, scale_ref, out_ref, total):
    """Invariant: after each step `total` holds the products over the inputs up to and with this tile."""

    @pl.when(pl.program_id(2) == 0)
    def _init():
        total[...] = jnp.zeros_like(total)

    pairs = data_ref[...].astype(jnp.int32)
    scales = _spread(scale_ref[0], pairs.shape[1])
    for x_ref, nibbles in ((even_ref, pairs & 15), (odd_ref, pairs >> 4)):
        signed = (nibbles ^ 8) - 8
        weights = (signed.astype(jnp.float32) * scales).astype(jnp.bfloat16)
        total[...] += jax.lax.dot_general(
            x_ref[...], weights, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
        )

    @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
    def _write():
        out_ref[...] = total[...].astype(out_ref.dtype)


def _spread(scale: Float[Array, "groups outputs"], columns: int) -> Float[Array, "outputs columns"]:
    """Each group's scale over its columns, in float32."""
    groups = scale.shape[0]
    group = jax.lax.broadcasted_iota(jnp.int32, (groups, columns), 0)
    # Groups are of a power of two columns; a division's sign would have to be looked at.
    of_column = jax.lax.broadcasted_iota(jnp.int32, (groups, columns), 1) >> (columns // groups).bit_length() - 1
    belongs = (group == of_column).astype(scale.dtype)
    return jax.lax.dot_general(scale, belongs, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
