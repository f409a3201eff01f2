"""The token embedding, tied: ids to scaled vectors, and hidden states to float32 logits."""

from typing import Any

import jax
import jax.numpy as jnp
import keras

from keras_codegemma import distribution
from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels import linear_cross_entropy
from keras_codegemma.kernels.partition import Storage
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, dequantize, quantized_matmul
from keras_codegemma.kernels.xla_cpu import as_bits, from_bits
from keras_codegemma.layers.projection import add_quantized_weights, delete_variable, logits_product, quantization_for
from keras_codegemma.quantization import Quantization, split_policy_name


def embed(token_ids: Int[Array, "B T"], table: Float[Array, "V D"]) -> Float[Array, "B T D"]:
    """Rows of the table times sqrt(D).

    The factor is first rounded to the table's type, as in every published implementation of Gemma 1: for D = 3072 it
    is 55.5 in bfloat16 and 55.4256 in float32.
    """
    return _scaled(_rows(table, token_ids))


@jax.custom_vjp
def _rows(table: Float[Array, "V D"], token_ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    return jax.lax.platform_dependent(table, token_ids, cpu=_rows_as_bits, default=_plain_rows)


def _plain_rows(table: Float[Array, "V D"], token_ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    return jnp.take(table, token_ids, axis=0)


def _rows_as_bits(table: Float[Array, "V D"], token_ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    """As integers: of a bfloat16 table, XLA's CPU compiler makes all rows float32 to take some, 0.2 s for 2B."""
    if table.dtype.itemsize != 2:
        return _plain_rows(table, token_ids)
    # The barrier keeps the compiler from making the integers of the whole table before a loop over steps.
    table, token_ids = jax.lax.optimization_barrier((table, token_ids))
    return from_bits(jnp.take(as_bits(table), token_ids, axis=0), table.dtype)


def _rows_forward(table: Array, token_ids: Array) -> tuple[Array, tuple[Array, Array]]:
    return _rows(table, token_ids), (table, token_ids)


def _rows_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, None]:
    table, token_ids = saved
    _, pull = jax.vjp(lambda table: _plain_rows(table, token_ids), table)
    return pull(gradient)[0], None


_rows.defvjp(_rows_forward, _rows_backward)


def embed_stored_in_parts(
    token_ids: Int[Array, "B T"], table: Float[Array, "V D"], storage: Storage
) -> Float[Array, "B T D"]:
    """As `embed`, where each device holds a part of every row of the table.

    Each looks up its part for the rows of all that share the width, and the parts are exchanged: as many bytes as the
    result has, where gathering the table would move the table. Rows and their gradients are moved in the table's type.
    """
    partition, width = storage.partition, storage.width_axis
    together = tuple(axis for axis in partition.batch if axis != width)
    if partition.batch_of(token_ids.shape[0]) is None:
        together = ()
    ids = jax.lax.with_sharding_constraint(token_ids, partition.sharding(together))
    return _scaled(partition.rows_from(jnp.take(table, ids, axis=0), together, None, width))


def _scaled(vectors: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    scale = jnp.asarray(vectors.shape[-1], dtype=jnp.float32) ** 0.5
    return vectors * scale.astype(vectors.dtype)


class ReversibleEmbedding(keras.layers.ReversibleEmbedding):
    """Keras's tied embedding with Gemma's scaling, and logits in float32 under every dtype policy.

    The class name is part of the weight file format that we share with KerasHub: do not rename.
    """

    def __init__(self, input_dim: int, output_dim: int, *, scale_initializer: Any = "ones", **options):
        super().__init__(input_dim, output_dim, tie_weights=True, **options)
        self._scale_initializer = scale_initializer
        self._storage: Storage | None = None

    def build(self, inputs_shape=None):
        super().build(inputs_shape)
        self._storage = distribution.storage_of(self._embeddings)

    @property
    def quantized_weight(self) -> QuantizedWeight | None:
        """The quantised table [V, D], or None."""
        if self.quantization_mode is None:
            return None
        return QuantizedWeight(data=self._embeddings.value, scale=self.embeddings_scale.value)

    def call(self, inputs, reverse=False):
        """int32 ids [B, T] to [B, T, D]; with `reverse`, hidden states [B, T, D] to float32 logits [B, T, V]."""
        weight = self.quantized_weight
        if weight is not None:
            if reverse:
                hidden, is_split = inputs.astype(self.compute_dtype), distribution.may_split()
                return quantized_matmul(hidden, [weight], out_dtype="float32", is_split=is_split)[0]
            return _scaled(dequantize(weight.rows(inputs)).astype(self.compute_dtype))
        table: Any = keras.ops.convert_to_tensor(self.embeddings)
        storage = self._storage
        if reverse:
            table = table if storage is None else storage.gather(table)
            return logits_product(inputs.astype(table.dtype), table)
        if storage is None:
            return embed(inputs, table)
        if storage.width_axis is not None:
            return embed_stored_in_parts(inputs, table, storage)
        return storage.partition.rows(embed(inputs, table))

    quantized_call = call

    def statistics(self, hidden: Float[Array, "B T D"], labels: Int[Array, "B T"]) -> linear_cross_entropy.Statistics:
        """Of the logits of hidden states, what losses and metrics need, without the logits: arrays [B, T].

        Args:
            hidden: states that are to predict `labels`.
            labels: ids.
        """
        hidden = hidden.astype(self.compute_dtype)
        table: Any = self.quantized_weight
        if table is None:
            table = jnp.asarray(keras.ops.convert_to_tensor(self.embeddings), hidden.dtype)
        return linear_cross_entropy.statistics(hidden, table, labels, storage=self._storage)

    def compute_output_spec(self, inputs, reverse=False):
        width = self.input_dim if reverse else self.output_dim
        shape = (*inputs.shape[:-1], width) if reverse else (*inputs.shape, width)
        return keras.KerasTensor(shape, dtype="float32" if reverse else self.compute_dtype)

    # Quantisation

    def quantize(self, mode=None, type_check=True, config=None):
        """Replaces the table by a quantised one; see `CodeGemmaBackbone.quantize`."""
        quantization = quantization_for(mode, config)
        weight = quantization.quantize(self._embeddings.path, jax.device_get(self._embeddings.value))
        policy = quantization.policy_name(self.dtype_policy.name)
        self._tracker.unlock()
        delete_variable(self, "_embeddings")
        self._add_quantized(quantization, lambda *_, **__: weight.data, lambda *_, **__: weight.scale)
        self._tracker.lock()
        self.dtype_policy = policy

    def quantized_build(self, embeddings_shape, mode, config=None):
        """Creates the quantised variables of a layer whose dtype policy is quantised."""
        quantization, _ = split_policy_name(self.dtype_policy.name)
        assert quantization is not None
        self._add_quantized(quantization, self.embeddings_initializer, self._scale_initializer)

    def _add_quantized(self, quantization: Quantization, data: Any, scale: Any) -> None:
        self._is_quantized = True
        shape = (self.input_dim, self.output_dim)
        self._embeddings, self.embeddings_scale = add_quantized_weights(
            self, quantization, shape, name="embeddings", initializers=(data, scale)
        )

    def save_own_variables(self, store):
        """Floats as in Keras; quantised, the data and the scale."""
        if self.quantization_mode is None:
            super().save_own_variables(store)
            return
        store["0"], store["1"] = self._embeddings, self.embeddings_scale

    def load_own_variables(self, store):
        """The counterpart of `save_own_variables`."""
        if self.quantization_mode is None:
            super().load_own_variables(store)
            return
        self._embeddings.assign(store["0"])
        self.embeddings_scale.assign(store["1"])

    def get_config(self):
        config = super().get_config()
        del config["tie_weights"]
        return config
