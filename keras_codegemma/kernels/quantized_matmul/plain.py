"""Activations times quantised weights by the compiler: weights made the activations' type, then multiplied.

The integers are exact in bfloat16, so int8 is scaled after the product; int4's scales change within it, and its weights
are rounded to the activations' type.
"""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.quantized_matmul.weights import QuantizedWeight, dequantize


def quantized_matmul(
    x: Float[Array, "rows k"], weights: tuple[QuantizedWeight, ...], *, out_dtype: jnp.dtype
) -> list[Float[Array, "rows n"]]:
    """X W^T for each weight [N, K], summed in float32."""
    return [_product(x, weight).astype(out_dtype) for weight in weights]


def _product(x: Array, weight: QuantizedWeight) -> Float[Array, "rows n"]:
    eight = weight.bits == 8
    matrix = weight.data.astype(x.dtype) if eight else dequantize(weight).astype(x.dtype)
    # XLA's CPU compiler has a slow path for a single bfloat16 row; see `layers/projection.py`.
    padded = jnp.pad(x, ((0, 1), (0, 0))) if x.dtype == jnp.bfloat16 and x.shape[0] == 1 else x
    product = jax.lax.dot_general(padded, matrix, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    product = product[: x.shape[0]]
    return product * weight.scale if eight else product
