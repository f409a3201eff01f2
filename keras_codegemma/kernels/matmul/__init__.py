"""Activations times a bfloat16 or float32 weight, summed in float32: `matmul`."""

from typing import Any

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.dispatch import Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.matmul import native, plain, reference

__all__ = ["OPERATION", "matmul"]

OPERATION = Operation(
    "matmul",
    Implementation(name="native", platforms=("cpu",), supports=native.supports, run=native.matmul, splits=False),
    Implementation(name="xla_cpu", platforms=("cpu",), supports=anything, run=plain.on_cpu),
    Implementation(name="xla", platforms=("tpu", "cuda", "rocm"), supports=anything, run=plain.anywhere),
    as_reference(reference.matmul),
    examples=lambda: {
        f"{dtype}_m{rows}_n16384_k2048": (
            (jax.ShapeDtypeStruct((rows, 2048), dtype), jax.ShapeDtypeStruct((2048, 16_384), dtype)),
            {"layout": "inputs_first", "out_dtype": jnp.dtype(jnp.float32)},
        )
        for dtype in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32))
        for rows in (1, 256)
    },
)


def matmul(
    x: Float[Array, "rows k"],
    weight: Float[Array, "..."],
    *,
    layout: str,
    out_dtype: Any = jnp.float32,
    is_split: bool = False,
    implementation: str | None = None,
) -> Float[Array, "rows ..."]:
    """Multiplies rows of activations with a weight, accumulating in float32. Not differentiable by itself.

    Args:
        x: bfloat16, float16 or float32.
        weight: of the same type; [K, N] ("inputs_first"), [heads, K, H] ("heads_first") or [N, K] ("outputs_first").
        layout: which.
        out_dtype: float32, or the type of `x`.
        is_split: whether operands may lie on a mesh, so that XLA must be able to split the product.
        implementation: "native", "xla_cpu", "xla" or "reference"; None for the best.

    Returns:
        [rows, N] or [rows, heads, H].
    """
    options = {"layout": layout, "out_dtype": jnp.dtype(out_dtype)}
    return OPERATION(x, weight, **options, is_split=is_split, implementation=implementation)
