"""A few activation rows times int8 or int4 weights on NVIDIA GPUs, in Triton: weights are read as they are stored.

Each program makes some outputs of all rows, from a part of the inputs where outputs alone are too few to keep the
memory busy. Integers are exact in bfloat16 and become it in registers; scales are applied to sums, so nothing of a
weight is rounded. Many rows are left to the compiler, for whose products the weights' bytes do not matter.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels import cuda
from keras_codegemma.kernels.quantized_matmul.weights import QuantizedWeight

MIN_ROWS = 16
"""The tensor cores' smallest product: rows are padded to it."""
MAX_ROWS = 64
"""More than these are no longer bound by memory."""
_PROGRAMS = 512
"""As many as keep the memory of the largest GPUs busy: some for each of 132 multiprocessors."""
_MIN_PART = 512
"""Inputs of the shortest part."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """What one program does.

    Attributes:
        outputs: that it makes, a power of two from 16 on.
        step: inputs of one product: of int4 a group.
        together: products whose weights are asked for at once.
        parts: into which the inputs are cut, each a multiple of `step * together`.
        stages: of the compiler's pipeline: weights are asked for so many rounds before they are needed.
    """

    outputs: int
    step: int
    together: int
    parts: int
    stages: int


def tiles_for(weight: QuantizedWeight, rows: int) -> Tiles | None:
    """Tiles for a weight [N, K] whose inputs come in whole steps; None for another.

    With more than `MIN_ROWS` activations take the place in 99 KiB of shared memory that weights on their way have else.
    """
    outputs, inputs = weight.shape
    is_few = rows <= MIN_ROWS
    sizes = (weight.group_size,) if weight.bits == 4 else (256, 128, 64)[0 if is_few else 1 :]
    step = next((size for size in sizes if inputs % size == 0), None)
    if step is None:
        return None
    most = 512 if is_few else step
    together = next(count for count in (4, 2, 1) if step * count <= most and inputs % (step * count) == 0)
    width = 64 if outputs >= 64 * _PROGRAMS // 2 else 32
    parts = 1
    while (
        parts * pl.cdiv(outputs, width) < _PROGRAMS
        and inputs // (2 * parts) >= _MIN_PART
        and inputs % (2 * parts * step * together) == 0
    ):
        parts *= 2
    return Tiles(outputs=width, step=step, together=together, parts=parts, stages=3 if is_few else 2)


def supports(x: Array, weights: tuple[QuantizedWeight, ...], *, out_dtype: jnp.dtype) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if x.dtype != jnp.bfloat16:
        return f"activations must be bfloat16, got {x.dtype}"
    if not 1 <= x.shape[0] <= MAX_ROWS:
        return f"it is for 1 to {MAX_ROWS} rows, got {x.shape[0]}"
    if any(tiles_for(weight, x.shape[0]) is None for weight in weights):
        return f"inputs must be a multiple of 64, got {x.shape[1]}"
    return cuda.refusal()


def quantized_matmul(
    x: Float[Array, "rows k"],
    weights: tuple[QuantizedWeight, ...],
    *,
    out_dtype: jnp.dtype,
    interpret: bool = False,
) -> list[Float[Array, "rows n"]]:
    """X W^T for each weight [N, K], summed in float32 and rounded once.

    Args:
        x: bfloat16, 1 to `MAX_ROWS` rows.
        weights: int8, or int4 of any group size.
        out_dtype: of the results.
        interpret: run on any platform, slowly, for tests.
    """
    rows = max(MIN_ROWS, pl.next_power_of_2(x.shape[0]))
    padded = jnp.pad(x, ((0, rows - x.shape[0]), (0, 0)))
    products = []
    for weight in weights:
        sums = (_int8 if weight.bits == 8 else _int4)(padded, weight, x.shape[0], interpret)
        products.append((sums * weight.scale if weight.bits == 8 else sums).astype(out_dtype))
    return products


def _int8(x: Array, weight: QuantizedWeight, rows: int, interpret: bool) -> Float[Array, "rows n"]:
    """Not yet scaled."""
    return _sums(_int8_kernel, (x,), (weight.data,), weight, rows, interpret, name="int8_matmul")


def _int4(x: Array, weight: QuantizedWeight, rows: int, interpret: bool) -> Float[Array, "rows n"]:
    """A byte holds an even input's weight and the next one's, so activations come as these two."""
    halves, stored = (x[:, 0::2], x[:, 1::2]), (weight.data, weight.scale)
    return _sums(_int4_kernel, halves, stored, weight, rows, interpret, name="int4_matmul")


def _sums(
    kernel: Any,
    activations: tuple[Array, ...],
    stored: tuple[Array, ...],
    weight: QuantizedWeight,
    rows: int,
    interpret: bool,
    *,
    name: str,
) -> Float[Array, "rows n"]:
    """The first `rows` rows of the products, the rest being there for the tensor cores."""
    outputs, height = weight.shape[0], activations[0].shape[0]
    tiles = tiles_for(weight, height)
    assert tiles is not None

    def of_part(x: Array, height: int, place: Any) -> pl.BlockSpec:
        return pl.BlockSpec((height, x.shape[1] // tiles.parts), place)

    parts: Array = pl.pallas_call(
        partial(kernel, tiles=tiles, outputs=outputs, rows=rows),
        grid=(pl.cdiv(outputs, tiles.outputs), tiles.parts),
        in_specs=[
            *(of_part(x, height, lambda n, p: (0, p)) for x in activations),
            *(of_part(x, tiles.outputs, lambda n, p: (n, p)) for x in stored),
        ],
        out_specs=pl.BlockSpec((None, height, tiles.outputs), lambda n, p: (p, 0, n)),
        out_shape=jax.ShapeDtypeStruct((tiles.parts, height, outputs), jnp.float32),
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=tiles.stages),
        interpret=interpret,
        name=name,
    )(*activations, *stored)
    return parts[:, :rows].sum(0)


def _int8_kernel(x_ref, data_ref, out_ref, *, tiles, outputs, rows):
    is_output = _is_output(tiles, outputs)

    def step(index: Array, total: Array) -> Array:
        for piece in range(tiles.together):
            inputs = pl.ds((index * tiles.together + piece) * tiles.step, tiles.step)
            weights = triton.load(data_ref.at[:, inputs], mask=is_output[:, None], other=jnp.int8(0))
            total += triton.dot(x_ref[:, inputs], weights.astype(jnp.bfloat16).T)
        return total

    _run(step, x_ref.shape[1], tiles, out_ref, is_output, rows)


def _int4_kernel(even_ref, odd_ref, data_ref, scale_ref, out_ref, *, tiles, outputs, rows):
    is_output = _is_output(tiles, outputs)
    columns = tiles.step // 2

    def step(index: Array, total: Array) -> Array:
        for piece in range(tiles.together):
            group = index * tiles.together + piece
            inputs = pl.ds(group * columns, columns)
            pairs = triton.load(data_ref.at[:, inputs], mask=is_output[:, None], other=jnp.uint8(0)).astype(jnp.int32)
            scale = triton.load(scale_ref.at[:, group], mask=is_output, other=jnp.bfloat16(0)).astype(jnp.float32)
            part = triton.dot(even_ref[:, inputs], _as_bfloat16(pairs & 15).T)
            part += triton.dot(odd_ref[:, inputs], _as_bfloat16(pairs >> 4).T)
            total += part * scale[None, :]
        return total

    _run(step, data_ref.shape[1] * 2, tiles, out_ref, is_output, rows)


def _as_bfloat16(nibbles: Array) -> Array:
    """Of four bits in two's complement, in a wider integer."""
    return ((nibbles ^ 8) - 8).astype(jnp.float32).astype(jnp.bfloat16)


def _is_output(tiles: Tiles, outputs: int) -> Array:
    """Which of the program's outputs the weight has."""
    return pl.program_id(0) * tiles.outputs + jnp.arange(tiles.outputs) < outputs


def _run(step: Any, inputs: int, tiles: Tiles, out_ref: Any, is_output: Array, rows: int) -> None:
    """Rows from `rows` on are not written: what they are does not matter, and their bytes would."""
    total = jnp.zeros(out_ref.shape, jnp.float32)
    total = jax.lax.fori_loop(0, inputs // (tiles.step * tiles.together), step, total)
    is_row = jnp.arange(out_ref.shape[0]) < rows
    triton.store(out_ref, total, mask=is_row[:, None] & is_output[None, :])
