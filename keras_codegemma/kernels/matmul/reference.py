"""Activations times a float weight in one of three layouts, as in the definition, in float32."""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float

EQUATIONS = {"inputs_first": "mk,kn->mn", "heads_first": "md,ndh->mnh", "outputs_first": "mk,nk->mn"}
"""Layouts of a weight: a dense kernel, a kernel with heads first, an embedding used as an output projection."""


def matmul(
    x: Float[Array, "rows k"], weight: Float[Array, "..."], *, layout: str, out_dtype: jnp.dtype
) -> Float[Array, "rows ..."]:
    """The product by `EQUATIONS`, in float32, rounded once."""
    wide = x.astype(jnp.float32), weight.astype(jnp.float32)
    return jnp.einsum(EQUATIONS[layout], *wide, precision="highest").astype(out_dtype)
