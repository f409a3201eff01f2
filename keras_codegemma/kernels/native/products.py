"""The native products as JAX functions: activations times one or several weights, and two matrices over their rows."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from keras_codegemma.axes import Array, Float

FEW_ROWS = 16
"""More are worth packing them, or the weight."""
FEW_ROWS_OF_QUANTIZED = 128
"""More are worth decoding a weight into memory."""
MANY_LEVEL = "avx512_bf16"
"""The level that has products of many rows."""

_FORMATS = {"float32": 0, "bfloat16": 1, "int8": 2, "uint8": 3}
"""`Format` in `source/kernels.h`, by the weights' dtype; int4 lies two in a uint8."""


def by_outputs(
    x: Float[Array, "rows k"],
    weights: Sequence[tuple[Array, Array | None]],
    *,
    group_size: int = 0,
    out_dtype: jnp.dtype,
) -> list[Array]:
    """X times each of several weights that have a row per output. See `source/kernels.h`, "NK".

    Args:
        x: bfloat16 or float32.
        weights: of one dtype; each [N, K] with scales (int8: float32 [N]; int4: uint8 [N, K / 2] with bfloat16
            [N, K / group_size]; float: None).
        group_size: of int4.
        out_dtype: bfloat16 or float32.

    Returns:
        One [rows, N] for each.
    """
    outputs = [data.shape[0] for data, _ in weights]
    return _call("codegemma_nk", x, weights, outputs, group=group_size, heads=1, out_dtype=out_dtype)


def by_inputs(
    x: Float[Array, "rows k"], weight: Float[Array, "... k n"], *, out_dtype: jnp.dtype
) -> Float[Array, "rows n"]:
    """X times a bfloat16 weight with a row per input, [K, N] or [heads, K, N / heads]. See `source/kernels.h`, "KN"."""
    heads = weight.shape[0] if weight.ndim == 3 else 1
    outputs = [heads * weight.shape[-1]]
    return _call("codegemma_kn", x, [(weight, None)], outputs, group=0, heads=heads, out_dtype=out_dtype)[0]


def many_by_inputs(x: Float[Array, "rows k"], weight: Float[Array, "... k n"], *, out_dtype: jnp.dtype) -> Array:
    """As `by_inputs`, for many rows, both bfloat16. See `source/many.h`; AVX-512 BF16 alone has it."""
    heads = weight.shape[0] if weight.ndim == 3 else 1
    return _many("codegemma_many_kn", x, weight, heads * weight.shape[-1], out_dtype)


def many_by_outputs(x: Float[Array, "rows k"], weight: Float[Array, "n k"], *, out_dtype: jnp.dtype) -> Array:
    """As `by_outputs`, for many rows and one weight, both bfloat16. See `source/many.h`; AVX-512 BF16 alone has it."""
    return _many("codegemma_many_nk", x, weight, weight.shape[0], out_dtype)


def many_by_quantized(
    x: Float[Array, "rows k"],
    weights: Sequence[tuple[Array, Array]],
    *,
    group_size: int = 0,
    out_dtype: jnp.dtype,
) -> list[Array]:
    """As `by_outputs`, for many bfloat16 rows and int8 or int4. See `source/many.h`; AVX-512 BF16 alone has it."""
    outputs = [data.shape[0] for data, _ in weights]
    return _call("codegemma_many_quantized", x, weights, outputs, group=group_size, heads=1, out_dtype=out_dtype)


def _many(target: str, x: Array, weight: Array, outputs: int, out_dtype: jnp.dtype) -> Array:
    shape = jax.ShapeDtypeStruct((x.shape[0], outputs), out_dtype)
    return jax.ffi.ffi_call(target, shape, vmap_method="sequential")(x, weight)


def over_rows(x: Float[Array, "rows k"], y: Float[Array, "rows n"]) -> Float[Array, "k n"]:
    """The sum over rows of x's times y's, both bfloat16, in float32. See `source/rows.h`; AVX-512 BF16 alone has it."""
    shape = jax.ShapeDtypeStruct((x.shape[1], y.shape[1]), jnp.float32)
    return jax.ffi.ffi_call("codegemma_rows", shape, vmap_method="sequential")(x, y)


def _call(
    target: str,
    x: Array,
    weights: Sequence[tuple[Array, Array | None]],
    outputs: Sequence[int],
    *,
    group: int,
    heads: int,
    out_dtype: jnp.dtype,
) -> list[Array]:
    operands = [
        operand
        for data, scale in weights
        for operand in (data, jnp.zeros((1,), jnp.float32) if scale is None else scale)
    ]
    shapes = [jax.ShapeDtypeStruct((x.shape[0], count), out_dtype) for count in outputs]
    call = jax.ffi.ffi_call(target, shapes, vmap_method="sequential")
    products = call(
        x,
        *operands,
        format=np.int64(_FORMATS[str(weights[0][0].dtype)]),
        group=np.int64(group),
        heads=np.int64(heads),
    )
    return list(products)
