"""Safetensors files, one or a set of shards with an index: read row by row, written tensor by tensor.

Reading is the safetensors library's, which checks a header before it trusts it. Writing is ours, because the
library wants all tensors of a file in memory at once. The format: 8 bytes little-endian header length, a JSON
header {name: {dtype, shape, data_offsets}}, then the data in the order of the offsets.
"""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from keras_codegemma.convert.files import plain_file_name, read_json, write_json
from keras_codegemma.convert.stores import StoredTensor, refuse_pickle

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_CODES = {name: code for code, name in _DTYPES.items()}
_HEADER_ALIGNMENT = 8


class SafetensorsStore:
    """The safetensors weights of a folder in Hugging Face layout.

    Raises:
        FileNotFoundError: no safetensors file, or a shard that the index names is missing.
        ValueError: a damaged file, an index that does not describe its shards, or pickles in place of
            safetensors.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        index = folder / INDEX_FILE
        if (folder / SINGLE_FILE).is_file():
            self.tensors = _declared(folder / SINGLE_FILE)
        elif index.is_file():
            self.tensors = _declared_by_index(index)
        else:
            refuse_pickle(folder)
            raise FileNotFoundError(
                f"The folder must hold {SINGLE_FILE}, or shards with {INDEX_FILE}; {folder} has neither. "
                "Fetch the weights too, or load with load_weights=False."
            )

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a tensor's first axis, copied out of the file."""
        # Opened for each call, so that no page of the file stays mapped.
        tensor = self.tensors[name]
        with _opened(tensor.file) as file:
            return file.get_slice(name)[start:stop]

    def close(self) -> None:
        """Nothing is held open."""


def _opened(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="numpy")
    except SafetensorError as error:
        raise ValueError(
            f"{path} must be a whole safetensors file; opening it failed: {error}. It is damaged or was not "
            "downloaded to its end: delete it and fetch it again."
        ) from error


def _declared(path: Path) -> dict[str, StoredTensor]:
    found = {}
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            declared = file.get_slice(name)
            code = declared.get_dtype()
            found[name] = StoredTensor(
                name=name, shape=tuple(declared.get_shape()), dtype=_DTYPES.get(code, str(code)), file=path
            )
    return found


def _declared_by_index(index: Path) -> dict[str, StoredTensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} must map tensor names to shards in 'weight_map'; it does not. Fetch the file again.")
    found: dict[str, StoredTensor] = {}
    for shard in sorted(set(weight_map.values())):
        path = index.parent / plain_file_name(shard, named_in=index)
        if not path.is_file():
            raise FileNotFoundError(
                f"Every shard that {index} lists must be there; {shard} is missing. Fetch it again."
            )
        for name, tensor in _declared(path).items():
            if weight_map.get(name) != shard:
                raise ValueError(
                    f"{index} must say where each tensor lies; {shard} holds {name}, listed under "
                    f"{weight_map.get(name)!r}. Index and shards are not of one release: fetch them again "
                    "together."
                )
            found[name] = tensor
    if absent := sorted(set(weight_map) - set(found)):
        raise ValueError(
            f"Every tensor that {index} lists must be in its shard; {absent[0]} is not in "
            f"{weight_map[absent[0]]}. Fetch index and shards again together."
        )
    return found


def write_safetensors(
    folder: Path,
    tensors: Iterable[tuple[str, tuple[int, ...], str]],
    *,
    read: Callable[[str], np.ndarray],
    max_shard_bytes: float,
) -> None:
    """Writes tensors one after the other to `model.safetensors`, or to shards with an index.

    Args:
        folder: where to.
        tensors: (name, shape, dtype) of each, in the order to write; dtype is a float type's numpy name.
        read: from a name to its array of that shape and dtype; called once per tensor, when it is written.
        max_shard_bytes: above this many bytes in all, a new shard begins; one larger tensor gets a shard of
            its own.
    """
    shards = _shards(list(tensors), max_shard_bytes=max_shard_bytes)
    if len(shards) == 1:
        _write_file(folder / SINGLE_FILE, shards[0], read=read)
        return
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_file(folder / name, shard, read=read)
        weight_map |= {tensor: name for tensor, _, _ in shard}
    total = sum(_size_bytes(tensor) for shard in shards for tensor in shard)
    write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(tensors: list, *, max_shard_bytes: float) -> list[list]:
    shards: list[list] = [[]]
    size = 0
    for tensor in tensors:
        added = _size_bytes(tensor)
        if shards[-1] and size + added > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += added
    return shards


def _size_bytes(tensor: tuple[str, tuple[int, ...], str]) -> int:
    _, shape, dtype = tensor
    return math.prod(shape) * (4 if dtype == "float32" else 2)


def _write_file(path: Path, tensors: list, *, read: Callable[[str], np.ndarray]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers wants the format named
    offset = 0
    for tensor in tensors:
        name, shape, dtype = tensor
        end = offset + _size_bytes(tensor)
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name, shape, dtype in tensors:
            array = np.ascontiguousarray(read(name))
            assert (array.shape, array.dtype.name) == (tuple(shape), dtype), name
            file.write(array.reshape(-1).view(np.uint8).data)
