"""bfloat16 rows times a bfloat16 weight by the native CPU kernels: few at the speed of reading it, many of arithmetic.

XLA reads a weight for one row at 1 to 2 GB/s and for eight at 14, where the machine reads 40 (2048 x 16384, two cores).
float32 it reads at full speed for any number of rows. For many bfloat16 rows see `python -m tests.benchmarks.products`.
"""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels import native
from keras_codegemma.kernels.native import products


def supports(x: Array, weight: Array, *, layout: str, out_dtype: jnp.dtype) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if x.dtype != jnp.bfloat16 or weight.dtype != jnp.bfloat16:
        return f"activations and weights must be bfloat16, got {x.dtype} and {weight.dtype}"
    rows, inputs = x.shape
    if rows == 0:
        return "there must be at least one row"
    if reason := native.absence():
        return reason
    if rows <= products.FEW_ROWS:
        return None
    if inputs % 2:
        return f"of more than {products.FEW_ROWS} rows inputs must be even, got {inputs}"
    level = native.level("bfloat16")
    if level != products.MANY_LEVEL:
        return (
            f"more than {products.FEW_ROWS} rows need the instructions of {products.MANY_LEVEL}, this processor's best "
            f"is {level}"
        )
    return None


def matmul(
    x: Float[Array, "rows k"], weight: Float[Array, "..."], *, layout: str, out_dtype: jnp.dtype
) -> Float[Array, "rows ..."]:
    """Summed in float32, rounded once."""
    is_few = x.shape[0] <= products.FEW_ROWS
    if layout == "outputs_first":
        if is_few:
            return products.by_outputs(x, [(weight, None)], out_dtype=out_dtype)[0]
        return products.many_by_outputs(x, weight, out_dtype=out_dtype)
    product = (products.by_inputs if is_few else products.many_by_inputs)(x, weight, out_dtype=out_dtype)
    return product.reshape(x.shape[0], *weight.shape[0:1], -1) if layout == "heads_first" else product
