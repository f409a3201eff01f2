"""From a padding mask, or segment ids of packed rows, to what attention and rotary embedding need."""

import jax
import jax.numpy as jnp
import keras

from keras_codegemma.axes import Array, Bool, Int


def positions_from_mask(padding_mask: Bool[Array, "B T"]) -> Int[Array, "B T"]:
    """Counts from the first real token of each row, so that padding on the left or on the right changes nothing."""
    index = jnp.arange(padding_mask.shape[1], dtype=jnp.int32)[None, :]
    first_real = jnp.argmax(padding_mask, axis=1).astype(jnp.int32)
    return jnp.maximum(index - first_real[:, None], 0)


def positions_from_segments(segment_ids: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Counts from the start of each run of equal segment ids."""
    index = jnp.broadcast_to(jnp.arange(segment_ids.shape[1], dtype=jnp.int32), segment_ids.shape)
    previous = jnp.pad(segment_ids, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    starts = jnp.where(segment_ids != previous, index, 0)
    return index - jax.lax.cummax(starts, axis=1)


class SequenceIndex(keras.layers.Layer):
    """Token ids with whatever is known about the rows, to (positions, segment_ids), both int32 [B, T].

    Segment 0 is padding. Without `segment_ids`, the real tokens of a row are one segment; without `padding_mask`
    too, every token is real. Positions given by the caller win. Has no weights.
    """

    def call(self, token_ids, padding_mask=None, segment_ids=None, positions=None):
        """token_ids: int32 [B, T]; the others [B, T] or None."""
        if padding_mask is None:
            padding_mask = jnp.ones(token_ids.shape, dtype=bool)
        if positions is None:
            positions = (
                positions_from_mask(padding_mask) if segment_ids is None else positions_from_segments(segment_ids)
            )
        if segment_ids is None:
            segment_ids = padding_mask
        return positions.astype(jnp.int32), jnp.where(padding_mask, segment_ids, 0).astype(jnp.int32)

    def compute_output_spec(self, token_ids, padding_mask=None, segment_ids=None, positions=None):
        return (
            keras.KerasTensor(token_ids.shape, dtype="int32"),
            keras.KerasTensor(token_ids.shape, dtype="int32"),
        )
