"""The gated unit, with and without its products: every version against the reference over all cases."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels.geglu import (
    BACKWARD,
    OPERATION,
    PRODUCTS,
    cases,
    geglu,
    geglu_products,
    plain,
    reference,
    tpu,
)
from tests.kernels.levels import runs_at
from tests.tolerances import tolerance

TILES = tpu.Tiles(rows=16, outputs=256, inputs=128)  # several along each axis, the last beyond the arrays
PRODUCT_VERSIONS = {
    "xla": (plain.geglu_products, plain.products_backward),
    "pallas": (
        partial(tpu.geglu_products, tiles=TILES, interpret=True),
        partial(tpu.products_backward, tiles=TILES, interpret=True),
    ),
}
RUNS = [("xla", case) for case in cases.TESTED] + [("pallas", case) for case in (*cases.CUT, *cases.SMALL)]


def numbers(*shape: int, dtype: str, size: float = 1.0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(shape).normal(size=shape) * size, dtype)


def wide(*arrays: jax.Array) -> list[jax.Array]:
    return [x.astype(jnp.float32) for x in arrays]


def error(ours: jax.Array, theirs: jax.Array | np.ndarray) -> float:
    of_all = np.asarray(theirs, np.float64)
    return np.abs(np.asarray(ours, np.float64) - of_all).max() / np.abs(of_all).max()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("level", ["avx512", "avx2", "portable"])
def test_the_native_unit_equals_float64_at_every_level(any_level, level, dtype):
    if not runs_at(level):
        return
    for rows, width in ((1, 16_384), (3, 77), (1, 5)):
        gate, up = numbers(2, rows, width, dtype=dtype, size=4)
        ours = geglu(gate, up, implementation="native")
        assert ours.dtype == gate.dtype
        # The reference's 1 + tanh has lost its digits where the gate is far below 0.
        g, u = (np.asarray(x, np.float64) for x in (gate, up))
        expected = 0.5 * g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3))) * u
        assert error(ours, expected) <= tolerance("geglu", dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("level", ["avx512", "avx2", "portable"])
def test_the_native_gradients_equal_float64_at_every_level(any_level, level, dtype):
    if not runs_at(level):
        return
    for rows, width in ((1, 16_384), (3, 77), (1, 5)):
        gate, up, gradient = numbers(3, rows, width, dtype=dtype, size=4)
        ours = BACKWARD(gate, up, gradient, implementation="native")
        g, u, d = (np.asarray(x, np.float64) for x in (gate, up, gradient))
        t = np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3))
        slope = (1 + t) / 2 + g * (1 - t**2) / 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * g**2)
        for our, expected in zip(ours, (d * u * slope, d * g * (1 + t) / 2), strict=True):
            assert our.dtype == gate.dtype
            assert error(our, expected) <= tolerance("geglu", dtype)


def test_the_native_gradients_of_extreme_gates_are_numbers(native_library):
    gate = jnp.asarray([-1e30, -40.0, 0.0, 40.0, 1e10], jnp.float32)
    of_gate, of_up = BACKWARD(gate, jnp.full(5, 2.0), jnp.ones(5), implementation="native")
    assert of_gate.tolist() == [0, 0, 1, 2, 2]
    assert of_up.tolist() == [0, 0, 0, 40, 1e10]


def test_the_native_unit_keeps_nan_in_its_place(native_library):
    gate = jnp.asarray([1.0, np.nan, -1e30, 1e10, 0.0], jnp.bfloat16)
    up = jnp.asarray([np.nan, 1.0, 1.0, 1.0, 2.0], jnp.bfloat16)
    value = np.asarray(geglu(gate, up, implementation="native"), np.float32)
    assert np.isnan(value).tolist() == [True, True, False, False, False]
    assert value[2:].tolist() == [0.0, float(jnp.bfloat16(1e10)), 0.0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", cases.TESTED, ids=lambda case: case.name)
def test_the_unit_and_its_gradients_equal_the_reference(case, dtype):
    gate, up, gradient = numbers(3, case.rows, case.width, dtype=dtype, size=3)
    assert error(geglu(gate, up), reference.geglu(*wide(gate, up))) <= tolerance("geglu", dtype)
    for pull in (jax.vjp(geglu, gate, up)[1], jax.jit(jax.vjp(geglu, gate, up)[1])):
        for ours, theirs in zip(pull(gradient), reference.backward(*wide(gate, up, gradient)), strict=True):
            assert ours.dtype == gate.dtype
            assert error(ours, theirs) <= tolerance("geglu", dtype)


def test_large_and_infinite_gates_give_no_nan():
    gate = jnp.asarray([-1e30, -50.0, 0.0, 50.0, 1e10], jnp.float32)
    value, pull = jax.vjp(geglu, gate, jnp.ones(5))
    assert np.asarray(value).tolist() == [0, 0, 0, 50, np.float32(1e10)]
    assert np.isfinite(np.asarray(pull(jnp.ones(5)))).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("version", "case"), RUNS, ids=lambda x: getattr(x, "name", x))
def test_products_and_their_gradients_equal_the_reference(version, case, dtype):
    x = numbers(case.rows, case.inputs, dtype=dtype)
    gate_kernel, up_kernel = numbers(2, case.inputs, case.width, dtype=dtype, size=2 * case.inputs**-0.5)
    gradient = numbers(case.rows, case.width, dtype=dtype)
    forward, backward = PRODUCT_VERSIONS[version]
    ours, theirs = forward(x, gate_kernel, up_kernel), reference.geglu_products(*wide(x, gate_kernel, up_kernel))
    assert ours.dtype == x.dtype
    assert error(ours, theirs) <= tolerance("geglu", dtype)
    expected = reference.products_backward(*wide(x, gate_kernel, up_kernel, gradient))
    for our, their in zip(backward(x, gate_kernel, up_kernel, gradient), expected, strict=True):
        assert error(our, their) <= tolerance("geglu", dtype)


@pytest.mark.parametrize("implementation", [None, "reference"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_through_the_products_are_the_formulas(dtype, implementation):
    x, gradient = numbers(2, 3, 40, dtype=dtype), numbers(2, 3, 72, dtype=dtype)
    kernels = numbers(2, 40, 72, dtype=dtype, size=0.2)

    def formula(x, gate_kernel, up_kernel):
        return jax.nn.gelu(x @ gate_kernel, approximate=True) * (x @ up_kernel)

    def ours(*operands):
        return geglu_products(*operands, implementation=implementation)

    expected = jax.vjp(formula, *wide(x, *kernels))[1](*wide(gradient))
    got = jax.jit(lambda *operands: jax.vjp(ours, *operands)[1](gradient))(x, *kernels)
    for our, their in zip(got, expected, strict=True):
        assert error(our, their) <= tolerance("geglu_products", dtype)


def test_neither_half_is_kept_between_the_passes():
    x, kernel = jax.ShapeDtypeStruct((64, 32), "float32"), jax.ShapeDtypeStruct((32, 512), "float32")
    _, pull = jax.eval_shape(lambda *operands: jax.vjp(geglu_products, *operands), x, kernel, kernel)
    assert {leaf.shape for leaf in jax.tree.leaves(pull)} == {(64, 32), (32, 512)}
    half = jax.ShapeDtypeStruct((64, 512), "bfloat16")
    _, pull = jax.eval_shape(lambda *operands: jax.vjp(geglu, *operands), half, half)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(pull)] == [((64, 512), jnp.bfloat16)] * 2


def test_choice_follows_the_platform(native_library):
    arguments, options = cases.REAL_2B[0].arguments("bfloat16")
    taken = {platform: OPERATION.choose(platform, *arguments, **options).taken.name for platform in ("cpu", "tpu")}
    assert taken == {"cpu": "native", "tpu": "xla"}
    half = jax.ShapeDtypeStruct((4, 8), "float16")
    assert OPERATION.choose("cpu", half, half).refused == {
        "native": "gate and up must be bfloat16 or float32, got float16 and float16"
    }
    arguments, options = cases.REAL_2B[0].product_arguments("bfloat16")
    assert PRODUCTS.choose("tpu", *arguments, **options).taken.name == "pallas"
    assert PRODUCTS.choose("cpu", *arguments, **options).taken.name == "xla"


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "dtype", "reason"),
    [
        (4, 100, 256, "float32", "both widths must be multiples of 128, got 100 and 256"),
        (4, 128, 200, "float32", "both widths must be multiples of 128, got 128 and 200"),
        (
            4,
            128,
            256,
            "float16",
            "rows and kernels must all be bfloat16 or all float32, got float16, float16 and float16",
        ),
        (0, 128, 256, "float32", "there must be at least one row"),
    ],
)
def test_the_tpu_kernel_says_why_it_refuses(rows, inputs, outputs, dtype, reason):
    kernel = jax.ShapeDtypeStruct((inputs, outputs), dtype)
    assert tpu.supports(jax.ShapeDtypeStruct((rows, inputs), dtype), kernel, kernel) == reason


def test_bad_input_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"one shape and dtype; got \(2, 4\) float32 and \(2, 3\) float32"):
        geglu(jnp.ones((2, 4)), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"\[D, F\] for rows \[..., D\]; got \(4, 5\), \(4, 6\) and \(2, 4\)"):
        geglu_products(jnp.ones((2, 4)), jnp.ones((4, 5)), jnp.ones((4, 6)))
    with pytest.raises(ValueError, match="must have one dtype; got float32, bfloat16 and float32"):
        geglu_products(jnp.ones((2, 4)), jnp.ones((4, 5), jnp.bfloat16), jnp.ones((4, 5)))
    with pytest.raises(ValueError, match=r"got rows=16, outputs=100, inputs=512\. Round them up"):
        tpu.Tiles(rows=16, outputs=100)
