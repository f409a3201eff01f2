"""The fused loss: every version against the reference, values and gradients, over all cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels.linear_cross_entropy import (
    OPERATION,
    Statistics,
    cases,
    chunked,
    linear_cross_entropy,
    native,
    reference,
    statistics,
    tpu,
)
from keras_codegemma.kernels.partition import Partition, Storage
from keras_codegemma.kernels.quantized_matmul.weights import dequantize, quantize
from keras_codegemma.layers.projection import logits_product
from tests.tolerances import tolerance

VERSIONS = {
    "chunked": lambda *operands: chunked.statistics(*operands, block=16),
    "chunked_cpu": lambda *operands: chunked.statistics(*operands, block=16, as_bits=True),
    "pallas": lambda *operands: tpu.statistics(*operands, tiles=tpu.Tiles(rows=32, vocabulary=128), interpret=True),
}


def operands(case: cases.Case, dtype: str) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng()
    hidden = jnp.asarray(rng.normal(size=(case.rows, case.width)), dtype)
    table = jnp.asarray(rng.normal(size=(case.vocabulary, case.width)) * case.width**-0.5 * 3, dtype)
    return hidden, table, jnp.asarray(rng.integers(0, case.vocabulary, case.rows), jnp.int32)


def outcome(version, hidden, table, labels, weights) -> tuple[Statistics, tuple[jax.Array, ...]]:
    """The statistics, and gradients of a sum of both that have them, with weights of their own."""

    def total(hidden, table):
        found = version(hidden, table, labels)
        return jnp.sum(found.log_total * weights[0] + found.label_logit * weights[1]), found

    (_, found), gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(hidden, table)
    return found, gradients


def random_weights(rows: int) -> np.ndarray:
    return np.random.default_rng().uniform(0.1, 1, (2, rows)).astype(np.float32) * [[1.0], [-1.0]]


def largest(x) -> float:
    return float(np.abs(np.asarray(x, np.float32)).max())


def assert_same(ours: Statistics, theirs: Statistics) -> None:
    # Float32 whatever the operands: their products are exact in it.
    for our, their in zip(ours[:3], theirs[:3], strict=True):
        assert our.dtype == jnp.float32
        assert np.abs(np.asarray(our) - their).max() <= tolerance("fused_loss", "float32") * max(largest(their), 1.0)
    assert np.array_equal(ours.best, theirs.best)


NATIVE = (*cases.SMALL[1:], *(cases.Case(rows=r, width=w, vocabulary=v) for r, w, v in ((1, 64, 1), (70, 320, 4099))))


@pytest.mark.parametrize("case", NATIVE, ids=lambda case: case.name)
def test_native_values_and_gradients_equal_the_reference(best_level, case):
    check_values_and_gradients(native.statistics, case, dtype="bfloat16")


def test_native_takes_words_a_block_at_a_time(best_level):
    """So many rows that a block of slopes holds 1280 of the 2000 words."""
    check_values_and_gradients(native.statistics, cases.Case(rows=6500, width=64, vocabulary=2000), dtype="bfloat16")


def test_nan_stays_in_its_row_of_native_statistics(best_level):
    hidden, table, labels = operands(cases.Case(rows=70, width=64, vocabulary=300), "bfloat16")
    clean, poisoned = (native.statistics(x, table, labels) for x in (hidden, hidden.at[65].set(jnp.nan)))
    others = np.delete(np.arange(70), 65)
    for ours, theirs in zip(poisoned, clean, strict=True):
        assert np.array_equal(ours[others], theirs[others])
    assert np.isnan(poisoned.log_total[65])


def test_a_label_outside_the_vocabulary_has_the_logit_0(best_level):
    hidden, table, labels = operands(cases.Case(rows=70, width=64, vocabulary=300), "bfloat16")
    labels = labels.at[3].set(-1).at[69].set(300)

    def total(hidden, table):
        found = native.statistics(hidden, table, labels)
        return found.label_logit.sum(), found

    gradients, found = jax.grad(total, argnums=(0, 1), has_aux=True)(hidden, table)
    assert found.label_logit[3] == found.label_logit[69] == 0
    assert not np.asarray(gradients[0][np.asarray([3, 69])]).any()
    assert np.asarray(gradients[0][np.asarray([2, 68])]).any()


def test_native_of_a_frozen_table_gives_the_same_gradient(best_level):
    hidden, table, labels = operands(cases.Case(rows=70, width=64, vocabulary=300), "bfloat16")

    def total(hidden, table):
        found = native.statistics(hidden, table, labels)
        return (found.log_total - found.label_logit).sum()

    alone = jax.grad(total)(hidden, table)
    np.testing.assert_array_equal(np.asarray(alone), np.asarray(jax.grad(total, argnums=(0, 1))(hidden, table)[0]))


@pytest.mark.parametrize(
    ("hidden", "table", "message"),
    [
        ((4, 64), jnp.float32, "hidden states and table must be bfloat16, got float32"),
        ((4, 60), jnp.bfloat16, "hidden states must be a multiple of 64 wide, got 60"),
    ],
)
def test_what_native_refuses_is_named(hidden, table, message):
    x = jnp.zeros(hidden, table)
    assert native.supports(x, jnp.zeros((8, hidden[1]), table), jnp.zeros(4, jnp.int32)) == message


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("version", "case"),
    [(name, case) for name in ("chunked", "chunked_cpu") for case in cases.TESTED]
    + [("pallas", case) for case in cases.SMALL],
    ids=lambda x: getattr(x, "name", x),
)
def test_values_and_gradients_equal_the_reference(version, case, *, dtype):
    check_values_and_gradients(VERSIONS[version], case, dtype=dtype)


def check_values_and_gradients(run, case: cases.Case, *, dtype: str) -> None:
    hidden, table, labels = operands(case, dtype)
    weights = random_weights(case.rows)
    theirs, ours = (outcome(version, hidden, table, labels, weights) for version in (reference.statistics, run))
    assert_same(ours[0], theirs[0])
    for our, their, factor in zip(ours[1], theirs[1], (table, hidden), strict=True):
        # Of the largest term of the sum: with few rows of the table the softmax and the label's 1 cancel.
        size = max(largest(their), largest(factor))
        error = np.abs(np.asarray(our, np.float32) - np.asarray(their, np.float32)).max()
        assert error / size <= tolerance("fused_loss_gradient", dtype)


def test_the_loss_is_of_its_formula():
    hidden, table, labels = operands(cases.SMALL[0], "float32")
    loss, best = linear_cross_entropy(hidden, table, labels, z_loss=0.01)
    logits = np.asarray(hidden, np.float64) @ np.asarray(table, np.float64).T
    log_total = np.log(np.exp(logits).sum(-1))
    expected = log_total - logits[np.arange(len(labels)), labels] + 0.01 * log_total**2
    assert np.abs(loss - expected).max() <= tolerance("fused_loss", "float32") * np.abs(expected).max()
    assert np.array_equal(best, logits.argmax(-1))
    without, _ = linear_cross_entropy(hidden, table, labels)
    assert np.abs(without + 0.01 * log_total**2 - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize(("mode", "group"), [("int8", 128), ("int4", 32)])
def test_a_quantised_table_counts_as_its_floats(mode, group):
    hidden, table, labels = operands(cases.SMALL[0], "float32")
    quantized = jax.tree.map(jnp.asarray, quantize(np.asarray(table), mode, group_size=group))

    def run(table):
        def total(hidden):
            found = statistics(hidden, table, labels)
            return jnp.sum(found.log_total - found.label_logit), found

        return jax.jit(jax.value_and_grad(total, has_aux=True))(hidden)

    (_, ours), our_gradient = run(quantized)
    (_, theirs), their_gradient = run(dequantize(quantized))
    assert_same(ours, theirs)
    difference = np.abs(np.asarray(our_gradient) - their_gradient).max()
    assert difference <= tolerance("fused_loss_gradient", "float32") * largest(their_gradient)


def flops(function, *operands) -> float:
    analysis = jax.jit(function).lower(*operands).compile().cost_analysis()
    assert analysis is not None
    return analysis["flops"]


def test_a_frozen_table_costs_no_product():
    hidden, table, labels = operands(cases.Case(rows=64, width=128, vocabulary=512), "float32")

    def total(hidden, table):
        return jnp.sum(statistics(hidden, table, labels).log_total)

    both = flops(jax.grad(total, argnums=(0, 1)), hidden, table)
    alone = flops(jax.grad(total), hidden, table)
    # One block: logits twice, and one gradient or both.
    assert both - alone == pytest.approx(2 * 64 * 128 * 512, rel=0.1)


@pytest.mark.parametrize(
    ("rows", "storage_axes", "shape"),
    [
        (8, ("model", "fsdp"), (2, 2, 2)),
        (8, ("model", None), (1, 2, 4)),
        (3, ("model", "fsdp"), (2, 2, 2)),
        (8, (None, "fsdp"), (1, 8, 1)),
        (8, (None, None), (2, 2, 2)),
    ],
)
def test_on_a_mesh_each_device_takes_its_rows_and_its_vocabulary(rows, storage_axes, shape):
    mesh = jax.make_mesh(shape, ("replica", "fsdp", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 3)
    partition = Partition(mesh=mesh, batch=("replica", "fsdp"), model="model")
    storage = Storage(partition=partition, axes=storage_axes)
    hidden, table, labels = operands(cases.Case(rows=rows * 5, width=16, vocabulary=320), "float32")
    table = table.at[jnp.asarray([7, 300])].set(3.0)  # equals in different parts
    hidden, labels = hidden.reshape(rows, 5, 16).at[0, 0].set(table[7]), labels.reshape(rows, 5)
    weights = random_weights(rows * 5).reshape(2, rows, 5)
    ours = outcome(
        lambda *x: statistics(*x, storage=storage), hidden, jax.device_put(table, storage.stored), labels, weights
    )
    theirs = outcome(statistics, hidden, table, labels, weights)
    assert ours[0].best[0, 0] == 7
    assert_same(ours[0], theirs[0])
    for our, their in zip(ours[1], theirs[1], strict=True):
        assert np.abs(np.asarray(our) - their).max() <= tolerance("fused_loss_gradient", "float32") * largest(their)
    assert ours[1][1].sharding.is_equivalent_to(storage.stored, 2)


def test_a_quantised_table_on_a_mesh():
    mesh = jax.make_mesh((1, 2, 4), ("replica", "fsdp", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 3)
    storage = Storage(partition=Partition(mesh=mesh, batch=("replica", "fsdp"), model="model"), axes=("model", "fsdp"))
    hidden, table, labels = operands(cases.Case(rows=16, width=128, vocabulary=320), "float32")
    hidden, labels = hidden.reshape(4, 4, 128), labels.reshape(4, 4)
    quantized = jax.tree.map(jnp.asarray, quantize(np.asarray(table), "int4", group_size=32))
    assert_same(statistics(hidden, quantized, labels, storage=storage), statistics(hidden, quantized, labels))


@pytest.mark.parametrize(
    ("rows", "block"),
    [(256_000, 2048), (64_000, 1280), (32_000, 1280), (8192, 2048), (4099, 2048), (37, 37), (700, 700)],
)
def test_a_block_divides_the_table_where_one_can(rows, block):
    assert chunked.block_of(rows) == block


def test_the_argmax_is_the_first_of_equals():
    hidden = jnp.ones((1, 128))
    table = jnp.zeros((300, 128)).at[jnp.asarray([7, 20, 290])].set(1.0)
    labels = jnp.zeros(1, jnp.int32)
    for version in VERSIONS.values():
        assert version(hidden, table, labels).best.tolist() == [7]


def test_any_leading_axes_do():
    hidden, table, labels = operands(cases.Case(rows=6, width=8, vocabulary=37), "float32")
    flat = linear_cross_entropy(hidden, table, labels)
    square = linear_cross_entropy(hidden.reshape(2, 3, 8), table, labels.reshape(2, 3))
    assert np.array_equal(flat[0].reshape(2, 3), square[0])
    assert np.array_equal(flat[1].reshape(2, 3), square[1])


def test_no_logits_are_kept():
    """2B at 1 x 8192 tokens, in bfloat16: an eighth of the memory that the loss with logits takes, at most."""
    (hidden, table, labels), _ = cases.REAL_2B[0].arguments("bfloat16")

    def without(hidden, table):
        return linear_cross_entropy(hidden, table, labels_of(hidden))[0].mean()

    def with_logits(hidden, table):
        logits = logits_product(hidden[None], table)[0]
        of_label = jnp.take_along_axis(logits, labels_of(hidden)[:, None], axis=-1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=-1) - of_label).mean()

    def labels_of(hidden):
        return jnp.zeros(hidden.shape[0], labels.dtype)

    def temporary_bytes(loss) -> int:
        compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(hidden, table).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(without) <= temporary_bytes(with_logits) / 8


def test_choice_follows_the_platform():
    hidden, table, labels = operands(cases.SMALL[0], "bfloat16")
    wide = hidden.astype(jnp.float32), table.astype(jnp.float32)
    assert OPERATION.choose("cpu", *wide, labels).taken.name == "chunked_cpu"
    assert OPERATION.choose("tpu", hidden, table, labels).taken.name == "pallas"
    quantized = quantize(np.asarray(table, np.float32), "int8")
    choice = OPERATION.choose("tpu", hidden, quantized, labels)
    assert choice.taken.name == "chunked"
    assert choice.refused["pallas"] == "the table must be in floats, got 8 bits"


@pytest.mark.parametrize(
    ("width", "dtype", "reason"),
    [
        (100, "float32", "the width must be a multiple of 128, got 100"),
        (128, "float16", "hidden states and table must both be bfloat16 or float32, got float16 and float16"),
        (128 * 128, "float32", f"the kernel would need 214958080 bytes of VMEM of {64 * 2**20}"),
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
