"""A weight in 8 or 4 bits: how it is stored, made from floats, and made floats again.

A weight is a matrix [N, K], a row per output, whatever the shape of the layer's kernel, so that each output's inputs
lie side by side. Four bits are two's complement, two in a byte, the even one in the low half.

| bits | data | scale | a weight is |
| --- | --- | --- | --- |
| 8 | int8 [N, K], -127 .. 127 | float32 [N] | data * scale |
| 4 | uint8 [N, K / 2], -8 .. 7 | bfloat16 [N, K / group] | data * scale of its group |
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from keras_codegemma.axes import Array, Float

GROUP_SIZES = (32, 64, 128)
DEFAULT_GROUP_SIZE = 128
"""Keras's default block size of int4."""
_BAND_BYTES = 1 << 20  # of floats quantised at a time: they stay in the processor's cache


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class QuantizedWeight:
    """A matrix [N, K] in 8 or 4 bits. The fields are arrays or `ShapeDtypeStruct`s; see the module's table.

    Attributes:
        data: the integers.
        scale: what they are multiplied by.
    """

    data: Array
    scale: Array

    @property
    def bits(self) -> int:
        """8 or 4."""
        return 4 if self.data.dtype == jnp.uint8 else 8

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        outputs, columns = self.data.shape
        return outputs, columns * (8 // self.bits)

    @property
    def group_size(self) -> int:
        """Inputs that share a scale: all of them for 8 bits."""
        return self.shape[1] // (self.scale.shape[1] if self.bits == 4 else 1)

    def rows(self, index: Array) -> "QuantizedWeight":
        """The rows of these outputs, for instance the embeddings of some ids."""
        return QuantizedWeight(data=self.data[index], scale=self.scale[index])


def quantized_shapes(
    shape: tuple[int, int], mode: str, group_size: int
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Data and scale of a matrix [N, K].

    Raises:
        ValueError: a mode that is neither "int8" nor "int4", or a group size that is unknown or does not divide K.
    """
    outputs, inputs = shape
    if mode == "int8":
        return jax.ShapeDtypeStruct(shape, jnp.int8), jax.ShapeDtypeStruct((outputs,), jnp.float32)
    if mode != "int4":
        raise ValueError(f"Weights are quantised to 'int8' or 'int4'; got {mode!r}. Choose one of these.")
    if group_size not in GROUP_SIZES:
        raise ValueError(
            f"An int4 group must have one of {GROUP_SIZES} inputs; got {group_size!r}. Choose one of these."
        )
    if inputs % group_size:
        raise ValueError(
            f"An int4 group of {group_size} inputs must divide a weight's inputs; got {inputs}. Use a smaller group "
            f"({', '.join(str(size) for size in GROUP_SIZES if inputs % size == 0) or 'none of them divides'}) or int8."
        )
    return (
        jax.ShapeDtypeStruct((outputs, inputs // 2), jnp.uint8),
        jax.ShapeDtypeStruct((outputs, inputs // group_size), jnp.bfloat16),
    )


def quantize(weight: np.ndarray, mode: str, *, group_size: int = DEFAULT_GROUP_SIZE) -> QuantizedWeight:
    """Rounds a matrix to 8 or 4 bits, to nearest, with the largest magnitude of each output or group kept exactly.

    Args:
        weight: float [N, K], of any strides.
        mode: "int8" or "int4".
        group_size: of int4.

    Returns:
        numpy arrays. A row or group of zeros has scale 0.

    Raises:
        ValueError: as `quantized_shapes`, or a weight that is not finite.
    """
    outputs, inputs = weight.shape
    data_spec, scale_spec = quantized_shapes((outputs, inputs), mode, group_size)
    data, scale = np.empty(data_spec.shape, data_spec.dtype), np.empty(scale_spec.shape, scale_spec.dtype)
    step = max(1, _BAND_BYTES // (4 * inputs))
    for start in range(0, outputs, step):
        band = np.array(weight[start : start + step], np.float32, order="C")  # a copy, to be worked in
        rows = slice(start, start + len(band))
        if mode == "int8":
            data[rows], scale[rows] = _to_int8(band)
        else:
            data[rows], scale[rows] = _to_int4(band, group_size)
        if not np.isfinite(scale[rows].astype(np.float32)).all():
            raise ValueError(
                "Only finite weights can be quantised; got NaN or infinity. The checkpoint is damaged: load it again."
            )
    return QuantizedWeight(data=data, scale=scale)  # pyright: ignore[reportArgumentType] (numpy arrays)


def _to_int8(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.maximum(band.max(axis=1), -band.min(axis=1)) / np.float32(127)
    band *= _inverse(scale)[:, None]
    return np.rint(band, out=band).astype(np.int8), scale


def _to_int4(band: np.ndarray, group_size: int) -> tuple[np.ndarray, np.ndarray]:
    groups = band.reshape(len(band), -1, group_size)
    highest, lowest = groups.max(axis=2), groups.min(axis=2)
    # The largest magnitude becomes -8, with a scale of either sign: -8 .. 7 has one more step on that side.
    extreme = np.where(highest > -lowest, highest, lowest)
    scale = (extreme / np.float32(-8)).astype(ml_dtypes.bfloat16)
    groups *= _inverse(scale.astype(np.float32))[:, :, None]
    values = np.clip(np.rint(groups, out=groups), -8, 7, out=groups).astype(np.int8).reshape(len(band), -1)
    return (values[:, 0::2] & 0xF).view(np.uint8) | (values[:, 1::2].view(np.uint8) << 4), scale


def _inverse(scale: np.ndarray) -> np.ndarray:
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)


def unpack_int4(data: Array) -> Array:
    """uint8 [..., K / 2] to the integers -8 .. 7 that lie in it, int8 [..., K]."""
    signed = jax.lax.bitcast_convert_type(data, jnp.int8)
    low, high = jnp.right_shift(jnp.left_shift(signed, 4), 4), jnp.right_shift(signed, 4)
    return jnp.stack([low, high], axis=-1).reshape(*data.shape[:-1], -1)


def dequantize(weight: QuantizedWeight) -> Float[Array, "... K"]:
    """The matrix, or some of its rows, as float32."""
    if weight.bits == 8:
        return weight.data.astype(jnp.float32) * weight.scale[..., None]
    values = unpack_int4(weight.data).astype(jnp.float32)
    groups = values.reshape(*weight.scale.shape, -1) * weight.scale.astype(jnp.float32)[..., None]
    return groups.reshape(values.shape)
