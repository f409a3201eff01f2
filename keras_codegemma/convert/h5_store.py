"""KerasHub's weight files, `model.weights.h5` or shards with a map: read row by row, and written.

The files are Keras 3's: a dataset `.../vars/0` for each weight, bfloat16 as opaque 2-byte values with the
attribute `dtype`, and groups that carry the layer's name. A weight map names the shard of each `vars` group.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np

from keras_codegemma.convert.files import plain_file_name, read_json, write_json
from keras_codegemma.convert.stores import StoredTensor, numpy_dtype, refuse_pickle

SINGLE_FILE = "model.weights.h5"
INDEX_FILE = "model.weights.json"

# Keras before 3 named the top group so; its own reader still accepts it.
_OLD_TOP_GROUP = "_layer_checkpoint_dependencies/"


class H5Store:
    """The h5 weights of a folder in KerasHub layout.

    Raises:
        FileNotFoundError: no weight file, or a shard that the map names is missing.
        ValueError: a damaged file, data that lies outside the file, or pickles in place of h5.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.tensors: dict[str, StoredTensor] = {}
        self._files: list[h5py.File] = []
        self._datasets: dict[str, h5py.Dataset] = {}
        try:
            for path in _weight_files(folder):
                self._add(path)
        except BaseException:
            self.close()
            raise

    def _add(self, path: Path) -> None:
        try:
            file = h5py.File(path, "r", locking=False)
            self._files.append(file)
            found: dict[str, Any] = {}
            # Follows hard links only, so soft and external links are never looked through.
            file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            for name, dataset in found.items():
                self._declare(name.replace(_OLD_TOP_GROUP, "layers/", 1), dataset, path)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"{path} must be a whole HDF5 file; opening it failed: {error}. It is damaged or was not "
                "downloaded to its end: delete it and fetch it again."
            ) from error

    def _declare(self, name: str, dataset: h5py.Dataset, path: Path) -> None:
        if dataset.external or dataset.is_virtual:
            raise ValueError(
                f"A weight file must hold its own data; {name} in {path} points into other files. Do not "
                "trust this file; get it from its publisher again."
            )
        if name in self.tensors:
            raise ValueError(
                f"A tensor must be in one shard; {name} is in {self.tensors[name].file.name} and in "
                f"{path.name}. Shards of different saves lie in one folder: fetch it again into an empty "
                "one."
            )
        dtype = str(dataset.attrs.get("dtype", dataset.dtype.name))
        if dtype == "bfloat16" and dataset.dtype.itemsize != 2:
            dtype = dataset.dtype.name
        self.tensors[name] = StoredTensor(name=name, shape=dataset.shape, dtype=dtype, file=path)
        self._datasets[name] = dataset

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a tensor's first axis, copied out of the file."""
        tensor = self.tensors[name]
        try:
            rows = self._datasets[name][start:stop]
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"{tensor.file} must be a whole HDF5 file; reading {name} failed: {error}. Fetch the file again."
            ) from error
        return rows.view(ml_dtypes.bfloat16) if tensor.dtype == "bfloat16" else rows

    def close(self) -> None:
        """Closes the files."""
        self._datasets.clear()
        for file in self._files:
            file.close()
        self._files.clear()


def _weight_files(folder: Path) -> list[Path]:
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        refuse_pickle(folder)
        raise FileNotFoundError(
            f"The folder must hold {SINGLE_FILE}, or shards with {INDEX_FILE}; {folder} has neither. Fetch "
            "the weights too, or load with load_weights=False."
        )
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} must map weights to shards in 'weight_map'; it does not. Fetch the file again.")
    # Keras writes a list where the weights of one layer lie in several shards.
    values = [value if isinstance(value, list) else [value] for value in weight_map.values()]
    shards = sorted({plain_file_name(shard, named_in=index) for value in values for shard in value})
    if missing := [shard for shard in shards if not (folder / shard).is_file()]:
        raise FileNotFoundError(
            f"Every shard that {index} lists must be there; missing: {', '.join(missing)}. Fetch them again."
        )
    return [folder / shard for shard in shards]


def write_h5(
    folder: Path,
    tensors: Iterable[tuple[str, tuple[int, ...], str]],
    *,
    read: Callable[[str], np.ndarray],
    max_shard_bytes: float,
) -> None:
    """Writes tensors one after the other to `model.weights.h5`, or to shards with a weight map.

    Args:
        folder: where to.
        tensors: (key, shape, dtype) of each, in the order to write; dtype is a numpy name.
        read: from a key to its array of that shape and dtype; called once per tensor, when it is written.
        max_shard_bytes: above this many bytes in all, shards are written.

    Raises:
        ValueError: one tensor is larger than a shard; KerasHub cannot read a tensor in pieces.
    """
    listed = list(tensors)
    sizes = {name: math.prod(shape) * numpy_dtype(dtype).itemsize for name, shape, dtype in listed}
    if sum(sizes.values()) <= max_shard_bytes:
        _write_file(folder / SINGLE_FILE, listed, read=read)
        return
    largest = max(sizes, key=lambda name: sizes[name])
    if sizes[largest] > max_shard_bytes:
        raise ValueError(
            f"The largest weight must fit into one shard; {largest} has {sizes[largest]:,} bytes and "
            f"max_shard_size allows {max_shard_bytes:,.0f}. Use a max_shard_size of at least "
            f"{sizes[largest] / 1024**3:.3g} GiB."
        )
    shards: list[list] = [[]]
    room = max_shard_bytes
    for tensor in listed:
        if sizes[tensor[0]] > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(tensor)
        room -= sizes[tensor[0]]
    weight_map = {}
    for number, shard in enumerate(shards):
        file_name = f"model_{number:05}.weights.h5"
        _write_file(folder / file_name, shard, read=read)
        for name, _, _ in shard:
            # Of a weight whose data and scale come into two shards, both are listed, as Keras does.
            key = "/" + name.rpartition("/")[0]
            weight_map[key] = sorted({*weight_map.get(key, ()), file_name})
    weight_map = {key: names[0] if len(names) == 1 else names for key, names in weight_map.items()}
    total = {"total_size": float(sum(sizes.values()))}
    write_json(folder / INDEX_FILE, {"metadata": total, "weight_map": weight_map})


def _write_file(path: Path, tensors: list, *, read: Callable[[str], np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        for name, shape, dtype in tensors:
            array = np.ascontiguousarray(read(name))
            assert (array.shape, array.dtype.name) == (tuple(shape), dtype), name
            dataset = file.create_dataset(name, data=array)
            if dtype == "bfloat16":
                dataset.attrs["dtype"] = "bfloat16"
