"""Activations times weights of 8 or 4 bits: `quantized_matmul`, over one weight or several that share activations."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.dispatch import Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.quantized_matmul import gpu, native, plain, reference, tpu
from keras_codegemma.kernels.quantized_matmul.cases import EXAMPLES
from keras_codegemma.kernels.quantized_matmul.weights import (
    DEFAULT_GROUP_SIZE,
    GROUP_SIZES,
    QuantizedWeight,
    dequantize,
    quantize,
    quantized_shapes,
)

__all__ = [
    "DEFAULT_GROUP_SIZE",
    "GROUP_SIZES",
    "OPERATION",
    "QuantizedWeight",
    "dequantize",
    "quantize",
    "quantized_matmul",
    "quantized_shapes",
]

OPERATION = Operation(
    "quantized_matmul",
    Implementation(name="pallas", platforms=("tpu",), supports=tpu.supports, run=tpu.quantized_matmul, splits=False),
    Implementation(name="triton", platforms=("cuda",), supports=gpu.supports, run=gpu.quantized_matmul, splits=False),
    Implementation(
        name="native", platforms=("cpu",), supports=native.supports, run=native.quantized_matmul, splits=False
    ),
    Implementation(name="xla", platforms=("cpu", "tpu", "cuda", "rocm"), supports=anything, run=plain.quantized_matmul),
    as_reference(reference.quantized_matmul),
    examples=lambda: {case.name: case.arguments("bfloat16") for case in EXAMPLES},
)


def quantized_matmul(
    x: Float[Array, "... K"],
    weights: Sequence[QuantizedWeight],
    *,
    out_dtype: str | None = None,
    is_split: bool = False,
    implementation: str | None = None,
) -> list[Float[Array, "... N"]]:
    """Multiplies activations with each of several quantised weights, in one call where the implementation can.

    Differentiable with respect to `x` alone: the gradient is the plain product with the weights made floats.

    Args:
        x: bfloat16 or float32.
        weights: each [N, K].
        out_dtype: of the results; None for that of `x`.
        is_split: whether operands may lie on a mesh, so that XLA must be able to split the product.
        implementation: "pallas", "triton", "native", "xla" or "reference"; None for the best.

    Returns:
        One [..., N] for each weight, summed in float32.

    Raises:
        ValueError: inputs that do not fit, or an implementation that cannot run here.
    """
    for weight in weights:
        if weight.shape[1] != x.shape[-1]:
            raise ValueError(
                f"A weight's inputs must be the activations' last axis; got {weight.shape[1]} and {x.shape[-1]}. "
                "Pass the weight as [N, K]."
            )
    rows = x.reshape(-1, x.shape[-1])
    dtype = jnp.dtype(out_dtype or x.dtype)
    products: list[Array] = _quantized_matmul(dtype, is_split, implementation, rows, tuple(weights))
    return [product.reshape(*x.shape[:-1], -1) for product in products]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _quantized_matmul(
    out_dtype: jnp.dtype, is_split: bool, implementation: str | None, x: Array, weights: tuple[QuantizedWeight, ...]
) -> list[Array]:
    return OPERATION(x, weights, out_dtype=out_dtype, is_split=is_split, implementation=implementation)


def _forward(
    out_dtype: jnp.dtype, is_split: bool, implementation: str | None, x: Array, weights: tuple[QuantizedWeight, ...]
):
    # An empty array carries the dtype: residuals are arrays.
    products = _quantized_matmul(out_dtype, is_split, implementation, x, weights)
    return products, (weights, jnp.zeros((0,), x.dtype))


def _backward(out_dtype: jnp.dtype, is_split: bool, implementation: str | None, saved, gradients: list[Array]):
    weights, like = saved
    total = sum(
        jnp.matmul(
            gradient.astype(like.dtype), dequantize(weight).astype(like.dtype), preferred_element_type=jnp.float32
        )
        for gradient, weight in zip(gradients, weights, strict=True)
    )
    return jnp.asarray(total, like.dtype), jax.tree.map(_no_gradient, weights)


def _no_gradient(array: Array) -> Array | np.ndarray:
    """Weights are frozen: zeros, which for integers JAX wants in a type of their own."""
    if jnp.issubdtype(array.dtype, jnp.integer):
        return np.zeros(array.shape, jax.dtypes.float0)
    return jnp.zeros_like(array)


_quantized_matmul.defvjp(_forward, _backward)
