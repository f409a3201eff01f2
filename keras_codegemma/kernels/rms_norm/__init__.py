"""Root-mean-square normalisation, alone or of a sum: `rms_norm` and `add_rms_norm`.

The gradients are stated here, above the choice of a version: what the backward pass keeps, the rows as they were
normalised and the scale, is then the same for every version.

On TPU the compiler's version stands before the kernel, which runs when it is named. Between the products of a decoder
block at 8192 rows, the TPU compiler counts bytes moved by the whole as follows (kernel / its own; v5e, then v6e; 2B,
then 7B): forwards 1.07, 1.11, 0.93, 0.91; backwards 0.95, 0.92, 0.94, 0.77. That is no reason to give up that it
splits its own version over a mesh by itself; speed is not measured.

On CPUs the kernel is for memory (`native.py`), not speed: on two AVX-512 cores, forwards 0.7 times XLA's speed and with
gradients 1.8 at 8192 x 256, 1.0 and 0.8 at 512 x 2048 (`python -m tests.benchmarks.norms`).
"""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.dispatch import PLATFORMS, Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.rms_norm import native, plain, reference, tpu
from keras_codegemma.kernels.rms_norm.cases import EXAMPLES

__all__ = ["BACKWARD", "OPERATION", "add_rms_norm", "rms_norm"]


def _tpu_supports(x: Array, residual: Array | None, scale: Array, **_: float) -> str | None:
    return tpu.supports(x, scale)


def _tpu_supports_backward(total: Array, scale: Array, *_: Array | None, **__: float) -> str | None:
    return tpu.supports(total, scale)


OPERATION = Operation(
    "rms_norm",
    Implementation(name="native", platforms=("cpu",), supports=native.supports, run=native.rms_norm, splits=False),
    Implementation(name="xla", platforms=PLATFORMS, supports=anything, run=plain.rms_norm),
    Implementation(name="pallas", platforms=("tpu",), supports=_tpu_supports, run=tpu.rms_norm),
    as_reference(reference.rms_norm),
    examples=lambda: {case.name: case.arguments("bfloat16") for case in EXAMPLES},
)
BACKWARD = Operation(
    "rms_norm_backward",
    Implementation(
        name="native", platforms=("cpu",), supports=native.supports_backward, run=native.backward, splits=False
    ),
    Implementation(name="xla", platforms=PLATFORMS, supports=anything, run=plain.backward),
    Implementation(name="pallas", platforms=("tpu",), supports=_tpu_supports_backward, run=tpu.backward),
    as_reference(reference.backward),
    examples=lambda: {case.name: case.backward_arguments("bfloat16") for case in EXAMPLES if case.rows > 1},
)


def rms_norm(
    x: Float[Array, "*rows D"],
    scale: Float[Array, " D"],
    *,
    epsilon: float,
    is_split: bool = False,
    implementation: str | None = None,
) -> Float[Array, "*rows D"]:
    """X / sqrt(mean(x^2) + epsilon) * (1 + scale), in float32, rounded once to the type of `x`.

    The order of operations is KerasHub's and transformers'. The stored scale is the offset from 1. Differentiable with
    respect to both.

    Args:
        x: rows of any leading axes.
        scale: of any float type.
        epsilon: above 0, or a row of zeros gives NaN.
        is_split: whether operands may lie on a mesh, so that XLA must be able to split the operation.
        implementation: "native", "xla", "pallas" or "reference"; None for the best.

    Raises:
        ValueError: shapes that do not fit, or an implementation that cannot run here.
    """
    _check(x, scale)
    return _norm(x, scale, epsilon, is_split, implementation)


def add_rms_norm(
    x: Float[Array, "*rows D"],
    residual: Float[Array, "*rows D"],
    scale: Float[Array, " D"],
    *,
    epsilon: float,
    is_split: bool = False,
    implementation: str | None = None,
) -> tuple[Float[Array, "*rows D"], Float[Array, "*rows D"]]:
    """X + residual, rounded to their type, and `rms_norm` of that.

    Args:
        x: rows of any leading axes.
        residual: of the shape and type of `x`.
        scale: as in `rms_norm`.
        epsilon: as in `rms_norm`.
        is_split: as in `rms_norm`.
        implementation: as in `rms_norm`.

    Returns:
        The sum and its normalisation, each in the type of `x`.

    Raises:
        ValueError: as `rms_norm`.
    """
    _check(x, scale)
    if residual.shape != x.shape or residual.dtype != x.dtype:
        raise ValueError(
            f"What is added must have the rows' shape and dtype; got {residual.shape} {residual.dtype} for {x.shape} "
            f"{x.dtype}. Cast or project it first."
        )
    return _add_norm(x, residual, scale, epsilon, is_split, implementation)


def _check(x: Array, scale: Array) -> None:
    if x.ndim < 1 or scale.shape != x.shape[-1:]:
        raise ValueError(
            f"A scale must be [D] for rows [..., D]; got {scale.shape} and {x.shape}. Check the configuration."
        )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _norm(x: Array, scale: Array, epsilon: float, is_split: bool, implementation: str | None) -> Array:
    return OPERATION(x, None, scale, epsilon=epsilon, is_split=is_split, implementation=implementation)[1]


def _norm_forward(x: Array, scale: Array, *options: Any):
    return _norm(x, scale, *options), (x, scale)


def _norm_backward(
    epsilon: float, is_split: bool, implementation: str | None, saved: tuple[Array, Array], gradient: Array
):
    return _gradients(*saved, None, gradient, epsilon=epsilon, is_split=is_split, implementation=implementation)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _add_norm(
    x: Array, residual: Array, scale: Array, epsilon: float, is_split: bool, implementation: str | None
) -> tuple[Array, Array]:
    return OPERATION(x, residual, scale, epsilon=epsilon, is_split=is_split, implementation=implementation)


def _add_norm_forward(x: Array, residual: Array, scale: Array, *options: Any):
    results = cast(tuple[Array, Array], _add_norm(x, residual, scale, *options))
    return results, (results[0], scale)


def _add_norm_backward(
    epsilon: float,
    is_split: bool,
    implementation: str | None,
    saved: tuple[Array, Array],
    gradients: tuple[Array, Array],
):
    options = {"epsilon": epsilon, "is_split": is_split, "implementation": implementation}
    of_total, of_scale = _gradients(*saved, *gradients, **options)
    return of_total, of_total, of_scale


def _gradients(
    total: Array, scale: Array, of_total: Array | None, of_normed: Array, **options: Any
) -> tuple[Array, Array]:
    of_rows, of_scale = BACKWARD(total, scale, of_total, of_normed, **options)
    return of_rows, jnp.asarray(of_scale, scale.dtype)


_norm.defvjp(_norm_forward, _norm_backward)
_add_norm.defvjp(_add_norm_forward, _add_norm_backward)
