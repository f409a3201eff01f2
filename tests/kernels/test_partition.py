"""Kernels on a mesh of eight devices: each attends its own rows and heads, and the result is the whole's."""

import jax
import numpy as np
import pytest

from keras_codegemma.kernels.attention import attention
from keras_codegemma.kernels.decode_attention import decode_attention
from keras_codegemma.kernels.partition import Partition, Storage
from tests.tolerances import tolerance

TYPES = (jax.sharding.AxisType.Auto,) * 3


def partition_of(replica: int, fsdp: int, model: int) -> Partition:
    mesh = jax.make_mesh((replica, fsdp, model), ("replica", "fsdp", "model"), axis_types=TYPES)
    return Partition(mesh=mesh, batch=("replica", "fsdp"), model="model")


def operands(rows: int, heads: int, kv_heads: int, time: int, slots: int) -> list[np.ndarray]:
    rng = np.random.default_rng([rows, heads, kv_heads])
    query = rng.normal(size=(rows, time, heads, 16)).astype("float32")
    return [query, *(rng.normal(size=(rows, slots, kv_heads, 16)).astype("float32") for _ in range(2))]


# The model axis divides the key-value heads, or there is one, or each device's query heads read one of several, or the
# rows do not divide.
@pytest.mark.parametrize(
    ("rows", "heads", "kv_heads", "axes"),
    [(4, 8, 8, (1, 2, 4)), (4, 8, 1, (2, 2, 2)), (2, 8, 2, (1, 1, 8)), (2, 12, 3, (1, 1, 6)), (3, 8, 4, (2, 1, 4))],
)
def test_attention_on_a_mesh_is_the_wholes(rows, heads, kv_heads, axes):
    if np.prod(axes) != 8:
        mesh = jax.make_mesh(axes, ("replica", "fsdp", "model"), axis_types=TYPES, devices=jax.devices()[:6])
        partition = Partition(mesh=mesh, batch=("replica", "fsdp"), model="model")
    else:
        partition = partition_of(*axes)
    query, key, value = operands(rows, heads, kv_heads, time=12, slots=12)
    segments = np.repeat(np.arange(1, 4, dtype="int32"), 4)[None].repeat(rows, 0)

    def total(query, key, value, partition):
        return (attention(query, key, value, segments, partition=partition) ** 2).sum()

    gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)), static_argnums=3)
    for ours, theirs in zip(
        jax.tree.leaves(gradients(query, key, value, partition)),
        jax.tree.leaves(gradients(query, key, value, None)),
        strict=True,
    ):
        assert np.abs(ours - theirs).max() <= tolerance("attention", "float32") * np.abs(theirs).max()

    query, key, value = operands(rows, heads, kv_heads, time=3, slots=40)
    lengths = np.arange(rows, dtype="int32") * 7
    decode = jax.jit(lambda *x, partition: decode_attention(*x, partition=partition), static_argnames="partition")
    ours, theirs = (decode(query, key, value, lengths, partition=where) for where in (partition, None))
    assert np.abs(ours - theirs).max() <= tolerance("attention", "float32") * np.abs(theirs).max()


def test_a_stored_weights_gradient_arrives_in_parts():
    partition = partition_of(2, 2, 2)
    storage = Storage(partition=partition, axes=("fsdp", "model"))
    x, kernel = np.ones((4, 3, 8), "float32"), np.ones((8, 6), "float32")
    product = storage.scattered(lambda x, g: jax.numpy.einsum("btd,btf->df", x, g), "btd", "btf", "df")
    gradient = np.arange(72, dtype="float32").reshape(4, 3, 6)
    found = jax.jit(product)(x, gradient)
    assert found.sharding.is_equivalent_to(storage.stored, 2)
    assert np.array_equal(found, np.einsum("btd,btf->df", x, gradient))
    text = jax.jit(product).lower(x, gradient).compile().as_text() or ""
    assert "reduce-scatter" in text
    gathered = jax.jit(storage.gather, in_shardings=storage.stored)(kernel)
    assert gathered.sharding.is_equivalent_to(partition.sharding(None, "model"), 2)
