"""Activations times quantised weights by the native CPU kernels, several weights of one kind in one call."""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels import native
from keras_codegemma.kernels.native import products
from keras_codegemma.kernels.quantized_matmul.weights import GROUP_SIZES, QuantizedWeight

_DTYPES = (jnp.bfloat16, jnp.float32)


def supports(x: Array, weights: tuple[QuantizedWeight, ...], *, out_dtype: jnp.dtype) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if x.dtype not in _DTYPES or out_dtype not in _DTYPES:
        return f"activations and result must be bfloat16 or float32, got {x.dtype} and {jnp.dtype(out_dtype)}"
    if x.shape[0] == 0:
        return "there must be at least one row"
    for weight in weights:
        if weight.bits == 4 and weight.group_size not in GROUP_SIZES:
            return f"an int4 group must have one of {GROUP_SIZES} inputs, got {weight.group_size}"
    return native.absence()


def quantized_matmul(
    x: Float[Array, "rows k"], weights: tuple[QuantizedWeight, ...], *, out_dtype: jnp.dtype
) -> list[Float[Array, "rows n"]]:
    """X W^T for each weight [N, K], summed in float32, or for float32 activations with weights scaled in float32.

    With AVX-512 BF16, up to 128 rows of bfloat16 become 16-bit integers for int8 weights: `source/avx512_bf16.cc`.
    """
    same = len({(weight.bits, weight.group_size) for weight in weights}) == 1
    if not same:
        return [quantized_matmul(x, (weight,), out_dtype=out_dtype)[0] for weight in weights]
    group = weights[0].group_size if weights[0].bits == 4 else 0
    operands = [(weight.data, weight.scale) for weight in weights]
    product = products.many_by_quantized if is_for_many(x) else products.by_outputs
    return product(x, operands, group_size=group, out_dtype=out_dtype)


def is_for_many(x: Array) -> bool:
    """Whether the product of many rows takes these; that of few takes any."""
    rows, inputs = x.shape
    is_fit = x.dtype == jnp.bfloat16 and rows > products.FEW_ROWS_OF_QUANTIZED and inputs % 2 == 0
    return is_fit and native.absence_at(products.MANY_LEVEL) is None
