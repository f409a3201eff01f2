"""Norm, rotary embedding, GeGLU, embedding and sequence index, each against its formula in float64."""

import jax
import jax.numpy as jnp
import keras
import ml_dtypes
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from keras_codegemma.kernels.geglu import geglu
from keras_codegemma.kernels.rms_norm import rms_norm
from keras_codegemma.layers.embedding import embed
from keras_codegemma.layers.rms_norm import RMSNormalization
from keras_codegemma.layers.rotary import rotary_angles, rotate
from keras_codegemma.layers.sequence_index import SequenceIndex
from tests.tolerances import tolerance

# Shapes and types of every call in this file are checked against the annotations.
geglu, embed, rms_norm, rotary_angles, rotate = (
    jaxtyped(typechecker=beartype)(function) for function in (geglu, embed, rms_norm, rotary_angles, rotate)
)


def test_rms_norm_is_its_formula_in_float32():
    rng = np.random.default_rng(0)
    x, scale = rng.normal(size=(2, 3, 32)).astype("float32"), rng.normal(size=32).astype("float32")
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6) * (1.0 + scale)
    np.testing.assert_allclose(
        np.asarray(rms_norm(jnp.asarray(x), jnp.asarray(scale), epsilon=1e-6)),
        expected,
        tolerance("operation", "float32"),
    )


def test_rms_norm_rounds_once_in_bfloat16():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 4, 64)).astype(ml_dtypes.bfloat16)
    scale = rng.normal(size=64).astype("float32")
    exact = rms_norm(jnp.asarray(x, "float32"), jnp.asarray(scale), epsilon=1e-6).astype("bfloat16")
    np.testing.assert_array_equal(
        np.asarray(rms_norm(jnp.asarray(x), jnp.asarray(scale), epsilon=1e-6)), np.asarray(exact)
    )


def test_a_norm_with_a_residual_gives_the_sum_and_its_norm():
    rng = np.random.default_rng(4)
    x, residual = rng.normal(size=(2, 1, 3, 8)).astype("float32")
    layer = RMSNormalization(scale_initializer="ones")
    total, normed = layer(x, residual=residual)
    np.testing.assert_array_equal(np.asarray(total), x + residual)
    np.testing.assert_array_equal(np.asarray(normed), np.asarray(layer(total)))


def test_symbolic_norms_run_no_kernel(monkeypatch):
    layer = RMSNormalization(dtype="bfloat16")
    x = keras.Input((None, 8), dtype="bfloat16")
    layer.build(x.shape)
    monkeypatch.setattr(layer, "call", None)
    for result in (layer(x), *layer(x, residual=x)):
        assert (result.shape, result.dtype) == ((None, None, 8), "bfloat16")


def test_rotation_turns_halves_by_the_positions_angles():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, 5, 2, 8)).astype("float32")
    positions = np.array([[0, 1, 7, 300, 8191]], "int32")
    sin, cos = rotary_angles(jnp.asarray(positions), head_dim=8, max_wavelength=10_000.0)
    angles = positions[..., None, None] / 10_000.0 ** (np.arange(4) / 4)
    a, b = x[..., :4], x[..., 4:]
    expected = np.concatenate(
        [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], axis=-1
    )
    # A float32 angle near 8191 is known to half of 2^-11.
    np.testing.assert_allclose(np.asarray(rotate(jnp.asarray(x), sin, cos)), expected, atol=2e-3)
    np.testing.assert_allclose(np.asarray(rotate(jnp.asarray(x), sin, cos))[:, :3], expected[:, :3], atol=3e-6)


def test_geglu_activates_the_gate_with_the_tanh_form():
    rng = np.random.default_rng(3)
    gate, up = rng.normal(0, 3, size=(2, 1, 4, 16)).astype("float32")
    wide = gate.astype(np.float64)
    gelu = 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    np.testing.assert_allclose(
        np.asarray(geglu(jnp.asarray(gate), jnp.asarray(up))),
        gelu * up,
        rtol=tolerance("operation", "float32"),
        atol=tolerance("operation", "float32") * np.abs(up).max(),
    )


@pytest.mark.parametrize(
    ("width", "dtype", "factor"),
    [
        (2048, "bfloat16", 45.25),
        (3072, "bfloat16", 55.5),
        (2048, "float32", 45.2548),
        (3072, "float32", 55.4256),
    ],
)
def test_the_embedding_factor_is_rounded_as_in_the_published_implementations(width, dtype, factor):
    table = jnp.ones((3, width), dtype)
    assert float(embed(jnp.asarray([[1]]), table)[0, 0, 0]) == pytest.approx(factor, rel=1e-6)


def test_positions_count_from_the_first_real_token_of_a_row():
    mask = np.array([[1, 1, 1, 0], [0, 0, 1, 1]], bool)
    positions, segments = SequenceIndex()(np.ones((2, 4), "int32"), mask)
    assert np.asarray(positions)[0, :3].tolist() == [0, 1, 2]
    assert np.asarray(positions)[1, 2:].tolist() == [0, 1]
    assert np.asarray(segments).tolist() == mask.astype(int).tolist()


def test_positions_restart_in_each_segment():
    segments = np.array([[5, 5, 9, 9, 9, 2, 0, 0]], "int32")
    positions, result = SequenceIndex()(np.ones((1, 8), "int32"), None, segments)
    assert np.asarray(positions)[0, :6].tolist() == [0, 1, 0, 1, 2, 0]
    assert np.asarray(result).tolist() == segments.tolist()


def test_given_positions_win():
    given = np.array([[3, 9, 4]], "int32")
    positions, _ = SequenceIndex()(np.ones((1, 3), "int32"), None, None, given)
    assert np.asarray(positions).tolist() == given.tolist()


def test_a_few_rows_of_a_bfloat16_table_are_taken_without_a_pass_over_it():
    table, ids = jax.ShapeDtypeStruct((4096, 64), "bfloat16"), jax.ShapeDtypeStruct((2, 3), "int32")

    def steps(table, ids):
        return jax.lax.fori_loop(0, 8, lambda _, ids: embed(ids, table).astype(jnp.int32)[:, :, 0], ids)

    # A copy of the table, in any type, would be memory of its size; a loop makes one before its first step.
    assert jax.jit(steps).lower(table, ids).compile().memory_analysis().temp_size_in_bytes < 4096 * 64


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_embedding_and_its_gradient_equal_plain_rows(dtype):
    table = jnp.asarray(np.random.default_rng(0).normal(size=(16, 4)), dtype)
    ids = jnp.asarray([[3, 3, 0], [15, 1, 3]])

    def plain(table):
        return jnp.take(table, ids, axis=0) * jnp.asarray(2.0, dtype)

    (ours, pull), (theirs, plain_pull) = jax.vjp(lambda table: embed(ids, table), table), jax.vjp(plain, table)
    assert (ours == theirs).all()
    gradient = jnp.ones(ours.shape, dtype)
    assert (pull(gradient)[0] == plain_pull(gradient)[0]).all()
