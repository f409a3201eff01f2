"""Attention with shared key-value heads: the layer that projects, attends by the kernels, and joins.

Scores, softmax and the sums of weighted values are float32 in every dtype policy; the products take their operands in
the compute dtype.
"""

import jax.numpy as jnp
import keras

from keras_codegemma import distribution
from keras_codegemma.axes import Array, Float
from keras_codegemma.cache import LayerCache
from keras_codegemma.kernels.attention import attention
from keras_codegemma.kernels.decode_attention import decode_attention
from keras_codegemma.kernels.partition import Partition
from keras_codegemma.layers.projection import Projection, kernel_initializers, project
from keras_codegemma.layers.rotary import rotate


def attend_cached(
    query: Float[Array, "B T N H"], cache: LayerCache, partition: Partition | None = None
) -> Float[Array, "B T N H"]:
    """Causal attention of T new tokens a row over its cache, into which their own keys are already written.

    Query t of row b stands at position cache.lengths[b] + t and sees the slots up to it. Neither work nor memory grows
    with the capacity, and a row's sums are made in the same order whatever the batch or the capacity.
    """
    return decode_attention(
        query,
        cache.key,
        cache.value,
        cache.lengths,
        key_scale=cache.key_scale,
        value_scale=cache.value_scale,
        partition=partition,
    )


class GemmaAttention(keras.layers.Layer):
    """Query, key and value projections, rotary embedding, attention, output projection.

    Attribute and layer names (`query_dense`, named "query", and so on) are KerasHub's weight paths: do not rename.

    Args:
        num_query_heads, num_key_value_heads, head_dim: as in `CodeGemmaConfig`.
        initializer_for: from a weight's path within the layer to its initializer, or None for Keras's defaults.
        weight_policy: dtype policy of the projections where they are quantised; None for the layer's own.
        **options: passed to `keras.layers.Layer`.
    """

    def __init__(
        self,
        *,
        num_query_heads: int,
        num_key_value_heads: int,
        head_dim: int,
        initializer_for=None,
        weight_policy=None,
        **options,
    ):
        super().__init__(**options)
        self._weight_policy = weight_policy
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self._initializer_for = initializer_for

    def build(self, input_shape):
        self._partition = distribution.active_partition()
        width = input_shape[-1]
        queries = (None, self.num_query_heads, self.head_dim)
        keys = (None, self.num_key_value_heads, self.head_dim)
        self.query_dense = self._projection("btd,ndh->btnh", queries, name="query")
        self.key_dense = self._projection("bsd,kdh->bskh", keys, name="key")
        self.value_dense = self._projection("bsd,kdh->bskh", keys, name="value")
        self.output_dense = self._projection("btnh,nhd->btd", (None, width), name="attention_output")
        for dense in (self.query_dense, self.key_dense, self.value_dense):
            dense.build(input_shape)
        self.output_dense.build((None, *queries))
        self.built = True

    def _projection(self, equation: str, output_shape: tuple[int | None, ...], *, name: str) -> Projection:
        policy = self._weight_policy or self.dtype_policy
        return Projection(
            equation, output_shape, dtype=policy, name=name, **kernel_initializers(self._initializer_for, name)
        )

    def call(self, x, sin, cos, segment_ids=None, cache=None):
        """Attends within the sequence, or with a cache over what came before as well.

        Args:
            x: [B, T, D].
            sin: float32 [B, T, H / 2], of the tokens' positions.
            cos: likewise.
            segment_ids: int32 [B, T]; None where each row is one segment. Not used with a cache.
            cache: `LayerCache`, or None.

        Returns:
            [B, T, D]; with a cache, the pair of it and the cache with these tokens written.
        """
        query, key, value = project([self.query_dense, self.key_dense, self.value_dense], x)
        query, key = rotate(query, sin, cos), rotate(key, sin, cos)  # B T N H, B T K H
        if cache is None:
            if segment_ids is None:
                segment_ids = jnp.ones(x.shape[:2], jnp.int32)
            return self.output_dense(attention(query, key, value, segment_ids, partition=self._partition))
        cache = cache.write(key, value, partition=self._partition)
        return self.output_dense(attend_cached(query, cache, self._partition)), cache

    def compute_output_spec(self, x, sin, cos, segment_ids=None, cache=None):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)
