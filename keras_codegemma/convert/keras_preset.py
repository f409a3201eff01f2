"""Folders in KerasHub's preset layout: read, and written so that plain KerasHub opens them as its own Gemma.

KerasHub looks at `registered_name` and at the fields of `config`; unknown keys beside them are ignored, so
what only we know rides along under the key `keras_codegemma`. The layout is that of KerasHub 0.32
(`utils/preset_utils.py`).
Nothing in these files is executed or deserialised as an object: names and numbers are read.
"""

import datetime
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert import keras_objects
from keras_codegemma.convert.checkpoint import Checkpoint
from keras_codegemma.convert.files import (
    HASHES_FILE,
    MODEL_CARD_FILE,
    read_json,
    replacing_folder,
    write_hashes,
    write_json,
)
from keras_codegemma.convert.h5_store import H5Store, write_h5
from keras_codegemma.convert.model_card import default_card
from keras_codegemma.convert.names import WeightNames, weight_names
from keras_codegemma.convert.quantized_weights import QuantizedStreamedWeights, tensor_list
from keras_codegemma.convert.stores import FLOAT_DTYPES
from keras_codegemma.convert.weights import StreamedWeights, Weights
from keras_codegemma.distribution import is_first
from keras_codegemma.quantization import Quantization, is_quantized
from keras_codegemma.tokenizer import CodeGemmaTokenizer

_LOGGER = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
TOKENIZER_ASSET = "assets/tokenizer/vocabulary.spm"
DEFAULT_SHARD_GIB = 10.0

_OUR_FILES = frozenset(
    {
        CONFIG_FILE,
        "metadata.json",
        "task.json",
        "preprocessor.json",
        "tokenizer.json",
        "model.weights.h5",
        "model.weights.json",
        "model_*.weights.h5",
        "task.weights.h5",
        "assets",
        HASHES_FILE,
    }
)


def is_keras_preset(config: Mapping[str, Any]) -> bool:
    """Whether this `config.json` is of KerasHub's layout."""
    return "registered_name" in config


def read_keras_hub(folder: Path, *, load_weights: bool = True) -> Checkpoint:
    """Opens a preset folder saved by KerasHub (or keras_nlp) or by us; weights are read when asked for.

    Args:
        folder: with config.json, model.weights.h5 (or shards and model.weights.json) and, for a whole model,
            tokenizer.json, preprocessor.json and assets/tokenizer/vocabulary.spm.
        load_weights: False opens no weight file.

    Raises:
        FileNotFoundError: no config or no weights.
        ValueError: another family, options that Gemma 1 does not have, quantised weights, or weights that do
            not fit the config.
    """
    values = read_json(folder / CONFIG_FILE)
    config, dtype = keras_objects.read_backbone(values, source=folder / CONFIG_FILE)
    quantization = keras_objects.read_quantization(values, source=folder / CONFIG_FILE)
    tokenizer = folder / TOKENIZER_ASSET
    card = folder / MODEL_CARD_FILE
    special_token_ids: Mapping[str, int] = {}
    if (folder / "tokenizer.json").is_file():
        special_token_ids = keras_objects.read_tokenizer(
            read_json(folder / "tokenizer.json"), source=folder / "tokenizer.json"
        )
    options: Mapping[str, Any] = {}
    if (folder / "preprocessor.json").is_file():
        options = keras_objects.read_preprocessor(
            read_json(folder / "preprocessor.json"), source=folder / "preprocessor.json"
        )
    return Checkpoint(
        config=config,
        dtype=dtype,
        weights=_weights(folder, config, quantization, dtype) if load_weights else None,
        quantization=quantization,
        tokenizer_model=tokenizer.read_bytes() if tokenizer.is_file() else None,
        preprocessor_options=options,
        special_token_ids=special_token_ids,
        model_card=card.read_text(encoding="utf-8") if card.is_file() else None,
    )


def _weights(folder: Path, config: CodeGemmaConfig, quantization: Quantization | None, dtype: str) -> Weights:
    if quantization is None:
        return StreamedWeights(H5Store(folder), config, layout="keras_hub")
    # A mixed policy keeps its variables in float32.
    floats = "float32" if dtype.startswith("mixed") else dtype
    return QuantizedStreamedWeights(H5Store(folder), config, quantization=quantization, dtype=floats)


def write_keras_hub(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    dtype: str | None = None,
    max_shard_size: float = DEFAULT_SHARD_GIB,
) -> None:
    """Writes a preset folder that we and plain KerasHub open; `hashes.json` comes last.

    With several processes all must call it, and process 0 writes.

    Without a tokenizer in the checkpoint, only what KerasHub writes for a backbone alone. An existing model
    card stays unless the checkpoint brings one.

    Args:
        checkpoint: a folder read, or a model (`checkpoint_of`).
        folder: the target: missing, empty or an earlier preset.
        dtype: float type to write weights in, quantised ones too; None keeps each as stored.
        max_shard_size: largest weight file in GiB, as in KerasHub.

    Raises:
        FileExistsError: the target holds other files.
        ValueError: an unknown float type, or a weight larger than a shard.
    """
    if dtype is not None and dtype not in FLOAT_DTYPES:
        raise ValueError(
            f"Weights are written in one of {', '.join(FLOAT_DTYPES)}; got {dtype!r}. Choose one of these."
        )
    dtypes = checkpoint.weight_dtypes(dtype)
    weights = checkpoint.readable_weights()
    names = {entry.keras_hub_key: entry for entry in weight_names(checkpoint.config)}
    policy = dtype or checkpoint.dtype
    _warn_of_what_keras_hub_ignores(checkpoint.config)
    quantization = checkpoint.quantization if dtype is None else None
    if quantization is None:
        tensors = [(key, entry.shape, dtypes[entry.path]) for key, entry in names.items()]

        def read_floats(key: str) -> np.ndarray:
            return weights(names[key].path, names[key].shape, dtypes[names[key].path])

        read: Callable[[str], np.ndarray] = read_floats
    else:
        tensors = tensor_list(checkpoint.config, quantization, dtypes=dtypes)
        read = _quantized_reader(weights, names, dtypes)
    if not is_first():
        for key, _, _ in tensors:
            read(key)  # its parts, to the process that writes
        return
    with replacing_folder(folder, ours=_OUR_FILES) as target:
        write_h5(target, tensors, read=read, max_shard_bytes=max_shard_size * 1024**3)
        write_json(
            target / CONFIG_FILE, keras_objects.backbone(checkpoint.config, dtype=policy, quantization=quantization)
        )
        write_json(target / "metadata.json", _metadata(checkpoint.config))
        if checkpoint.tokenizer_model is not None:
            _write_text_files(target, checkpoint, policy=policy, quantization=quantization)
        _write_card(target, checkpoint)
        write_hashes(target)


def _quantized_reader(
    weights: Weights, names: Mapping[str, WeightNames], dtypes: Mapping[str, str]
) -> Callable[[str], np.ndarray]:
    """From an h5 key to its array. A scale is asked for right after its data, so a weight is fetched once."""
    scales: dict[str, np.ndarray] = {}

    def read(key: str) -> np.ndarray:
        if key in scales:
            return scales.pop(key)
        entry = names[key]
        if not is_quantized(entry.path):
            return weights(entry.path, entry.shape, dtypes[entry.path])
        weight = weights.quantized(entry.path)  # pyright: ignore[reportAttributeAccessIssue]
        scales[key.removesuffix("0") + "1"] = np.asarray(weight.scale)
        return np.asarray(weight.data)

    return read


def _warn_of_what_keras_hub_ignores(config: CodeGemmaConfig) -> None:
    if config.rope_max_wavelength != 10_000.0 or config.layer_norm_epsilon != 1e-6:
        _LOGGER.warning(
            "KerasHub's Gemma has a rotary base of 10000 and an epsilon of 1e-6 in its blocks, whatever a "
            "preset says; this one has %s and %s. It loads here as it is, but KerasHub will compute other "
            "logits.",
            config.rope_max_wavelength,
            config.layer_norm_epsilon,
        )


def _write_text_files(target: Path, checkpoint: Checkpoint, *, policy: str, quantization: Quantization | None) -> None:
    assert checkpoint.tokenizer_model is not None
    tokenizer = CodeGemmaTokenizer(checkpoint.tokenizer_model)
    asset = target / TOKENIZER_ASSET
    asset.parent.mkdir(parents=True)
    asset.write_bytes(tokenizer.model_bytes)
    options = checkpoint.preprocessor_options
    write_json(target / "tokenizer.json", keras_objects.tokenizer(tokenizer))
    write_json(target / "preprocessor.json", keras_objects.preprocessor(tokenizer, options))
    task = keras_objects.task(checkpoint.config, tokenizer, options=options, dtype=policy, quantization=quantization)
    write_json(target / "task.json", task)


def _write_card(target: Path, checkpoint: Checkpoint) -> None:
    card = target / MODEL_CARD_FILE  # there already, if the folder had one
    if checkpoint.model_card is not None:
        card.write_text(checkpoint.model_card, encoding="utf-8")
    elif not card.is_file():
        card.write_text(default_card(checkpoint.config), encoding="utf-8")


def _metadata(config: CodeGemmaConfig) -> dict[str, Any]:
    return {
        "keras_version": keras.__version__,
        "keras_hub_version": keras_objects.KERAS_HUB_LAYOUT,
        "parameter_count": config.parameter_count,
        "date_saved": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d@%H:%M:%S"),
        "tasks": ["CausalLM"],
        "saved_by": "keras_codegemma",
    }
