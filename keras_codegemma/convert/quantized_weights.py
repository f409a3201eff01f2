"""Quantised weights in files of KerasHub's layout: what they are called there, read as stored or as floats.

A weight that is quantised is two datasets in the place of one: `.../vars/0` the integers [N, K], and `.../vars/1` their
scales (`kernels/quantized_matmul/weights.py`). How they are quantised stands in config.json under our key; KerasHub
stores its own quantised weights in another way, and neither loads the other's.
"""

from typing import Any

import numpy as np

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert.files import listed
from keras_codegemma.convert.names import WeightNames, weight_names
from keras_codegemma.convert.stores import TensorStore, numpy_dtype
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, dequantize
from keras_codegemma.quantization import Quantization, as_kernel, form_of, is_quantized


def tensor_list(
    config: CodeGemmaConfig, quantization: Quantization, *, dtypes: dict[str, str]
) -> list[tuple[str, tuple[int, ...], str]]:
    """(h5 key, shape, dtype) of every tensor, in the order they are written.

    Args:
        config: the architecture.
        quantization: of the weights.
        dtypes: from the path of each float weight to its type.
    """
    tensors = []
    for names in weight_names(config):
        if is_quantized(names.path):
            data, scale = quantization.shapes(names.path, names.shape)
            tensors.append((names.keras_hub_key, data.shape, str(data.dtype)))
            tensors.append((_scale_key(names), scale.shape, str(scale.dtype)))
        else:
            tensors.append((names.keras_hub_key, names.shape, dtypes[names.path]))
    return tensors


def _scale_key(names: WeightNames) -> str:
    return names.keras_hub_key.removesuffix("0") + "1"


class QuantizedStreamedWeights:
    """Weights of a folder with quantised ones, read when asked for: quantised as they are, or as floats.

    Args:
        store: the opened files.
        config: the architecture they must belong to.
        quantization: what config.json says of them.
        dtype: the float type of weights that are not quantised, and of others when they are made floats.

    Raises:
        ValueError: tensors are missing, unknown, misshapen or of a wrong type; all are named.
    """

    def __init__(self, store: TensorStore, config: CodeGemmaConfig, *, quantization: Quantization, dtype: str):
        self.quantization = quantization
        self._store = store
        self._dtype = dtype
        self._names = {names.path: names for names in weight_names(config)}
        self._check(config)

    def stored_dtype(self, path: str) -> str:
        """The float type of this weight: as stored, or for a quantised one the type it was quantised from."""
        return self._dtype if is_quantized(path) else self._store.tensors[self._names[path].keras_hub_key].dtype

    def close(self) -> None:
        """Closes the files."""
        self._store.close()

    def quantized(self, path: str) -> QuantizedWeight:
        """The quantised weight of this path, as numpy arrays.

        Raises:
            ValueError: an int8 weight of -128, which quantising never gives and the kernels do not take.
        """
        names = self._names[path]
        data, scale = (self._read(key) for key in (names.keras_hub_key, _scale_key(names)))
        if data.dtype == np.int8 and data.min() == -128:
            raise ValueError(
                f"int8 weights must lie in -127 .. 127; {path} in {self._store.folder} has -128. It was not written by "
                "this package or is damaged: quantise the float model again."
            )
        return QuantizedWeight(data=data, scale=scale)  # pyright: ignore[reportArgumentType] (numpy arrays)

    def __call__(self, path: str, shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:
        """The weight as floats, in our layout.

        Raises:
            ValueError: a path or shape that is not this architecture's, or a damaged file.
        """
        names = self._names.get(path)
        if names is None or names.shape != tuple(shape):
            raise ValueError(
                f"The folder {self._store.folder} has no weight {path} of shape {tuple(shape)}; it has "
                f"{'no weight of that name' if names is None else names.shape}. Build the model from the "
                "folder's own config."
            )
        wanted = numpy_dtype(dtype or self.stored_dtype(path))
        if not is_quantized(path):
            return self._read(names.keras_hub_key).astype(wanted, copy=False)
        floats = np.asarray(dequantize(self.quantized(path)))
        return np.ascontiguousarray(as_kernel(form_of(path), floats, names.shape), wanted)

    def _read(self, key: str) -> np.ndarray:
        return self._store.read_rows(key, 0, self._store.tensors[key].shape[0])

    def _check(self, config: CodeGemmaConfig) -> None:
        stored = {name: (tensor.shape, tensor.dtype) for name, tensor in self._store.tensors.items()}
        floats = {names.path: stored.get(names.keras_hub_key, ((), self._dtype))[1] for names in self._names.values()}
        tensors = tensor_list(config, self.quantization, dtypes=floats)
        expected: dict[str, Any] = {name: (tuple(shape), dtype) for name, shape, dtype in tensors}
        problems = {
            "missing": [name for name in expected if name not in stored],
            "unexpected": [name for name in stored if name not in expected],
            "of wrong shape or type": [
                f"{name} is {stored[name]}, not {expected[name]}"
                for name in expected
                if name in stored and stored[name] != expected[name]
            ],
        }
        if found := [f"{len(names)} {kind}: {listed(names)}" for kind, names in problems.items() if names]:
            raise ValueError(
                f"The weights in {self._store.folder} must be the {len(expected)} tensors of its config, quantised as "
                f"{self.quantization}; got {'. '.join(found)}. Quantise the float model again."
            )
