"""The embedding on eight devices that each hold a part of every row: what is exchanged, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma import distribution
from keras_codegemma.dry_run.compiled import Collective, collectives
from keras_codegemma.kernels.partition import Partition, Storage
from keras_codegemma.layers.embedding import ReversibleEmbedding, embed, embed_stored_in_parts

SIZE, WIDTH, LENGTH = 96, 64, 16


@pytest.mark.parametrize(
    ("rows", "dtype", "exchanged"),
    [
        # A device's own row comes, and the parts of the four rows of its replica go back.
        (8, "bfloat16", [Collective(kind="all-to-all", result_bytes=LENGTH * WIDTH * 2)] * 2),
        (8, "float32", [Collective(kind="all-to-all", result_bytes=LENGTH * WIDTH * 4)] * 2),
        # Rows that do not divide are whole on every device, and so are their gradients.
        (7, "bfloat16", [Collective(kind="all-gather", result_bytes=7 * LENGTH * WIDTH * 2)]),
    ],
)
def test_rows_and_their_gradients_are_exchanged_in_the_type_of_computation(rows, dtype, exchanged):
    """As in mixed precision: the table is float32, and cast before it is used."""
    mesh = jax.sharding.Mesh(np.reshape(jax.devices()[:8], (2, 4, 1)), ("replica", "fsdp", "model"))
    partition = Partition(mesh=mesh, batch=("replica", "fsdp"), model="model")
    storage = Storage(partition=partition, axes=("model", "fsdp"))
    rng = np.random.default_rng(0)
    table = jax.device_put(rng.normal(size=(SIZE, WIDTH)).astype("float32"), storage.stored)
    ids = rng.integers(0, SIZE, (rows, LENGTH))
    factors = rng.choice([-2.0, -1.0, 1.0, 2.0], (rows, LENGTH, WIDTH)).astype("float32")

    def compiled(lookup):
        def total(table):
            vectors = lookup(table.astype(dtype))
            return jnp.sum(vectors.astype("float32") * factors), vectors

        return jax.jit(jax.grad(total, has_aux=True)).lower(table).compile()

    ours = compiled(lambda table: embed_stored_in_parts(ids, table, storage))
    gradient, vectors = ours(table)
    expected_gradient, expected = compiled(lambda table: embed(ids, table))(table)
    assert vectors.dtype == dtype
    np.testing.assert_array_equal(vectors, expected)
    # Sums of small integers times the scale of 8, exact in either type and any order.
    np.testing.assert_array_equal(gradient, expected_gradient)
    assert [found for found in collectives(ours.as_text()) if found.kind != "all-reduce"] == exchanged


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantised_read_out_on_a_mesh_is_left_to_xla(mode, monkeypatch):
    """A kernel of our own, XLA could not split; for int4 on TPU it could not even be compiled."""
    layer = ReversibleEmbedding(256, 256, dtype="bfloat16")
    layer.build()
    layer.quantize(mode)
    monkeypatch.setattr(distribution, "may_split", lambda: True)
    jaxpr = str(jax.make_jaxpr(lambda hidden: layer(hidden, reverse=True))(jnp.zeros((1, 2, 256), "bfloat16")))
    assert "dot_general" in jaxpr
    assert "pallas_call" not in jaxpr
    assert "ffi_call" not in jaxpr
