"""Root-mean-square normalisation as in its formula (Zhang and Sennrich, 2019), with Gemma's 1 + scale."""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float


def rms_norm(
    x: Float[Array, "*rows D"], residual: Float[Array, "*rows D"] | None, scale: Float[Array, " D"], *, epsilon: float
) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows D"]]:
    """The sum of x and the residual, where there is one, and its normalisation: float32, each rounded once."""
    total = x if residual is None else x + residual
    wide = total.astype(jnp.float32)
    normed = wide / jnp.sqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + epsilon)
    return total, (normed * (1.0 + scale.astype(jnp.float32))).astype(x.dtype)


def backward(
    total: Float[Array, "*rows D"],
    scale: Float[Array, " D"],
    of_total: Float[Array, "*rows D"] | None,
    of_normed: Float[Array, "*rows D"],
    *,
    epsilon: float,
) -> tuple[Float[Array, "*rows D"], Float[Array, " D"]]:
    """Gradients of the sum and of the scale, by automatic differentiation in float32."""
    wide = (total.astype(jnp.float32), scale.astype(jnp.float32))
    _, pull = jax.vjp(lambda x, scale: rms_norm(x, None, scale, epsilon=epsilon)[1], *wide)
    of_rows, of_scale = pull(of_normed.astype(jnp.float32))
    if of_total is not None:
        of_rows += of_total.astype(jnp.float32)
    return of_rows.astype(total.dtype), of_scale
