"""The token embedding, tied: ids to scaled vectors, and hidden states to float32 logits."""

from typing import Any

import jax.numpy as jnp
import keras

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.layers.projection import logits_product


def embed(token_ids: Int[Array, "B T"], table: Float[Array, "V D"]) -> Float[Array, "B T D"]:
    """Rows of the table times sqrt(D).

    The factor is first rounded to the table's type, as in every published implementation of Gemma 1: for D = 3072 it
    is 55.5 in bfloat16 and 55.4256 in float32.
    """
    scale = jnp.asarray(table.shape[1], dtype=jnp.float32) ** 0.5
    return jnp.take(table, token_ids, axis=0) * scale.astype(table.dtype)


class ReversibleEmbedding(keras.layers.ReversibleEmbedding):
    """Keras's tied embedding with Gemma's scaling, and logits in float32 under every dtype policy.

    The class name is part of the weight file format that we share with KerasHub: do not rename.
    """

    def __init__(self, input_dim: int, output_dim: int, **options):
        super().__init__(input_dim, output_dim, tie_weights=True, **options)

    def call(self, inputs, reverse=False):
        """int32 ids [B, T] to [B, T, D]; with `reverse`, hidden states [B, T, D] to float32 logits [B, T, V]."""
        table: Any = keras.ops.convert_to_tensor(self.embeddings)
        if reverse:
            return logits_product(inputs.astype(table.dtype), table)
        return embed(inputs, table)

    def compute_output_spec(self, inputs, reverse=False):
        width = self.input_dim if reverse else self.output_dim
        shape = (*inputs.shape[:-1], width) if reverse else (*inputs.shape, width)
        return keras.KerasTensor(shape, dtype="float32" if reverse else self.compute_dtype)

    def get_config(self):
        config = super().get_config()
        del config["tie_weights"]
        return config
