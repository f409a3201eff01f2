"""The gradient of a weight by an einsum equation, as in the definition, in float32."""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float


def weight_gradient(x: Float[Array, "..."], gradient: Float[Array, "..."], *, equation: str) -> Float[Array, "..."]:
    """The einsum, in float32."""
    return jnp.einsum(equation, x.astype(jnp.float32), gradient.astype(jnp.float32), precision="highest")
