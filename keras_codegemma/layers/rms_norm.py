"""Root-mean-square normalisation with Gemma's (1 + scale), computed in float32 in every dtype policy."""

import jax
import jax.numpy as jnp
import keras

from keras_codegemma.axes import Array, Float


def rms_norm(x: Float[Array, "B T D"], scale: Float[Array, " D"], *, epsilon: float) -> Float[Array, "B T D"]:
    """X / sqrt(mean(x^2) + epsilon) * (1 + scale), in float32, rounded once to the type of `x`.

    The order of operations is KerasHub's and transformers'. The stored scale is the offset from 1.
    """
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    normed = wide * jax.lax.rsqrt(mean_square + epsilon)
    return (normed * (1.0 + scale.astype(jnp.float32))).astype(x.dtype)


class RMSNormalization(keras.layers.Layer):
    """`rms_norm` as a layer with one weight, `scale` [D], zero at the start.

    The class name is part of the weight file format that we share with KerasHub: do not rename.
    """

    def __init__(self, epsilon: float = 1e-6, *, scale_initializer="zeros", **options):
        # The scale stays as stored: rounding 1 + scale to bfloat16 would lose most of it.
        super().__init__(**options)
        self.epsilon = epsilon
        self.scale_initializer = keras.initializers.get(scale_initializer)

    def build(self, input_shape):
        self.scale = self.add_weight(
            name="scale", shape=(input_shape[-1],), initializer=self.scale_initializer, autocast=False
        )
        self.built = True

    def call(self, x):
        """x: [B, T, D]. Returns the same shape in the compute dtype."""
        return rms_norm(x, self.scale.value, epsilon=self.epsilon)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "scale_initializer": keras.initializers.serialize(self.scale_initializer),
        }
