"""Root-mean-square normalisation by the compiler, which fuses it with its neighbours; the gradient by hand.

With r = 1 / sqrt(mean(x^2) + epsilon), n = x r and h = g (1 + scale) for a gradient g of the result:

    d scale = sum over rows of g n        d x = r (h - n mean(h n))
"""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float


def rms_norm(
    x: Float[Array, "*rows D"], residual: Float[Array, "*rows D"] | None, scale: Float[Array, " D"], *, epsilon: float
) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows D"]]:
    """As `reference.rms_norm`."""
    total = x if residual is None else x + residual
    normed, _ = normalised(total, epsilon=epsilon)
    return total, (normed * (1.0 + scale.astype(jnp.float32))).astype(x.dtype)


def backward(
    total: Float[Array, "*rows D"],
    scale: Float[Array, " D"],
    of_total: Float[Array, "*rows D"] | None,
    of_normed: Float[Array, "*rows D"],
    *,
    epsilon: float,
) -> tuple[Float[Array, "*rows D"], Float[Array, " D"]]:
    """As `reference.backward`; the rows' gradient is rounded once."""
    normed, inverse = normalised(total, epsilon=epsilon)
    gradient = of_normed.astype(jnp.float32)
    of_scale = jnp.sum(gradient * normed, axis=tuple(range(total.ndim - 1)))
    scaled = gradient * (1.0 + scale.astype(jnp.float32))
    of_rows = inverse * (scaled - normed * jnp.mean(scaled * normed, axis=-1, keepdims=True))
    if of_total is not None:
        of_rows += of_total.astype(jnp.float32)
    return of_rows.astype(total.dtype), of_scale


def normalised(
    x: Float[Array, "*rows D"], *, epsilon: float
) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows 1"]]:
    """The rows times their inverse root mean square, and that, in float32."""
    wide = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + epsilon)
    return wide * inverse, inverse
