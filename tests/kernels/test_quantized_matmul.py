"""Weights in 8 and 4 bits: rounding, packing, products and gradients."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma.kernels import native
from keras_codegemma.kernels.native import products
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, dequantize, gpu, quantize, quantized_matmul, tpu
from keras_codegemma.kernels.quantized_matmul.cases import AWKWARD, CUT, TESTED, Case
from keras_codegemma.kernels.quantized_matmul.native import is_for_many
from tests.kernels.levels import runs_at
from tests.tolerances import tolerance

ON_GPU = jax.default_backend() == "gpu"


def operands(case: Case, dtype: str) -> tuple[jax.Array, list[QuantizedWeight]]:
    rng = np.random.default_rng([case.rows, case.outputs, case.inputs])
    x = jnp.asarray(rng.normal(size=(case.rows, case.inputs)), dtype)
    floats = rng.normal(size=(case.weights, case.outputs, case.inputs)).astype("float32")
    return x, [quantize(each, case.mode, group_size=case.group_size) for each in floats]


def floats(weight: QuantizedWeight) -> np.ndarray:
    """The matrix by the table in `weights.py`, in numpy and float64."""
    data, scale = np.asarray(weight.data), np.asarray(weight.scale).astype(np.float64)
    if data.dtype == np.int8:
        return data * scale[:, None]
    nibbles = np.stack([data & 15, data >> 4], axis=-1).reshape(len(data), -1).astype(int)
    signed = np.where(nibbles < 8, nibbles, nibbles - 16)
    return signed * np.repeat(scale, signed.shape[1] // scale.shape[1], axis=1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("case", TESTED, ids=lambda case: case.name)
@pytest.mark.parametrize("implementation", ["reference", "xla", "native"])
def test_products_equal_float64(native_library, implementation, case, dtype):
    x, weights = operands(case, dtype)
    results = quantized_matmul(x, weights, out_dtype="float32", implementation=implementation)
    name = "quantized_product_by_xla" if implementation == "xla" else "quantized_product"
    for result, weight in zip(results, weights, strict=True):
        expected = np.asarray(x, np.float64) @ floats(weight).T
        bound = np.array(tolerance(name, dtype) * np.abs(expected).max())
        if implementation == "native" and dtype == "bfloat16" and case.mode == "int8":
            bound = bound + rounding_to_words(x, weight)
        assert (np.abs(np.asarray(result) - expected) <= bound).all()


def rounding_to_words(x: jax.Array, weight: QuantizedWeight) -> np.ndarray:
    """Six standard deviations of what rounding activations to 16 bits does to each product [M, N]; 0 without AVX-512.

    A step is 1 / 32767 of the largest activation, that of a uniform error is 1 / sqrt(12) of a step.
    """
    if native.level() != products.MANY_LEVEL or is_for_many(x):
        return np.zeros(())
    steps = np.abs(np.asarray(x, np.float64)).max(axis=1) / 32767
    return 6 / np.sqrt(12) * np.outer(steps, np.linalg.norm(floats(weight), axis=1))


GPU_CASES = [
    *(case for case in CUT if case.rows == 5 and case.outputs == 70),
    *AWKWARD[2:6],
    Case(rows=7, outputs=50, inputs=160, mode="int4", group_size=32),
    # Several parts, the last outputs beyond the weight, as many rows as there may be.
    Case(rows=64, outputs=70, inputs=2048, mode="int8"),
    Case(rows=33, outputs=40, inputs=4096, mode="int4", group_size=64),
]


@pytest.mark.parametrize("case", GPU_CASES, ids=lambda case: case.name)
def test_triton_products_equal_float64(case):
    x, weights = operands(case, "bfloat16")
    weights = tuple(jax.tree.map(jnp.asarray, weights))
    assert gpu.supports(x, weights, out_dtype=x.dtype) is None
    results = gpu.quantized_matmul(x, weights, out_dtype=jnp.dtype("float32"), interpret=not ON_GPU)
    for result, weight in zip(results, weights, strict=True):
        assert result.dtype == jnp.float32
        expected = np.asarray(x, np.float64) @ floats(weight).T
        bound = tolerance("quantized_product", "bfloat16") * np.abs(expected).max()
        assert np.abs(np.asarray(result, np.float64) - expected).max() <= bound


def test_rows_of_nan_stay_where_they_are_in_triton():
    x, weights = operands(Case(rows=20, outputs=70, inputs=256, mode="int4", group_size=32), "bfloat16")
    weights = tuple(jax.tree.map(jnp.asarray, weights))
    options = {"out_dtype": jnp.dtype("float32"), "interpret": not ON_GPU}
    (poisoned,) = gpu.quantized_matmul(x.at[3].set(jnp.nan), weights, **options)
    assert np.isnan(np.asarray(poisoned)).any(axis=1).tolist() == [row == 3 for row in range(20)]


@pytest.mark.parametrize(
    ("case", "dtype", "reason"),
    [
        (Case(rows=1, outputs=8, inputs=256, mode="int8"), "float32", "activations must be bfloat16, got float32"),
        (Case(rows=65, outputs=8, inputs=256, mode="int8"), "bfloat16", "it is for 1 to 64 rows, got 65"),
        (Case(rows=1, outputs=8, inputs=96, mode="int8"), "bfloat16", "inputs must be a multiple of 64, got 96"),
    ],
)
def test_the_triton_kernel_says_why_it_refuses(case, dtype, reason):
    (x, weights), options = case.arguments(dtype)
    assert gpu.supports(x, weights, **options) == reason


ON_TPU = [
    Case(rows=rows, outputs=outputs, inputs=inputs, mode="int4", group_size=group)
    for rows, outputs, inputs, group in ((1, 300, 512, 32), (20, 256, 1024, 128), (33, 70, 2048, 64), (5, 8, 256, 128))
]


@pytest.mark.parametrize("case", ON_TPU, ids=lambda case: case.name)
def test_the_tpu_kernel_equals_float64(case):
    """Several tiles along each axis, the last beyond the arrays."""
    x, weights = operands(case, "bfloat16")
    tiles = tpu.Tiles(rows=16, outputs=128, columns=128)
    for dtype in (jnp.float32, jnp.bfloat16):
        options = {"out_dtype": jnp.dtype(dtype), "tiles": tiles, "interpret": True}
        (result,) = tpu.quantized_matmul(x, tuple(jax.tree.map(jnp.asarray, weights)), **options)
        assert result.dtype == dtype
        expected = np.asarray(x, np.float64) @ floats(weights[0]).T
        bound = tolerance("quantized_product_by_xla", "bfloat16") * np.abs(expected).max()
        assert np.abs(np.asarray(result, np.float64) - expected).max() <= bound


def test_rows_of_nan_stay_where_they_are_on_tpu():
    x, weights = operands(ON_TPU[1], "bfloat16")
    poisoned = tpu.quantized_matmul(
        x.at[3].set(jnp.nan),
        tuple(jax.tree.map(jnp.asarray, weights)),
        out_dtype=jnp.dtype(jnp.float32),
        tiles=tpu.Tiles(rows=16, outputs=128, columns=256),
        interpret=True,
    )[0]
    assert np.isnan(np.asarray(poisoned)).any(axis=1).tolist() == [row == 3 for row in range(20)]


@pytest.mark.parametrize(
    ("case", "dtype", "reason"),
    [
        (Case(rows=1, outputs=8, inputs=256, mode="int8"), "bfloat16", "int8 the compiler makes floats within its own"),
        (ON_TPU[0], "float32", "activations must be bfloat16, got float32"),
        (
            Case(rows=1, outputs=8, inputs=384, mode="int4", group_size=128),
            "bfloat16",
            "inputs must be a multiple of 256, got 384",
        ),
    ],
)
def test_the_tpu_kernel_says_why_it_refuses(case, dtype, reason):
    (x, weights), options = case.arguments(dtype)
    assert reason in str(tpu.supports(x, weights, **options))


@pytest.mark.parametrize("level", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize("case", AWKWARD, ids=lambda case: case.name)
def test_every_level_equals_float64(any_level, level, case):
    if not runs_at(level):
        return
    x, weights = operands(case, "bfloat16")
    for result, weight in zip(quantized_matmul(x, weights, out_dtype="float32"), weights, strict=True):
        expected = np.asarray(x, np.float64) @ floats(weight).T
        bound = tolerance("quantized_product", "bfloat16") * np.abs(expected).max()
        assert np.abs(np.asarray(result) - expected).max() <= bound


@pytest.mark.parametrize("implementation", ["reference", "xla", "native"])
@pytest.mark.parametrize("case", AWKWARD[-3:] + AWKWARD[:2], ids=lambda case: case.name)
def test_gradients_of_activations_equal_float64(native_library, implementation, case):
    x, weights = operands(case, "float32")
    pull = [jnp.asarray(np.random.default_rng(1).normal(size=(case.rows, case.outputs)), "float32") for _ in weights]

    def loss(x: jax.Array) -> jax.Array:
        results = quantized_matmul(x, weights, implementation=implementation)
        return sum((jnp.sum(result * p) for result, p in zip(results, pull, strict=True)), jnp.zeros(()))

    expected = sum(np.asarray(p, np.float64) @ floats(w) for p, w in zip(pull, weights, strict=True))
    got = np.asarray(jax.jit(jax.grad(loss))(x))
    assert np.abs(got - expected).max() <= tolerance("quantized_product", "float32") * np.abs(expected).max()


def test_a_row_of_nan_and_an_output_of_nan_stay_where_they_are(native_library):
    x, (weight,) = operands(Case(rows=3, outputs=20, inputs=160, mode="int8"), "bfloat16")
    clean = np.asarray(quantized_matmul(x, [weight], implementation="native")[0])
    scale = np.array(weight.scale)
    scale[7] = np.nan
    poisoned = QuantizedWeight(data=weight.data, scale=scale)
    got = np.asarray(quantized_matmul(x.at[1].set(jnp.nan), [poisoned], implementation="native")[0])
    keep = np.delete(np.arange(20), 7)
    np.testing.assert_array_equal(got[[0, 2]][:, keep], clean[[0, 2]][:, keep])
    assert np.isnan(got[1].astype("float32")).all()
    assert np.isnan(got[:, 7].astype("float32")).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    outputs=st.integers(1, 5),
    groups=st.integers(1, 3),
    mode=st.sampled_from(["int8", "int4"]),
    size=st.sampled_from([1e-20, 1.0, 1e20]),
)
def test_rounding_errs_by_at_most_half_a_step(seed, outputs, groups, mode, size):
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(outputs, groups * 32)) * size).astype("float32")
    weight[0, :32] = 0
    quantized = quantize(weight, mode, group_size=32)
    if mode == "int8":
        step = np.abs(weight).max(axis=1, keepdims=True) / 127
    else:
        # The extreme is stored as -8; on the other side the range ends at 7 steps, a whole step short of it, and the
        # scale is rounded to bfloat16.
        step = np.repeat(np.abs(weight.reshape(outputs, groups, 32)).max(axis=2) / 8, 32, axis=1) * (2 + 2**-4)
    assert (np.abs(floats(quantized) - weight) <= 0.5001 * step + 1e-45).all()


@pytest.mark.parametrize("case", AWKWARD[:3], ids=lambda case: case.name)
def test_dequantised_weights_are_what_the_table_says(case):
    _, (weight, *_) = operands(case, "float32")
    np.testing.assert_allclose(np.asarray(dequantize(weight)), floats(weight), rtol=1e-6)


@pytest.mark.parametrize(
    ("mode", "group", "message"),
    [
        ("int2", 0, "Weights are quantised to 'int8' or 'int4'; got 'int2'"),
        ("int4", 48, "must have one of (32, 64, 128) inputs; got 48"),
        ("int4", 128, "An int4 group of 128 inputs must divide a weight's inputs; got 96. Use a smaller group (32)"),
    ],
)
def test_what_cannot_be_quantised_is_named(mode, group, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        quantize(np.zeros((2, 96), "float32"), mode, group_size=group)


def test_weights_that_are_not_finite_are_refused():
    weight = np.zeros((2, 32), "float32")
    weight[1, 3] = np.inf
    with pytest.raises(ValueError, match="Only finite weights can be quantised"), np.errstate(all="ignore"):
        quantize(weight, "int8")


def test_inputs_that_do_not_fit_are_named():
    _, weights = operands(AWKWARD[0], "float32")
    with pytest.raises(ValueError, match="A weight's inputs must be the activations' last axis; got 128 and 64"):
        quantized_matmul(jnp.ones((1, 64)), weights)
