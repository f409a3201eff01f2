"""Which weights are quantised and how: the choice as a value, its Keras policy name, and matrices of layer kernels.

Projections and the embedding are quantised; norms stay floats. A quantised weight is a matrix [N, K], a row per output
(see `kernels/quantized_matmul/weights.py`), stored as two variables in place of one: `<path>` and `<path>_scale`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from keras_codegemma.kernels.quantized_matmul import (
    DEFAULT_GROUP_SIZE,
    QuantizedWeight,
    quantize,
    quantized_shapes,
)

Form = Literal["inputs_first", "heads_first", "join_heads", "outputs_first"]
"""How a kernel lies: [K, N]; [heads, K, H]; [heads, H, N] with K = heads H; [N, K]."""

_FORMS: dict[str, Form] = {
    "embeddings": "outputs_first",
    "query/kernel": "heads_first",
    "key/kernel": "heads_first",
    "value/kernel": "heads_first",
    "attention_output/kernel": "join_heads",
    "ffw_gating/kernel": "inputs_first",
    "ffw_gating_2/kernel": "inputs_first",
    "ffw_linear/kernel": "inputs_first",
}
SCALE_SUFFIX = "_scale"


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How weights are quantised.

    Attributes:
        mode: "int8" or "int4".
        group_size: inputs that share a scale in int4; 0 for int8.

    Raises:
        ValueError: another mode, or a group size that int4 does not have.
    """

    mode: str
    group_size: int = 0

    def __post_init__(self) -> None:
        group = self.group_size if self.mode == "int4" else 0
        quantized_shapes((1, group or 1), self.mode, group)
        object.__setattr__(self, "group_size", group)

    @classmethod
    def of(cls, mode: str, group_size: int | None = None) -> "Quantization":
        """A mode as users name it: "int8", "int4", or "int4/32" for another group size than the default."""
        name, _, size = mode.partition("/")
        if name == "int4" and size.isdecimal():
            group_size = int(size)
        elif size:
            name = mode  # refused below, as it came
        return cls(mode=name, group_size=group_size or DEFAULT_GROUP_SIZE)

    def policy_name(self, source: str) -> str:
        """The name of the Keras dtype policy, such as "int8_from_bfloat16" or "int4/128_from_bfloat16"."""
        mode = f"int4/{self.group_size}" if self.mode == "int4" else self.mode
        return f"{mode}_from_{source}"

    def shapes(self, path: str, shape: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Of the weight of this path and float shape, the data's and the scale's shape and dtype."""
        return quantized_shapes(matrix_shape(form_of(path), shape), self.mode, self.group_size)

    def quantize(self, path: str, weight: np.ndarray) -> QuantizedWeight:
        """The float weight of this path, quantised; numpy arrays."""
        try:
            return quantize(as_matrix(form_of(path), weight), self.mode, group_size=self.group_size)
        except ValueError as error:
            raise ValueError(f"{path} cannot be quantised. {error}") from error


def split_policy_name(name: str) -> tuple[Quantization | None, str]:
    """A dtype policy's name as the quantisation, if any, and the float policy under it."""
    mode, separator, source = name.partition("_from_")
    return (Quantization.of(mode), source) if separator else (None, name)


def is_quantized(path: str) -> bool:
    """Whether the weight of this path is one that is quantised."""
    return _form_of(path) is not None


def form_of(path: str) -> Form:
    """How the kernel of this path lies."""
    form = _form_of(path)
    assert form is not None, path
    return form


def _form_of(path: str) -> Form | None:
    *_, layer, weight = ("", *path.split("/"))
    return _FORMS.get(weight) or _FORMS.get(f"{layer}/{weight}")


def matrix_shape(form: Form, shape: tuple[int, ...]) -> tuple[int, int]:
    """(N, K) of a kernel of this shape."""
    if form == "outputs_first":
        return shape[0], shape[1]
    if form == "inputs_first":
        return shape[1], shape[0]
    heads, middle, last = shape
    return (heads * last, middle) if form == "heads_first" else (last, heads * middle)


def matrix_axes(form: Form, axes: tuple[Any, ...]) -> tuple[Any, Any]:
    """Of a kernel's axes, those that the rows and columns of its matrix follow: of joined axes, the slower one."""
    if form == "outputs_first":
        return axes[0], axes[1]
    if form == "inputs_first":
        return axes[1], axes[0]
    heads, middle, last = axes
    return (heads, middle) if form == "heads_first" else (last, heads)


def as_matrix(form: Form, kernel: Any) -> Any:
    """The kernel as [N, K]; of numpy or jax arrays, a view where that is possible."""
    if form == "outputs_first":
        return kernel
    if form == "inputs_first":
        return kernel.T
    if form == "join_heads":
        return kernel.reshape(-1, kernel.shape[-1]).T
    return kernel.transpose(0, 2, 1).reshape(-1, kernel.shape[1])


def as_kernel(form: Form, matrix: Any, shape: tuple[int, ...]) -> Any:
    """The inverse of `as_matrix`, for a kernel of this shape."""
    if form == "outputs_first":
        return matrix
    if form == "inputs_first":
        return matrix.T
    if form == "join_heads":
        return matrix.T.reshape(shape)
    return matrix.reshape(shape[0], shape[2], shape[1]).transpose(0, 2, 1)


class QuantizingSource:
    """A weight source for a quantised model: reads float weights one at a time and quantises them.

    Where the source holds weights quantised in the wanted way, they are taken as they are.

    Args:
        source: (path, float shape, dtype) to an array; optionally with the attribute `quantization` and the method
            `quantized(path)`, which gives the stored `QuantizedWeight`.
        quantization: the wanted one.
        shapes: of the float weights, by path.
        dtype: to read floats in.
    """

    def __init__(
        self,
        source: Callable[[str, tuple[int, ...], str], Any],
        quantization: Quantization,
        *,
        shapes: dict[str, tuple[int, ...]],
        dtype: str,
    ):
        self._source = source
        self._quantization = quantization
        self._shapes = shapes
        self._dtype = dtype
        # Scales wait here: a layer asks for its data first and for its scale next.
        self._scales: dict[str, Any] = {}

    def __call__(self, path: str, shape: tuple[int, ...], dtype: str) -> Any:
        """The variable of this path: a float weight, a quantised weight's data, or its scale."""
        if path in self._scales:
            return self._scales.pop(path)
        if not is_quantized(path):
            return self._source(path, shape, dtype)
        weight = self._quantized(path)
        self._scales[path + SCALE_SUFFIX] = weight.scale
        return weight.data

    def _quantized(self, path: str) -> QuantizedWeight:
        if getattr(self._source, "quantization", None) == self._quantization:
            return self._source.quantized(path)  # pyright: ignore[reportFunctionMemberAccess]
        floats = self._source(path, self._shapes[path], self._dtype)
        return self._quantization.quantize(path, np.asarray(floats))
