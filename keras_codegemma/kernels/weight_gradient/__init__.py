"""The gradient of a weight from its layer's input and the gradient of its layer's result: `weight_gradient`."""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.dispatch import PLATFORMS, Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.weight_gradient import native, reference

__all__ = ["OPERATION", "weight_gradient"]


def _by_xla(x: Array, gradient: Array, *, equation: str) -> Float[Array, "..."]:
    return jnp.einsum(equation, x, gradient, preferred_element_type=jnp.float32)


OPERATION = Operation(
    "weight_gradient",
    Implementation(
        name="native", platforms=("cpu",), supports=native.supports, run=native.weight_gradient, splits=False
    ),
    Implementation(name="xla", platforms=PLATFORMS, supports=anything, run=_by_xla),
    as_reference(reference.weight_gradient),
    examples=lambda: {
        f"{dtype}_m8192_k2048_n16384": (
            (jax.ShapeDtypeStruct((1, 8192, 2048), dtype), jax.ShapeDtypeStruct((1, 8192, 16_384), dtype)),
            {"equation": "btd,btf->df"},
        )
        for dtype in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32))
    },
)


def weight_gradient(
    equation: str,
    x: Float[Array, "..."],
    gradient: Float[Array, "..."],
    *,
    is_split: bool = False,
    implementation: str | None = None,
) -> Float[Array, "..."]:
    """The einsum of two arrays over their rows, accumulating in float32. Not differentiable by itself.

    Args:
        equation: the letters that are summed over stand first in both operands, and are all that these share:
            "btd,btf->df".
        x: of a float type.
        gradient: of the same type.
        is_split: whether operands may lie on a mesh, so that XLA must be able to split the product.
        implementation: "native", "xla" or "reference"; None for the best.

    Returns:
        float32.
    """
    return OPERATION(x, gradient, equation=equation, is_split=is_split, implementation=implementation)
