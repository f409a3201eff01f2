"""The normalisation of many rows by the native CPU kernels.

XLA's CPU compiler makes a float32 array of every row for the scale, and keeps another of the inverse for the backward
pass: of a training step of the tiny preset's shape, 226 of 524 MB of temporaries.
"""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels import native

MIN_ROWS = 64
"""Fewer XLA fuses with their neighbours."""
_DTYPES = (jnp.bfloat16, jnp.float32)


def supports(x: Array, residual: Array | None, scale: Array, **_: float) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if x.dtype not in _DTYPES:
        return f"rows must be bfloat16 or float32, got {x.dtype}"
    if prod(x.shape[:-1]) < MIN_ROWS:
        return f"it is for {MIN_ROWS} rows or more, got {prod(x.shape[:-1])}"
    return native.absence()


def supports_backward(total: Array, scale: Array, of_total: Array | None, of_normed: Array, **_: float) -> str | None:
    """Likewise."""
    if any(x is not None and x.dtype != total.dtype for x in (of_total, of_normed)):
        return f"gradients must be of the rows' type, {total.dtype}"
    return supports(total, of_total, scale)


def rms_norm(
    x: Float[Array, "*rows D"], residual: Float[Array, "*rows D"] | None, scale: Float[Array, " D"], *, epsilon: float
) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows D"]]:
    """As `reference.rms_norm`."""
    if residual is None:
        (normed,) = _call("codegemma_norm", [x], scale, epsilon, results=[_flat(x)])
        return x, normed.reshape(x.shape)
    rows = _call("codegemma_add_norm", [x, residual], scale, epsilon, results=[_flat(x)] * 2)
    total, normed = (row.reshape(x.shape) for row in rows)
    return total, normed


def backward(
    total: Float[Array, "*rows D"],
    scale: Float[Array, " D"],
    of_total: Float[Array, "*rows D"] | None,
    of_normed: Float[Array, "*rows D"],
    *,
    epsilon: float,
) -> tuple[Float[Array, "*rows D"], Float[Array, " D"]]:
    """As `reference.backward`; the rows' gradient is rounded once."""
    name = "codegemma_norm_backward" if of_total is None else "codegemma_add_norm_backward"
    gradients = [of_normed] if of_total is None else [of_normed, of_total]
    results = [_flat(total), jax.ShapeDtypeStruct(scale.shape, jnp.float32)]
    of_rows, of_scale = _call(name, [total], scale, epsilon, results=results, behind=gradients)
    return of_rows.reshape(total.shape), of_scale


def _flat(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((prod(x.shape[:-1]), x.shape[-1]), x.dtype)


def _call(
    name: str, rows: list[Array], scale: Array, epsilon: float, *, results: Any, behind: list[Array] | None = None
) -> list[Array]:
    first, last = ([x.reshape(-1, x.shape[-1]) for x in arrays] for arrays in (rows, behind or []))
    call = jax.ffi.ffi_call(name, results, vmap_method="sequential")
    return list(call(*first, scale.astype(jnp.float32), *last, epsilon=np.float32(epsilon)))
