"""Attention of a few new tokens over a cache by the native CPU kernels: each row's slots are read once, as they lie."""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels import native

_DTYPES = (jnp.bfloat16, jnp.float32)
_LANES = 16


def supports(
    query: Array, key: Array, value: Array, lengths: Array, key_scale: Array | None = None, *_: Array | None
) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if key_scale is not None or key.dtype not in _DTYPES or value.dtype != key.dtype:
        return f"the cache must be bfloat16 or float32, got {key.dtype} and {value.dtype}"
    if query.dtype not in _DTYPES:
        return f"queries must be bfloat16 or float32, got {query.dtype}"
    if query.shape[3] % _LANES:
        return f"heads must be a multiple of {_LANES} wide, got {query.shape[3]}"
    return native.absence()


def decode_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    lengths: Int[Array, " B"],
    key_scale: None = None,
    value_scale: None = None,
) -> Float[Array, "B T N H"]:
    """As `reference.decode_attention`, in the dtype of `query`; everything in between is float32."""
    call = jax.ffi.ffi_call(
        "codegemma_attend", jax.ShapeDtypeStruct(query.shape, query.dtype), vmap_method="sequential"
    )
    return call(query, key, value, lengths.astype(jnp.int32))
