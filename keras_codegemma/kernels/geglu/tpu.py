"""The gated unit with its two products on TPU: neither half is ever in HBM, forwards or between the passes.

    grid (rows, outputs, inputs)     inputs 0 -> 1 -> ... -> last: both sums are whole in VMEM, gelu(gate) up is written

The backward pass keeps x alone: a kernel of the same grid computes both halves again and writes their gradients, from
which three ordinary products (the compiler's) make the gradients of x and of the kernels. That costs the forward
products once more, a third of the backward pass's own, and spares keeping 2 M F numbers per layer.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.geglu import plain

LANES = 128
SUBLANES = 16
"""Rows of a bfloat16 register; row tiles are multiples of it."""

VMEM_LIMIT_BYTES = 64 * 2**20
"""Of the 128 MiB of a v5e or v6e core, so that two kernels' buffers may overlap."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Rows of x, outputs (columns of both kernels) and inputs that one step holds in VMEM.

    A step multiplies 4 rows outputs inputs numbers for (rows + 2 outputs) inputs that it reads: 512 operations a byte
    with these and bfloat16, where a v5e needs 240 and a v6e 560 to be bound by arithmetic (from published figures).
    """

    rows: int = 1024
    outputs: int = 512
    inputs: int = 512

    def __post_init__(self):
        if self.rows % SUBLANES or self.outputs % LANES or self.inputs % LANES or min(self.rows, self.outputs) <= 0:
            raise ValueError(
                f"Tiles must be multiples of {SUBLANES} rows, {LANES} outputs and {LANES} inputs; got "
                f"rows={self.rows}, outputs={self.outputs}, inputs={self.inputs}. Round them up."
            )


def tiles_for(rows: int, *, inputs: int) -> Tiles:
    """Tiles of no more rows than there are, whose inputs divide the width: a sum has no room for what lies beyond."""
    needed = min(-(-rows // SUBLANES) * SUBLANES, 1024)
    return Tiles(rows=needed, inputs=next(size for size in (512, 384, 256, LANES) if inputs % size == 0))


def vmem_bytes(tiles: Tiles, *, itemsize: int) -> int:
    """Bytes of VMEM that the larger of the two kernels, the backward one, holds at once."""
    size = tiles.rows * tiles.outputs
    return (
        2 * tiles.rows * tiles.inputs * itemsize  # x, double-buffered
        + 2 * 2 * tiles.inputs * tiles.outputs * itemsize  # both kernels, double-buffered
        + 2 * 3 * size * itemsize  # gradient and two results, double-buffered
        + 2 * size * 4  # sums of both halves
        + 4 * size * 4  # gradient, tanh and results in float32
    )


def supports(
    x: Array | jax.ShapeDtypeStruct,
    gate_kernel: Array | jax.ShapeDtypeStruct,
    up_kernel: Array | jax.ShapeDtypeStruct,
) -> str | None:
    """Why these shapes ([M, D] and twice [D, F]) and dtypes cannot run, or None when they can."""
    inputs, outputs = gate_kernel.shape
    if inputs % LANES or outputs % LANES:
        return f"both widths must be multiples of {LANES}, got {inputs} and {outputs}"
    if x.dtype not in (jnp.bfloat16, jnp.float32) or {gate_kernel.dtype, up_kernel.dtype} != {x.dtype}:
        return (
            "rows and kernels must all be bfloat16 or all float32, got "
            f"{x.dtype}, {gate_kernel.dtype} and {up_kernel.dtype}"
        )
    if x.shape[0] == 0:
        return "there must be at least one row"
    return None


def geglu_products(
    x: Float[Array, "M D"],
    gate_kernel: Float[Array, "D F"],
    up_kernel: Float[Array, "D F"],
    *,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> Float[Array, "M F"]:
    """As `reference.geglu_products`; products in the operands' dtype, the rest in float32.

    Args:
        x: rows.
        gate_kernel: of the dtype of `x`.
        up_kernel: likewise.
        tiles: by `tiles_for` when None; their inputs must divide D.
        interpret: run on any platform, slowly, for tests.
    """
    (result,) = _call(_forward_kernel, x, gate_kernel, up_kernel, tiles=tiles, results=1, interpret=interpret)
    return result


def products_backward(
    x: Float[Array, "M D"],
    gate_kernel: Float[Array, "D F"],
    up_kernel: Float[Array, "D F"],
    gradient: Float[Array, "M F"],
    *,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> tuple[Float[Array, "M F"], Float[Array, "M F"]]:
    """As `reference.products_backward`."""
    of_gate, of_up = _call(
        _backward_kernel, x, gate_kernel, up_kernel, gradient, tiles=tiles, results=2, interpret=interpret
    )
    return of_gate, of_up


def _call(kernel, x: Array, *operands: Array, tiles: Tiles | None, results: int, interpret: bool) -> list[Array]:
    (rows, inputs), outputs = x.shape, operands[0].shape[1]
    tiles = tiles or tiles_for(rows, inputs=inputs)
    of_kernel = pl.BlockSpec((tiles.inputs, tiles.outputs), lambda i, j, k: (k, j))
    of_result = pl.BlockSpec((tiles.rows, tiles.outputs), lambda i, j, k: (i, j))
    grid = (pl.cdiv(rows, tiles.rows), pl.cdiv(outputs, tiles.outputs), inputs // tiles.inputs)
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=[
            pl.BlockSpec((tiles.rows, tiles.inputs), lambda i, j, k: (i, k)),
            *[of_kernel] * 2,
            *[of_result] * (len(operands) - 2),
        ],
        out_specs=[of_result] * results,
        out_shape=[jax.ShapeDtypeStruct((rows, outputs), x.dtype)] * results,
        scratch_shapes=[pltpu.VMEM((tiles.rows, tiles.outputs), jnp.float32)] * 2,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=VMEM_LIMIT_BYTES
        ),
        cost_estimate=pl.CostEstimate(
            flops=4 * rows * inputs * outputs,
            transcendentals=rows * outputs,
            bytes_accessed=x.nbytes * grid[1]
            + 2 * operands[0].nbytes * grid[0]
            + (results + len(operands) - 2) * rows * outputs * x.dtype.itemsize,
        ),
        interpret=interpret,
        name="geglu_products" if results == 1 else "geglu_products_backward",
    )(x, *operands)


def _add_products(x_ref, gate_kernel_ref, up_kernel_ref, gate, up):
    """Invariant: afterwards the two hold the products over the inputs up to and with this tile."""

    @pl.when(pl.program_id(2) == 0)
    def _init():
        gate[...] = jnp.zeros_like(gate)
        up[...] = jnp.zeros_like(up)

    # Without it a float32 product would be made of operands rounded to bfloat16.
    precision = jax.lax.Precision.HIGHEST if x_ref.dtype == jnp.float32 else None
    for kernel_ref, total in ((gate_kernel_ref, gate), (up_kernel_ref, up)):
        total[...] += jnp.dot(x_ref[...], kernel_ref[...], precision=precision, preferred_element_type=jnp.float32)


def _forward_kernel(x_ref, gate_kernel_ref, up_kernel_ref, out_ref, gate, up):
    _add_products(x_ref, gate_kernel_ref, up_kernel_ref, gate, up)

    @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
    def _finish():
        out_ref[...] = plain.activated(gate[...], up[...]).astype(out_ref.dtype)


def _backward_kernel(x_ref, gate_kernel_ref, up_kernel_ref, gradient_ref, of_gate_ref, of_up_ref, gate, up):
    _add_products(x_ref, gate_kernel_ref, up_kernel_ref, gate, up)

    @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
    def _finish():
        of_gate, of_up = plain.gradients(gate[...], up[...], gradient_ref[...].astype(jnp.float32))
        of_gate_ref[...] = of_gate.astype(of_gate_ref.dtype)
        of_up_ref[...] = of_up.astype(of_up_ref.dtype)
