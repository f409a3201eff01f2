"""The gated unit by the native CPU kernels, in one pass, on all of their threads."""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels import native

_DTYPES = (jnp.bfloat16, jnp.float32)


def supports(gate: Array, up: Array) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if gate.dtype not in _DTYPES or up.dtype != gate.dtype:
        return f"gate and up must be bfloat16 or float32, got {gate.dtype} and {up.dtype}"
    return native.absence()


def geglu(gate: Float[Array, "*rows F"], up: Float[Array, "*rows F"]) -> Float[Array, "*rows F"]:
    """As `reference.geglu`."""
    call = jax.ffi.ffi_call(
        "codegemma_gated", jax.ShapeDtypeStruct(gate.shape, gate.dtype), vmap_method="broadcast_all"
    )
    return call(gate, up)


def supports_backward(gate: Array, up: Array, gradient: Array) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if gradient.dtype != gate.dtype:
        return f"the gradient must be of the type of gate, {gate.dtype}, got {gradient.dtype}"
    return supports(gate, up)


def backward(
    gate: Float[Array, "*rows F"], up: Float[Array, "*rows F"], gradient: Float[Array, "*rows F"]
) -> tuple[Float[Array, "*rows F"], Float[Array, "*rows F"]]:
    """As `reference.backward`; each is rounded once."""
    shape = jax.ShapeDtypeStruct(gate.shape, gate.dtype)
    of_gate, of_up = jax.ffi.ffi_call("codegemma_gated_backward", (shape, shape), vmap_method="broadcast_all")(
        gate, up, gradient
    )
    return of_gate, of_up
