"""Sums over many bfloat16 rows by the native CPU kernel.

XLA's CPU compiler is fast at bfloat16 where the summed axis is the last of one operand, as in the other products of a
layer. Over the rows of both, which its instructions need in pairs, this kernel was 1.7 to 3.4 times as fast (`python -m
tests.benchmarks.weight_gradient`, 2026-11-28, two busy cores of an AMD EPYC of the fifth generation, JAX 0.10.2).
"""

from math import prod

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels import native
from keras_codegemma.kernels.native import products

LEVEL = "avx512_bf16"
MIN_ROWS = 64


def supports(x: Array, gradient: Array, *, equation: str) -> str | None:
    """Why these arguments cannot run, or None when they can."""
    if x.dtype != jnp.bfloat16 or gradient.dtype != jnp.bfloat16:
        return f"both operands must be bfloat16, got {x.dtype} and {gradient.dtype}"
    rows = prod(x.shape[: len(_rows(equation))])
    if rows < MIN_ROWS:
        return f"it is for {MIN_ROWS} rows or more, got {rows}"
    return native.absence_at(LEVEL)


def weight_gradient(x: Float[Array, "..."], gradient: Float[Array, "..."], *, equation: str) -> Float[Array, "..."]:
    """Float32, in the order of the equation's result."""
    rows = _rows(equation)
    operands, result = equation.split("->")
    x_letters, y_letters = (letters[len(rows) :] for letters in operands.split(","))
    if result == y_letters + x_letters:  # the weight's own order, and nothing is left to transpose
        x, gradient, x_letters, y_letters = gradient, x, y_letters, x_letters
    kept = x.shape[len(rows) :], gradient.shape[len(rows) :]
    flat = [array.reshape(-1, prod(shape)) for array, shape in zip((x, gradient), kept, strict=True)]
    product = products.over_rows(*flat).reshape(*kept[0], *kept[1])
    return product.transpose([(x_letters + y_letters).index(letter) for letter in result])


def _rows(equation: str) -> str:
    """The letters that are summed over, which stand first in both operands."""
    operands, result = equation.split("->")
    x_letters, y_letters = operands.split(",")
    rows = "".join(letter for letter in x_letters if letter in y_letters)
    assert x_letters.startswith(rows), equation
    assert y_letters.startswith(rows), equation
    assert sorted(result) == sorted((x_letters + y_letters).replace(rows, "")), equation
    return rows
