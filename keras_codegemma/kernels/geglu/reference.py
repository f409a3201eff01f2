"""The gated unit of a feed-forward layer as in its formula (Shazeer, 2020, "GLU variants improve transformer")."""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float


def geglu(gate: Float[Array, "*rows F"], up: Float[Array, "*rows F"]) -> Float[Array, "*rows F"]:
    """gelu(gate) * up with GELU's tanh form (Hendrycks and Gimpel, 2016), float32, rounded once to the gate's type."""
    wide = gate.astype(jnp.float32)
    gelu = 0.5 * wide * (1.0 + jnp.tanh((2.0 / jnp.pi) ** 0.5 * (wide + 0.044715 * wide**3)))
    return (gelu * up.astype(jnp.float32)).astype(gate.dtype)


def backward(
    gate: Float[Array, "*rows F"], up: Float[Array, "*rows F"], gradient: Float[Array, "*rows F"]
) -> tuple[Float[Array, "*rows F"], Float[Array, "*rows F"]]:
    """Gradients of gate and up, by automatic differentiation in float32."""
    wide = (gate.astype(jnp.float32), up.astype(jnp.float32))
    of_gate, of_up = jax.vjp(geglu, *wide)[1](gradient.astype(jnp.float32))
    return of_gate.astype(gate.dtype), of_up.astype(up.dtype)


def geglu_products(
    x: Float[Array, "M D"], gate_kernel: Float[Array, "D F"], up_kernel: Float[Array, "D F"]
) -> Float[Array, "M F"]:
    """gelu(x gate_kernel) * (x up_kernel): float32 products, rounded once to the type of x."""
    wide = x.astype(jnp.float32)
    gate, up = (jnp.matmul(wide, w.astype(jnp.float32), precision="highest") for w in (gate_kernel, up_kernel))
    return geglu(gate, up).astype(x.dtype)


def products_backward(
    x: Float[Array, "M D"],
    gate_kernel: Float[Array, "D F"],
    up_kernel: Float[Array, "D F"],
    gradient: Float[Array, "M F"],
) -> tuple[Float[Array, "M F"], Float[Array, "M F"]]:
    """Gradients of the two products, computed again from x, in the type of x."""
    wide = x.astype(jnp.float32)
    gate, up = (jnp.matmul(wide, w.astype(jnp.float32), precision="highest") for w in (gate_kernel, up_kernel))
    of_gate, of_up = backward(gate, up, gradient)
    return of_gate.astype(x.dtype), of_up.astype(x.dtype)
