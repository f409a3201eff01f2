"""Products with float weights: every implementation and layout against the reference."""

import os
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels.matmul import matmul
from tests.kernels.levels import runs_at
from tests.tolerances import tolerance

SHAPES = {
    "inputs_first": ((256, 96), (100, 37), (131, 64), (1, 1), (48, 5000)),
    "heads_first": ((3, 64, 40), (1, 33, 256)),
    "outputs_first": ((96, 256), (37, 100), (5, 2177)),
}
CASES = [(layout, shape) for layout, shapes in SHAPES.items() for shape in shapes]


def operands(layout: str, shape: tuple[int, ...], rows: int, dtype: str = "bfloat16"):
    rng = np.random.default_rng([rows, *shape])
    inputs = shape[-1] if layout == "outputs_first" else shape[-2]
    return (jnp.asarray(rng.normal(size=size), dtype) for size in ((rows, inputs), shape))


@pytest.mark.parametrize("level", ["avx512_bf16", "avx512", "avx2", "portable"])
@pytest.mark.parametrize(("layout", "shape"), CASES)
def test_native_products_equal_the_reference_at_every_level(any_level, level, layout, shape):
    if not runs_at(level):
        return
    for rows in (1, 3, 9):
        x, weight = operands(layout, shape, rows)
        expected = np.asarray(matmul(x, weight, layout=layout, implementation="reference"))
        got = np.asarray(matmul(x, weight, layout=layout, implementation="native"))
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=tolerance("product", "float32") * 10 * np.abs(expected).max())
        again = np.asarray(matmul(x, weight, layout=layout, implementation="native"))
        np.testing.assert_array_equal(got, again)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(("layout", "shape"), CASES)
def test_xla_products_equal_the_reference(layout, shape, dtype):
    for rows in (1, 2, 17):
        x, weight = operands(layout, shape, rows, dtype)
        expected = np.asarray(matmul(x, weight, layout=layout, implementation="reference"))
        got = np.asarray(matmul(x, weight, layout=layout, implementation="xla_cpu"))
        np.testing.assert_allclose(got, expected, atol=tolerance("product", "float32") * 10 * np.abs(expected).max())


MANY = [
    *(
        (rows, layout, shape)
        for layout, shape in CASES
        for rows in (17, 70)
        if shape[-2 if layout != "outputs_first" else -1] % 2 == 0
    ),
    *((1200, layout, (130, 258)) for layout in ("inputs_first", "outputs_first")),
    (1200, "heads_first", (3, 520, 40)),
]


@pytest.mark.parametrize(("rows", "layout", "shape"), MANY)
def test_native_products_of_many_rows_equal_the_reference(best_level, rows, layout, shape):
    x, weight = operands(layout, shape, rows)
    expected = np.asarray(matmul(x, weight, layout=layout, implementation="reference"))
    got = np.asarray(matmul(x, weight, layout=layout, implementation="native"))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=tolerance("product", "float32") * 10 * np.abs(expected).max())
    rounded = matmul(x, weight, layout=layout, out_dtype=jnp.bfloat16, implementation="native")
    np.testing.assert_array_equal(np.asarray(rounded), np.asarray(jnp.asarray(got, jnp.bfloat16)))
    alone = matmul(x[-20:], weight, layout=layout, implementation="native")  # in other tiles
    if rows > 20:
        np.testing.assert_array_equal(np.asarray(alone), got[-20:])


@pytest.mark.parametrize("layout", ["inputs_first", "outputs_first"])
def test_nan_stays_in_its_row_and_its_output_among_many(best_level, layout):
    x, weight = operands(layout, (130, 66) if layout == "inputs_first" else (66, 130), 70)
    clean = np.asarray(matmul(x, weight, layout=layout, implementation="native"))
    poisoned = weight.at[:, 7].set(jnp.nan) if layout == "inputs_first" else weight.at[7].set(jnp.nan)
    got = np.asarray(matmul(x.at[65].set(jnp.nan), poisoned, layout=layout, implementation="native"))
    rows, keep = np.delete(np.arange(70), 65), np.delete(np.arange(66), 7)
    np.testing.assert_array_equal(got[rows][:, keep], clean[rows][:, keep])
    assert np.isnan(got[65]).all()
    assert np.isnan(got[:, 7]).all()


@pytest.mark.parametrize("layout", ["inputs_first", "outputs_first"])
def test_nan_stays_in_its_row_and_its_output(native_library, layout):
    x, weight = operands(layout, (130, 66) if layout == "inputs_first" else (66, 130), 3)
    clean = np.asarray(matmul(x, weight, layout=layout, implementation="native"))
    poisoned = weight.at[:, 7].set(jnp.nan) if layout == "inputs_first" else weight.at[7].set(jnp.nan)
    got = np.asarray(matmul(x.at[1].set(jnp.nan), poisoned, layout=layout, implementation="native"))
    keep = np.delete(np.arange(66), 7)
    np.testing.assert_array_equal(got[[0, 2]][:, keep], clean[[0, 2]][:, keep])
    assert np.isnan(got[1]).all()
    assert np.isnan(got[:, 7]).all()


@pytest.mark.parametrize("shape", [(300, 130), (2100, 4160)], ids=["narrow", "wide"])
def test_a_row_does_not_depend_on_the_others(native_library, shape):
    """Of the wide weights, one row's threads share out the inputs, and many rows' the columns."""
    x, weight = operands("inputs_first", shape, 16)
    together = np.asarray(matmul(x, weight, layout="inputs_first", implementation="native"))
    for row in (0, 7, 8, 15):
        alone = np.asarray(matmul(x[row : row + 1], weight, layout="inputs_first", implementation="native"))
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.slow
def test_a_row_does_not_depend_on_the_number_of_threads(native_library):
    program = """
import numpy as np
from tests.kernels.test_matmul import matmul, operands
x, weight = operands("inputs_first", (3000, 4160), 1)
print(np.asarray(matmul(x, weight, layout="inputs_first", implementation="native")).tobytes().hex())
"""
    results = set()
    for threads in ("1", "2", "5"):
        environment = os.environ | {"KERAS_CODEGEMMA_THREADS": threads}
        command = [sys.executable, "-c", program]
        results.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(results) == 1
    assert len(results.pop()) > 4160


@pytest.mark.parametrize(
    ("rows", "dtype", "message"),
    [
        (0, "bfloat16", "there must be at least one row"),
        (17, "bfloat16", "of more than 16 rows inputs must be even, got 9"),
        (1, "float32", "activations and weights must be bfloat16, got float32 and float32"),
    ],
)
def test_what_native_refuses_is_named(native_library, rows, dtype, message):
    x, weight = operands("inputs_first", (9, 8), rows, dtype)
    with pytest.raises(ValueError, match=re.escape(message)):
        matmul(x, weight, layout="inputs_first", implementation="native")


def test_rows_on_a_mesh_are_left_to_xla(native_library):
    x, weight = operands("inputs_first", (8, 8), 17)
    with pytest.raises(ValueError, match="the operands may lie on a mesh, and XLA cannot split it"):
        matmul(x, weight, layout="inputs_first", is_split=True, implementation="native")
