"""Rotary position embedding: angles once per forward pass, then a rotation of queries and keys in each block."""

import jax.numpy as jnp
import keras

from keras_codegemma.axes import Array, Float, Int


def rotary_angles(
    positions: Int[Array, "B T"], *, head_dim: int, max_wavelength: float
) -> tuple[Float[Array, "B T P"], Float[Array, "B T P"]]:
    """Sine and cosine of position / max_wavelength^(2 i / H) for i in [0, H / 2), in float32."""
    exponent = jnp.arange(head_dim // 2, dtype=jnp.float32) * (2.0 / head_dim)
    angles = positions.astype(jnp.float32)[..., None] / (max_wavelength**exponent)
    return jnp.sin(angles), jnp.cos(angles)


def rotate(
    x: Float[Array, "B T N H"], sin: Float[Array, "B T P"], cos: Float[Array, "B T P"]
) -> Float[Array, "B T N H"]:
    """Turns each pair (first half, second half) of a head by its angle, in float32, rounded once to the type of `x`.

    The halves are not interleaved: the order of Google's code and transformers. KerasHub interleaves queries and keys
    alike, which changes no score.
    """
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    sin, cos = sin[:, :, None, :], cos[:, :, None, :]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


class RotaryEmbedding(keras.layers.Layer):
    """Positions [B, T] to the pair (sin, cos), each float32 [B, T, H / 2]. Has no weights."""

    def __init__(self, head_dim: int, max_wavelength: float = 10_000.0, **options):
        super().__init__(**options)
        self.head_dim = head_dim
        self.max_wavelength = max_wavelength

    def call(self, positions):
        """positions: int32 [B, T]."""
        return rotary_angles(positions, head_dim=self.head_dim, max_wavelength=self.max_wavelength)

    def compute_output_spec(self, positions):
        shape = (*positions.shape, self.head_dim // 2)
        return keras.KerasTensor(shape, dtype="float32"), keras.KerasTensor(shape, dtype="float32")

    def get_config(self):
        return {**super().get_config(), "head_dim": self.head_dim, "max_wavelength": self.max_wavelength}
