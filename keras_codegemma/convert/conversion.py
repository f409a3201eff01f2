"""Whole folders: opened whatever their layout, converted to the other, compared tensor by tensor."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert.checkpoint import Checkpoint, LanguageModel, checkpoint_of
from keras_codegemma.convert.files import check_hashes, read_json, recorded_hashes
from keras_codegemma.convert.hugging_face import (
    DEFAULT_SHARD_GIB,
    is_hugging_face,
    read_hugging_face,
    write_hugging_face,
)
from keras_codegemma.convert.keras_preset import is_keras_preset, read_keras_hub, write_keras_hub
from keras_codegemma.convert.names import Layout, weight_names
from keras_codegemma.convert.stores import refuse_pickle


def layout_of(folder: Path) -> Layout:
    """Which layout a folder has, by its config.json.

    Raises:
        FileNotFoundError: no folder, or no config.json in it.
        ValueError: a file (a pickle is named as such), or a config.json of neither layout.
    """
    if folder.is_file():
        refuse_pickle(folder)
        raise ValueError(f"A model is a folder with config.json; {folder} is a file. Give the folder that it lies in.")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"A model is a folder with config.json; {folder} has none. Check the path, or fetch the folder again."
        )
    values = read_json(folder / "config.json")
    if is_keras_preset(values):
        return "keras_hub"
    if is_hugging_face(values):
        return "hugging_face"
    raise ValueError(
        f"{folder / 'config.json'} must have 'registered_name' (KerasHub) or 'model_type' (Hugging Face); "
        f"got the keys {sorted(values)[:8]}. Save the model with save_to_preset or save_pretrained."
    )


def open_folder(
    folder: str | os.PathLike[str],
    *,
    load_weights: bool = True,
    verify_hashes: bool = True,
    known_hashes: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Opens a model folder of either layout; weights are read when asked for.

    Args:
        folder: in KerasHub's or Hugging Face's layout.
        load_weights: False opens no weight file.
        verify_hashes: compare the files with the folder's own `hashes.json`, where there is one (about 1 s a
            GB), and with `known_hashes`. Without weights, weight files are not compared.
        known_hashes: file name to sha256, from elsewhere; they go before the folder's own.

    Raises:
        FileNotFoundError: no folder, config or weights.
        ValueError: a wrong hash, or whatever `read_keras_hub` and `read_hugging_face` refuse.
    """
    path = Path(folder)
    layout = layout_of(path)
    if verify_hashes:
        hashes = {**recorded_hashes(path), **(known_hashes or {})}
        if not load_weights:
            hashes = {name: digest for name, digest in hashes.items() if not _is_weight_file(name)}
        check_hashes(path, hashes)
    read = read_keras_hub if layout == "keras_hub" else read_hugging_face
    return read(path, load_weights=load_weights)


def _is_weight_file(name: str) -> bool:
    return name.endswith((".h5", ".safetensors"))


def convert_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    layout: Layout,
    dtype: str | None = None,
    max_shard_size: float | None = None,
) -> None:
    """Rewrites a model folder in a layout, tensor by tensor, then reads it back and compares every weight.

    Args:
        source: a model folder of either layout.
        target: missing, empty, or an earlier result.
        layout: the layout to write.
        dtype: float type to write weights in; None keeps each as stored.
        max_shard_size: largest weight file in GiB; None for the layout's usual size (10 and 5).

    Raises:
        ValueError: the source cannot be read, or what was written differs from it.
    """
    write = write_keras_hub if layout == "keras_hub" else write_hugging_face
    options = {} if max_shard_size is None else {"max_shard_size": max_shard_size}
    with open_folder(source) as checkpoint:
        write(checkpoint, Path(target), dtype=dtype, **options)
        with open_folder(target, verify_hashes=False) as written:
            check_equal(checkpoint, written, dtype=dtype)


@dataclass(frozen=True, kw_only=True)
class WeightDifference:
    """How far two versions of one weight lie apart.

    Attributes:
        path: Keras `variable.path`.
        max_abs: largest absolute difference; NaN where either holds a NaN that the other does not.
        elements: how many elements differ.
    """

    path: str
    max_abs: float
    elements: int


def differences(first: Checkpoint, second: Checkpoint, *, dtype: str | None = None) -> list[WeightDifference]:
    """Every weight that is not the same in two checkpoints, bit for bit; one tensor of each in memory.

    Args:
        first, second: of one architecture.
        dtype: the float type to compare in; None for the second's stored type.

    Raises:
        ValueError: two architectures.
    """
    if first.config != second.config:
        raise ValueError(
            f"Only models of one architecture can be compared; got {first.config} and {second.config}. "
            "Check which folders were given."
        )
    a, b = first.readable_weights(), second.readable_weights()
    found = []
    for names in weight_names(first.config):
        kind = dtype or b.stored_dtype(names.path)
        x = a(names.path, names.shape, kind)
        y = b(names.path, names.shape, kind)
        different = x.view(f"u{x.itemsize}") != y.view(f"u{y.itemsize}")
        if different.any():
            largest = np.abs(x.astype(np.float32) - y.astype(np.float32)).max()
            found.append(WeightDifference(path=names.path, max_abs=float(largest), elements=int(different.sum())))
    return found


def check_equal(first: Checkpoint, second: Checkpoint, *, dtype: str | None = None) -> None:
    """`differences`, as an error.

    Raises:
        ValueError: two weights differ in any bit; names the first few and by how much.
    """
    if found := differences(first, second, dtype=dtype):
        shown = "; ".join(f"{item.path}: {item.elements} elements, by up to {item.max_abs:.3g}" for item in found[:4])
        raise ValueError(
            f"A conversion must keep every weight bit for bit; {len(found)} differ ({shown}). The disk or "
            "the conversion is at fault: delete the result, convert again, and report it if it repeats."
        )


def export_to_transformers(
    lm: LanguageModel, folder: str | os.PathLike[str], *, max_shard_size: float = DEFAULT_SHARD_GIB
) -> None:
    """Writes a model in memory as a folder that transformers opens; LoRA adapters are merged in.

    Args:
        lm: a `CodeGemmaCausalLM`.
        folder: missing, empty, or an earlier export.
        max_shard_size: largest weight file in GiB.

    Raises:
        FileExistsError: the target holds other files.
    """
    write_hugging_face(checkpoint_of(lm), Path(folder), max_shard_size=max_shard_size)


def same_architecture(found: CodeGemmaConfig, expected: CodeGemmaConfig, *, source: str) -> None:
    """Raises unless a folder holds the architecture that its name promises.

    Raises:
        ValueError: naming the fields that differ.
    """
    wrong = {
        name: f"{value} instead of {expected.to_dict()[name]}"
        for name, value in found.to_dict().items()
        if value != expected.to_dict()[name]
    }
    if wrong:
        raise ValueError(
            f"The files fetched for {source} must describe its architecture; got {wrong}. They are of "
            "another model or damaged: delete them and fetch them again."
        )
