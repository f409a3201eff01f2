"""Where weights come from: a folder, checked whole and read one tensor at a time, or a model in memory.

Both are called as `weights(path, shape, dtype)`, which is what `CodeGemmaBackbone(weight_source=...)` takes,
and both can be written to another layout.
"""

import math
import mmap
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert.files import listed
from keras_codegemma.convert.names import Layout, WeightNames, copy_in_bands, weight_names
from keras_codegemma.convert.stores import FLOAT_DTYPES, TensorStore, numpy_dtype
from keras_codegemma.distribution import fetch
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, dequantize
from keras_codegemma.layers.projection import merged_kernel
from keras_codegemma.quantization import SCALE_SUFFIX, Quantization, is_quantized

TIED_OUTPUT = "lm_head.weight"

# Read at a time: small beside any model, large enough for a disk.
_CHUNK_BYTES = 4 << 20


class Weights(Protocol):
    """All weights of one model, by Keras `variable.path`."""

    def __call__(self, path: str, shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:
        """The weight in our layout, in this float type, or as stored for None."""
        ...

    def stored_dtype(self, path: str) -> str:
        """The float type it is stored in, by numpy's name."""
        ...

    def close(self) -> None:
        """Frees files."""
        ...


class StreamedWeights:
    """Weights read from a folder when asked for. Memory: the tensor asked for, in its final type, and 4 MiB.

    Args:
        store: the opened files.
        config: the architecture they must belong to.
        layout: whose names and shapes the files use.

    Raises:
        ValueError: tensors are missing, unknown, misshapen or not of a float type; all are named.
    """

    def __init__(self, store: TensorStore, config: CodeGemmaConfig, *, layout: Layout):
        self._store = store
        self._layout: Layout = layout
        self._names = {names.path: names for names in weight_names(config)}
        self._check(config)

    @property
    def names(self) -> tuple[str, ...]:
        """The Keras path of every weight, in model order."""
        return tuple(self._names)

    def stored_dtype(self, path: str) -> str:
        """The float type of this weight in its file."""
        return self._store.tensors[self._names[path].name_in(self._layout)].dtype

    def close(self) -> None:
        """Closes the files."""
        self._store.close()

    def __call__(self, path: str, shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:
        """Reads one weight.

        Args:
            path: its Keras `variable.path`.
            shape: what the model expects; checked.
            dtype: the float type to convert to while reading; None keeps the stored one.

        Returns:
            The weight in our layout, in memory of its own.

        Raises:
            ValueError: a path or shape that is not this architecture's, a damaged file, or values too large
                for float16.
        """
        names = self._names.get(path)
        if names is None or names.shape != tuple(shape):
            raise ValueError(
                f"The folder {self._store.folder} has no weight {path} of shape {tuple(shape)}; it has "
                f"{'no weight of that name' if names is None else names.shape}. Build the model from the "
                "folder's own config."
            )
        weight = _empty(names.shape, numpy_dtype(dtype or self.stored_dtype(path)))
        view = names.view_in(self._layout, weight)
        for start, stop, chunk in self._chunks(names, length=view.shape[0]):
            with np.errstate(over="ignore"):  # reported below, with the tensor's name
                converted = chunk.astype(weight.dtype, copy=False)
            copy_in_bands(view[start:stop], converted.reshape(stop - start, *view.shape[1:]))
        if weight.dtype == np.float16 and not np.isfinite(weight).all():
            raise ValueError(
                f"Weights loaded as float16 must be below 65504; {path} in {self._store.folder} has larger "
                "ones. Load it with dtype='bfloat16' or 'float32'."
            )
        return weight

    def _chunks(self, names: WeightNames, *, length: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Steps along the first axis of the split shape, so that no head is read in parts."""
        stored = names.name_in(self._layout)
        rows = names.shape_in(self._layout)[0] // length
        row_bytes = math.prod(names.shape) // length * numpy_dtype(self._store.tensors[stored].dtype).itemsize
        step = max(1, _CHUNK_BYTES // row_bytes)
        is_tied = names.path == "token_embedding/embeddings" and TIED_OUTPUT in self._store.tensors
        for start in range(0, length, step):
            stop = min(start + step, length)
            chunk = self._store.read_rows(stored, start * rows, stop * rows)
            if is_tied:
                self._check_tied(chunk, self._store.read_rows(TIED_OUTPUT, start, stop))
            yield start, stop, chunk

    def _check_tied(self, embedding: np.ndarray, output: np.ndarray) -> None:
        if not np.array_equal(embedding, output):
            raise ValueError(
                f"{TIED_OUTPUT} must equal the embedding, as Gemma ties them; in {self._store.folder} they "
                "differ. This model was trained untied and cannot be held by this architecture."
            )

    def _check(self, config: CodeGemmaConfig) -> None:
        stored = self._store.tensors
        expected = {names.name_in(self._layout): names.shape_in(self._layout) for names in self._names.values()}
        if self._layout == "hugging_face" and TIED_OUTPUT in stored:
            expected[TIED_OUTPUT] = (config.vocabulary_size, config.hidden_dim)
        problems = {
            "missing": [name for name in expected if name not in stored],
            "unexpected": [name for name in stored if name not in expected],
            "of wrong shape": [
                f"{name} is {stored[name].shape}, not {shape}"
                for name, shape in expected.items()
                if name in stored and stored[name].shape != shape
            ],
            "of wrong type": [
                f"{name} is {stored[name].dtype}"
                for name in expected
                if name in stored and stored[name].dtype not in FLOAT_DTYPES
            ],
        }
        found = [f"{len(names)} {kind}: {listed(names)}" for kind, names in problems.items() if names]
        if found:
            raise ValueError(
                f"The weights in {self._store.folder} must be the {len(self._names)} tensors of its config "
                f"({config.num_layers} layers, width {config.hidden_dim}), in {', '.join(FLOAT_DTYPES)}; "
                f"got {'. '.join(found)}. Fetch the folder again; if it is your own, correct its "
                "config.json."
            )


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`np.empty` on pages of its own, which the system gets back at once when the array is freed.

    malloc keeps freed blocks of up to 32 MiB, and a model is hundreds of them between blocks that stay:
    loading then peaked at up to 1.37 times the weights.
    """
    if 0 in shape:
        return np.empty(shape, dtype)
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    return np.frombuffer(pages, dtype=dtype).reshape(shape)


class ModelWeights:
    """The weights of a backbone in memory; LoRA adapters are added to the kernels they adapt.

    Args:
        backbone: a `CodeGemmaBackbone`.
    """

    def __init__(self, backbone: Any):
        self.quantization: Quantization | None = backbone.quantization
        self._dtype = str(backbone.dtype_policy.variable_dtype)
        self._variables = {variable.path: variable for variable in backbone.variables}
        self._layers = {f"{path}/kernel": layer for path, layer in backbone.projections().items()}

    def stored_dtype(self, path: str) -> str:
        """The variable's float type; of a quantised one, the type it was quantised from."""
        return self._dtype if self._is_quantized(path) else str(self._variables[path].dtype)

    def close(self) -> None:
        """Nothing is held open."""

    def _is_quantized(self, path: str) -> bool:
        return self.quantization is not None and is_quantized(path)

    def quantized(self, path: str) -> QuantizedWeight:
        """The quantised weight of this path as numpy arrays; with adapters, quantised again with them merged in."""
        assert self.quantization is not None
        layer = self._layers.get(path)
        if layer is not None and layer.lora_enabled:
            return self.quantization.quantize(path, merged_kernel(layer))
        data, scale = (fetch(self._variables[name].value) for name in (path, path + SCALE_SUFFIX))
        return QuantizedWeight(data=data, scale=scale)  # pyright: ignore[reportArgumentType] (numpy arrays)

    def __call__(self, path: str, shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:
        """The weight as a numpy array of floats; on CPU a view of the variable where nothing must be converted.

        Raises:
            ValueError: the variable has another shape.
        """
        layer = self._layers.get(path)
        if layer is not None and (layer.lora_enabled or self._is_quantized(path)):
            weight = merged_kernel(layer)
        elif self._is_quantized(path):
            weight = np.asarray(dequantize(self.quantized(path)))
        else:
            weight = fetch(self._variables[path].value)
        if weight.shape != tuple(shape):
            raise ValueError(
                f"The weight {path} must have shape {tuple(shape)}; the model's has {weight.shape}. Write "
                "the model with its own config."
            )
        return weight.astype(numpy_dtype(dtype or self.stored_dtype(path)), copy=False)
