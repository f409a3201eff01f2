"""LoRA adapters as files of their own: named by weight path, small, and usable on a fresh preset."""

import json
import os
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.distribution import fetch, is_first

_FORMAT = "keras_codegemma.lora.1"


def save(backbone: CodeGemmaBackbone, path: str | os.PathLike[str]) -> None:
    """Writes the adapters of every layer that has one to a safetensors file.

    Keys are `<layer path>/lora_kernel_a` and `.../lora_kernel_b` (float32); the metadata holds rank and alpha. With
    several processes all must call it, and process 0 writes.

    Raises:
        ValueError: the model has no adapters, or the name does not end in `.safetensors`.
    """
    target = _checked_path(path)
    layers = {name: layer for name, layer in backbone.projections().items() if layer.lora_enabled}
    if not layers:
        raise ValueError(
            "Only a model with LoRA adapters can save them; this one has none. Call enable_lora(rank) first."
        )
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{name}/lora_kernel_a"] = fetch(layer.lora_kernel_a.value)
        tensors[f"{name}/lora_kernel_b"] = fetch(layer.lora_kernel_b.value)
    first = next(iter(layers.values()))
    metadata = {"format": _FORMAT, "rank": str(first.lora_rank), "alpha": json.dumps(first.lora_alpha)}
    if not is_first():
        return
    partial = target.with_name(target.name + ".partial")
    safetensors.numpy.save_file(tensors, partial, metadata=metadata)
    partial.replace(target)


def load(backbone: CodeGemmaBackbone, path: str | os.PathLike[str]) -> None:
    """Reads adapters into a model, adding them first where it has none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an adapter file, or adapters of other layers, rank or shapes than the model's.
    """
    target = _checked_path(path)
    if not target.is_file():
        raise FileNotFoundError(f"An adapter file must exist to be loaded; {target} does not. Check the path.")
    try:
        with safetensors.safe_open(target, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except safetensors.SafetensorError as error:
        raise ValueError(f"An adapter file must be whole; {target} cannot be read: {error}. Copy it again.") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"An adapter file must have the format {_FORMAT}; {target} has {metadata.get('format')!r}. "
            "Save it with save_lora_weights()."
        )
    _enable(backbone, tensors, rank=int(metadata["rank"]), alpha=float(json.loads(metadata["alpha"])))
    _assign(backbone, tensors, target)


def _enable(backbone: CodeGemmaBackbone, tensors: dict[str, np.ndarray], *, rank: int, alpha: float) -> None:
    if any(layer.lora_enabled for layer in backbone.projections().values()):
        return
    names = tuple(sorted({key.split("/")[-2] for key in tensors}))
    backbone.enable_lora(rank, alpha=alpha, target_names=names)


def _assign(backbone: CodeGemmaBackbone, tensors: dict[str, np.ndarray], source: Path) -> None:
    variables = {
        f"{name}/{variable.name}": variable
        for name, layer in backbone.projections().items()
        if layer.lora_enabled
        for variable in (layer.lora_kernel_a, layer.lora_kernel_b)
    }
    wanted = {key: tuple(variable.shape) for key, variable in variables.items()}
    got = {key: tensor.shape for key, tensor in tensors.items()}
    if wanted != got:
        clash = next(key for key in sorted(wanted | got) if wanted.get(key) != got.get(key))
        raise ValueError(
            f"The adapters in {source} must fit the model; {clash} is {got.get(clash, 'missing')} in the file and "
            f"{wanted.get(clash, 'absent')} in the model. Load them into the preset, rank and targets they are from."
        )
    for key, variable in variables.items():
        variable.assign(tensors[key])


def _checked_path(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.suffix != ".safetensors":
        raise ValueError(f"An adapter file's name must end in .safetensors; got {target.name!r}. Rename it.")
    return target
