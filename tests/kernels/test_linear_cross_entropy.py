"""The fused loss: every version against the reference, values and gradients, over all cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels.linear_cross_entropy import OPERATION, cases, chunked, linear_cross_entropy, reference, tpu
from tests.tolerances import tolerance

VERSIONS = {
    "chunked": lambda *operands, z_loss: chunked.linear_cross_entropy(*operands, z_loss=z_loss, block=16),
    "pallas": lambda *operands, z_loss: tpu.linear_cross_entropy(
        *operands, z_loss=z_loss, tiles=tpu.Tiles(rows=32, vocabulary=128), interpret=True
    ),
}


def operands(case: cases.Case, dtype: str) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng()
    hidden = jnp.asarray(rng.normal(size=(case.rows, case.width)), dtype)
    table = jnp.asarray(rng.normal(size=(case.vocabulary, case.width)) * case.width**-0.5 * 3, dtype)
    return hidden, table, jnp.asarray(rng.integers(0, case.vocabulary, case.rows), jnp.int32)


@pytest.mark.parametrize(("dtype", "z_loss"), [("float32", 0.01), ("bfloat16", 0.0)])
@pytest.mark.parametrize(
    ("version", "case"),
    [("chunked", case) for case in cases.TESTED] + [("pallas", case) for case in cases.SMALL],
    ids=lambda x: getattr(x, "name", x),
)
def test_values_and_gradients_equal_the_reference(version, case, *, dtype, z_loss):
    hidden, table, labels = operands(case, dtype)
    weights = np.random.default_rng().uniform(0.1, 1, case.rows).astype(np.float32)

    def run(version):
        def total(hidden, table):
            loss, best = version(hidden, table, labels, z_loss=z_loss)
            return jnp.sum(loss * weights), (loss, best)

        differentiate = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
        (_, outputs), gradients = differentiate(hidden, table)
        return *outputs, *gradients

    theirs, ours = run(reference.linear_cross_entropy), run(VERSIONS[version])
    # The loss is float32 whatever the operands: their products are exact in it.
    of_loss = np.abs(np.asarray(ours[0]) - theirs[0]).max() / max(np.abs(np.asarray(theirs[0])).max(), 1.0)
    assert of_loss <= tolerance("fused_loss", "float32")
    assert np.array_equal(ours[1], theirs[1])
    for our, their, factor in zip(ours[2:], theirs[2:], (table, hidden), strict=True):
        # Of the largest term of the sum: with few rows of the table the softmax and the label's 1 cancel.
        size = max(np.abs(np.asarray(their, np.float32)).max(), weights.max() * np.abs(np.asarray(factor)).max())
        error = np.abs(np.asarray(our, np.float32) - np.asarray(their, np.float32)).max()
        assert error / size <= tolerance("fused_loss_gradient", dtype)


def test_the_argmax_is_the_first_of_equals():
    hidden = jnp.ones((1, 128))
    table = jnp.zeros((300, 128)).at[jnp.asarray([7, 20, 290])].set(1.0)
    labels = jnp.zeros(1, jnp.int32)
    for version in VERSIONS.values():
        assert version(hidden, table, labels, z_loss=0.0)[1].tolist() == [7]


def test_any_leading_axes_do():
    hidden, table, labels = operands(cases.Case(rows=6, width=8, vocabulary=37), "float32")
    flat = linear_cross_entropy(hidden, table, labels)
    square = linear_cross_entropy(hidden.reshape(2, 3, 8), table, labels.reshape(2, 3))
    assert np.array_equal(flat[0].reshape(2, 3), square[0])
    assert np.array_equal(flat[1].reshape(2, 3), square[1])


def test_no_logits_are_kept():
    rows, width, vocabulary = 512, 64, 64_000
    hidden = jax.ShapeDtypeStruct((rows, width), jnp.float32)
    table = jax.ShapeDtypeStruct((vocabulary, width), jnp.float32)
    labels = jax.ShapeDtypeStruct((rows,), jnp.int32)

    def loss(hidden, table, labels):
        return linear_cross_entropy(hidden, table, labels)[0].mean()

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(hidden, table, labels).compile()
    # The table's gradient, and a few blocks of logits, each a thirty-first of all.
    assert compiled.memory_analysis().temp_size_in_bytes < vocabulary * width * 4 + rows * vocabulary * 4 / 4


def test_choice_follows_the_platform():
    inputs = operands(cases.SMALL[0], "bfloat16")
    assert OPERATION.choose("cpu", *inputs).taken.name == "chunked"
    assert OPERATION.choose("tpu", *inputs).taken.name == "pallas"


@pytest.mark.parametrize(
    ("width", "dtype", "reason"),
    [
        (100, "float32", "the width must be a multiple of 128, got 100"),
        (128, "float16", "hidden states and table must both be bfloat16 or float32, got float16 and float16"),
        (128 * 128, "float32", f"the kernel would need 213909504 bytes of VMEM of {64 * 2**20}"),
    ],
)
def test_the_tpu_kernel_says_why_it_refuses(width, dtype, reason):
    array = jax.ShapeDtypeStruct((8, width), dtype)
    assert tpu.supports(array, array) == reason


def test_bad_input_is_refused_with_the_numbers():
    hidden, table, labels = operands(cases.AWKWARD[0], "float32")
    with pytest.raises(ValueError, match=r"one label each; got \(5, 8\), \(37, 8\) and \(4,\)"):
        linear_cross_entropy(hidden, table, labels[1:])
    with pytest.raises(ValueError, match="must have one dtype; got float32 and bfloat16"):
        linear_cross_entropy(hidden, table.astype(jnp.bfloat16), labels)
    with pytest.raises(
        ValueError, match="multiples of 16 rows and 128 vocabulary entries; got rows=10, vocabulary=128"
    ):
        tpu.Tiles(rows=10, vocabulary=128)
