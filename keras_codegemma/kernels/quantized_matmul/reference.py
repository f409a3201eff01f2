"""Activations times quantised weights, as in the definition: weights made float32, then multiplied."""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.quantized_matmul.weights import QuantizedWeight, dequantize


def quantized_matmul(
    x: Float[Array, "rows k"], weights: tuple[QuantizedWeight, ...], *, out_dtype: jnp.dtype
) -> list[Float[Array, "rows n"]]:
    """X W^T for each weight [N, K], summed in float32 and rounded once."""
    wide = x.astype(jnp.float32)
    return [jnp.matmul(wide, dequantize(weight).T, precision="highest").astype(out_dtype) for weight in weights]
