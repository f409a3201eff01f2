"""Gradients of weights: every implementation against the reference, in every order of a kernel's axes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels import native
from keras_codegemma.kernels.weight_gradient import OPERATION, weight_gradient
from tests.tolerances import tolerance

# Equation, shapes. Inputs first, outputs first, heads first, heads first in the input; odd rows, tails of every kind.
CASES = [
    ("btd,btf->df", (2, 64, 96), (2, 64, 130)),
    ("btf,btd->df", (1, 513, 70), (1, 513, 65)),
    ("btd,btnh->ndh", (3, 43, 24), (3, 43, 4, 16)),
    ("btnh,btd->nhd", (1, 2000, 3, 8), (1, 2000, 5)),
    ("mv,md->vd", (700, 200), (700, 1)),
    ("mv,md->vd", (1025, 7), (1025, 193)),
    ("mk,mn->kn", (64, 1), (64, 64)),
]


def operands(shapes, dtype: str) -> list[jax.Array]:
    rng = np.random.default_rng()
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize(("equation", "x", "y"), CASES)
def test_native_equals_the_reference(best_level, equation, x, y):
    x, y = operands((x, y), "bfloat16")
    expected = np.asarray(weight_gradient(equation, x, y, implementation="reference"))
    found = np.asarray(jax.jit(lambda x, y: weight_gradient(equation, x, y, implementation="native"))(x, y))
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    # A sum of up to 2000 products that are exact in float32.
    assert np.abs(found - expected).max() <= tolerance("product", "float32") * 10 * np.abs(expected).max()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("equation", "x", "y"), CASES)
def test_xla_equals_the_reference(equation, x, y, dtype):
    x, y = operands((x, y), dtype)
    expected = np.asarray(weight_gradient(equation, x, y, implementation="reference"))
    found = np.asarray(weight_gradient(equation, x, y, implementation="xla"))
    assert np.abs(found - expected).max() <= tolerance("product", "float32") * 10 * np.abs(expected).max()


def test_nan_stays_in_its_column(best_level):
    x, y = operands(((513, 13), (513, 70)), "bfloat16")
    found = np.asarray(weight_gradient("mk,mn->kn", x.at[512, 12].set(jnp.nan), y, implementation="native"))
    clean = np.asarray(weight_gradient("mk,mn->kn", x, y, implementation="native"))
    assert np.isnan(found[12]).all()
    np.testing.assert_array_equal(found[:12], clean[:12])


@pytest.mark.parametrize(
    ("rows", "dtype", "message"),
    [
        (63, "bfloat16", "it is for 64 rows or more, got 63"),
        (64, "float32", "both operands must be bfloat16, got float32 and float32"),
    ],
)
def test_what_native_refuses_is_named(native_library, rows, dtype, message):
    x, y = operands(((rows, 8), (rows, 8)), dtype)
    with pytest.raises(ValueError, match=re.escape(message)):
        weight_gradient("mk,mn->kn", x, y, implementation="native")


def test_a_processor_without_the_instructions_takes_xla(any_level):
    native.limit_level("portable")
    x, y = operands(((64, 8), (64, 8)), "bfloat16")
    choice = OPERATION.choose("cpu", x, y, equation="mk,mn->kn")
    assert choice.taken.name == "xla"
    assert choice.refused == {"native": "it needs the instructions of avx512_bf16, this processor's best is portable"}
    with pytest.raises(ValueError, match="this processor's best is portable"):
        weight_gradient("mk,mn->kn", x, y, implementation="native")
