"""Root-mean-square normalisation with Gemma's (1 + scale), computed in float32 in every dtype policy."""

import keras

from keras_codegemma import distribution
from keras_codegemma.kernels.rms_norm import add_rms_norm, rms_norm


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

    def call(self, x, residual=None):
        """Normalises x or, where there is a residual, the sum of both.

        Args:
            x: [B, T, D].
            residual: of the same shape, or None.

        Returns:
            [B, T, D] in the compute dtype; with a residual, the pair of the sum and its normalisation.
        """
        options = {"epsilon": self.epsilon, "is_split": distribution.may_split()}
        if residual is None:
            return rms_norm(x, self.scale.value, **options)
        return add_rms_norm(x, residual, self.scale.value, **options)

    def compute_output_spec(self, x, residual=None):
        spec = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        return spec if residual is None else (spec, keras.KerasTensor(x.shape, dtype=self.compute_dtype))

    def get_config(self):
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "scale_initializer": keras.initializers.serialize(self.scale_initializer),
        }
