"""The gated unit by the compiler, which fuses it into one pass; the gradient by hand, from gate and up alone.

With t = tanh(c (g + a g^3)), c = sqrt(2 / pi), a = 0.044715:

    gelu(g) = g (1 + t) / 2        gelu'(g) = (1 + t) / 2 + g (1 - t^2) c (1 + 3 a g^2) / 2

Automatic differentiation would keep several float32 arrays of the same size from the forward pass.
"""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float

_C = (2.0 / 3.141592653589793) ** 0.5
_A = 0.044715


def geglu(gate: Float[Array, "*rows F"], up: Float[Array, "*rows F"]) -> Float[Array, "*rows F"]:
    """As `reference.geglu`."""
    activated = jax.nn.gelu(gate.astype(jnp.float32), approximate=True)
    return (activated * up.astype(jnp.float32)).astype(gate.dtype)


def backward(
    gate: Float[Array, "*rows F"], up: Float[Array, "*rows F"], gradient: Float[Array, "*rows F"]
) -> tuple[Float[Array, "*rows F"], Float[Array, "*rows F"]]:
    """As `reference.backward`; each is rounded once."""
    of_gate, of_up = gradients(*(x.astype(jnp.float32) for x in (gate, up, gradient)))
    return of_gate.astype(gate.dtype), of_up.astype(up.dtype)


def gradients(gate: Array, up: Array, gradient: Array) -> tuple[Array, Array]:
    """Gradients of gate and up, all in float32; also what the kernels compute on their tiles."""
    # Bounded, or 0 times infinity would be NaN; beyond 31 the tanh is 1 to the last bit.
    squared = jnp.minimum(gate * gate, 1e3)
    tanh = jnp.tanh(_C * gate * (1.0 + _A * squared))
    half = 0.5 * (1.0 + tanh)
    slope = half + 0.5 * gate * (1.0 - tanh * tanh) * (_C * (1.0 + 3.0 * _A * squared))
    return gradient * up * slope, gradient * gate * half


def activated(gate: Array, up: Array) -> Array:
    """gelu(gate) * up in float32, on the kernels' tiles."""
    return 0.5 * gate * (1.0 + jnp.tanh(_C * gate * (1.0 + _A * gate * gate))) * up


def geglu_products(
    x: Float[Array, "M D"], gate_kernel: Float[Array, "D F"], up_kernel: Float[Array, "D F"]
) -> Float[Array, "M F"]:
    """As `reference.geglu_products`, with products in the operands' type, summed in float32."""
    return geglu(*_products(x, gate_kernel, up_kernel)).astype(x.dtype)


def products_backward(
    x: Float[Array, "M D"],
    gate_kernel: Float[Array, "D F"],
    up_kernel: Float[Array, "D F"],
    gradient: Float[Array, "M F"],
) -> tuple[Float[Array, "M F"], Float[Array, "M F"]]:
    """As `reference.products_backward`."""
    of_gate, of_up = gradients(*_products(x, gate_kernel, up_kernel), gradient.astype(jnp.float32))
    return of_gate.astype(x.dtype), of_up.astype(x.dtype)


def _products(x: Array, gate_kernel: Array, up_kernel: Array) -> tuple[Array, Array]:
    gate, up = (jnp.matmul(x, kernel, preferred_element_type=jnp.float32) for kernel in (gate_kernel, up_kernel))
    return gate, up
