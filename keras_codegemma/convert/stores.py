"""Weight files opened for reading: which tensors they hold, and rows of one of them at a time.

Files are read, not memory-mapped for their life: mapped pages count as memory of the process, and a file that
changes under a mapping changes or ends the program. Pickle files are never opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ml_dtypes
import numpy as np

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
FLOAT_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor as a file declares it.

    Attributes:
        name: its name in the file.
        shape: its shape in the file.
        dtype: numpy's name of its type, such as "bfloat16", or the file's own word for a type that is not a
            float.
        file: where it lies.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: Path


class TensorStore(Protocol):
    """An opened set of weight files."""

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        ...

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """Every tensor by name."""
        ...

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of a tensor's first axis, in its stored type, in memory of their own."""
        ...

    def close(self) -> None:
        """Closes the files; harmless when closed."""
        ...


def numpy_dtype(name: str) -> np.dtype:
    """The numpy type of this name; numpy alone does not know "bfloat16"."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def refuse_pickle(path: Path) -> None:
    """Raises if `path` is a pickle, or a folder whose only weights are pickles.

    Raises:
        ValueError: with the way to convert it.
    """
    candidates = sorted(path.iterdir()) if path.is_dir() else [path]
    if found := [file.name for file in candidates if file.suffix in PICKLE_SUFFIXES]:
        raise ValueError(
            f"Weights must be in safetensors or KerasHub's .weights.h5; {path} has {', '.join(found[:3])}, "
            "which is a pickle: loading one can run any program hidden in it, so it is never loaded. "
            "Convert it where you trust it: "
            "transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder), then "
            "load new_folder."
        )
