"""A few bfloat16 rows times a bfloat16 weight by the native CPU kernels, at the speed of reading the weight.

XLA reads a weight for one row at 1 to 2 GB/s and for eight at 14, where the machine reads 40 (2048 x 16384, two cores).
From `MAX_ROWS` on it is as fast as these kernels, and float32 it reads at full speed for any number.
"""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels import native
from keras_codegemma.kernels.native import products

MAX_ROWS = 16


def supports(x: Array, weight: Array, *, layout: str) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if x.dtype != jnp.bfloat16 or weight.dtype != jnp.bfloat16:
        return f"activations and weights must be bfloat16, got {x.dtype} and {weight.dtype}"
    if not 1 <= x.shape[0] <= MAX_ROWS:
        return f"it is for 1 to {MAX_ROWS} rows, got {x.shape[0]}"
    return native.absence()


def matmul(x: Float[Array, "rows k"], weight: Float[Array, "..."], *, layout: str) -> Float[Array, "rows ..."]:
    """Float32."""
    out_dtype = jnp.dtype(jnp.float32)
    if layout == "outputs_first":
        return products.by_outputs(x, [(weight, None)], out_dtype=out_dtype)[0]
    product = products.by_inputs(x, weight, out_dtype=out_dtype)
    return product.reshape(x.shape[0], *weight.shape[0:1], -1) if layout == "heads_first" else product
