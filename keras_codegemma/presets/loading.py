"""A preset in memory, and back on disk: backbone, tokenizer and preprocessor options from one folder.

Weights are read from the files straight into the model's variables, one tensor at a time, so loading needs
the memory of the weights as loaded and of one tensor more.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert import Checkpoint, checkpoint_of, open_folder, same_architecture, write_keras_hub
from keras_codegemma.convert.checkpoint import LanguageModel
from keras_codegemma.convert.keras_objects import special_token_ids
from keras_codegemma.convert.keras_preset import DEFAULT_SHARD_GIB
from keras_codegemma.preprocessor import CodeGemmaCausalLMPreprocessor
from keras_codegemma.presets.fetching import resolve
from keras_codegemma.presets.registry import builtin_presets
from keras_codegemma.quantization import Quantization, split_policy_name
from keras_codegemma.tokenizer import CodeGemmaTokenizer

Progress = Callable[[int, int], None]
"""Called after each tensor with (tensors read, tensors in all)."""


@dataclass(frozen=True, kw_only=True)
class LoadedPreset:
    """What a preset folder gives.

    Attributes:
        config: the architecture.
        backbone: with the preset's weights, or random ones where they were not asked for.
        preprocessor: with the preset's tokenizer and options.
        folder: where it was read from.
    """

    config: CodeGemmaConfig
    backbone: CodeGemmaBackbone
    preprocessor: CodeGemmaCausalLMPreprocessor
    folder: Path


def load(
    preset: str | os.PathLike[str],
    *,
    dtype: Any = None,
    quantization: str | None = None,
    load_weights: bool = True,
    revision: str | None = None,
    verify_hashes: bool = True,
    progress: Progress | None = None,
) -> LoadedPreset:
    """Loads a preset: fetched if need be, checked, and read straight into the variables.

    Args:
        preset: a built-in name, a `kaggle://`, `hf://` or `gs://` handle, or a local folder in either layout.
        dtype: dtype policy or its name; None for Keras's global policy, as in KerasHub. A quantised one, such as
            "int8_from_bfloat16", asks for quantisation too.
        quantization: "int8" or "int4" ("int4/32" for groups of 32 instead of 128): quantises each weight as it is
            read, so that the whole model never exists in floats. None keeps a preset as it is saved.
        load_weights: False initialises at random and needs no weight file.
        revision: version on Kaggle, or branch, tag or commit on Hugging Face.
        verify_hashes: compare files with the hashes that are known, about a second a gigabyte.
        progress: called after each tensor.

    Raises:
        ValueError, FileNotFoundError, ImportError, PermissionError, ConnectionError: as `resolve` and
            `convert.open_folder`; each names the file and says what to do.
    """
    with _opened(preset, load_weights=load_weights, revision=revision, verify_hashes=verify_hashes) as (
        folder,
        checkpoint,
    ):
        # First, because it is quick and may fail.
        preprocessor = _preprocessor(checkpoint, folder)
        return LoadedPreset(
            config=checkpoint.config,
            backbone=_backbone(checkpoint, dtype=dtype, quantization=quantization, progress=progress),
            preprocessor=preprocessor,
            folder=folder,
        )


def load_backbone(
    preset: str | os.PathLike[str],
    *,
    dtype: Any = None,
    quantization: str | None = None,
    load_weights: bool = True,
    revision: str | None = None,
    verify_hashes: bool = True,
    progress: Progress | None = None,
) -> CodeGemmaBackbone:
    """The backbone alone; arguments and errors as in `load`. The folder needs no tokenizer."""
    with _opened(preset, load_weights=load_weights, revision=revision, verify_hashes=verify_hashes) as (
        _,
        checkpoint,
    ):
        return _backbone(checkpoint, dtype=dtype, quantization=quantization, progress=progress)


def load_tokenizer(preset: str | os.PathLike[str], *, revision: str | None = None) -> CodeGemmaTokenizer:
    """The tokenizer alone; no weight file is fetched or opened. Errors as in `load`."""
    with _opened(preset, load_weights=False, revision=revision, verify_hashes=True) as (folder, checkpoint):
        return _tokenizer(checkpoint, folder)


def load_preprocessor(preset: str | os.PathLike[str], *, revision: str | None = None) -> CodeGemmaCausalLMPreprocessor:
    """The preprocessor alone, with its tokenizer; no weight file is needed. Errors as in `load`."""
    with _opened(preset, load_weights=False, revision=revision, verify_hashes=True) as (folder, checkpoint):
        return _preprocessor(checkpoint, folder)


def save(lm: LanguageModel, folder: str | os.PathLike[str], *, max_shard_size: float = DEFAULT_SHARD_GIB) -> None:
    """Saves a model as a preset folder that we and KerasHub open.

    Written beside the target and moved into place when whole. LoRA adapters are merged: the folder holds the
    effective weights and no adapters. An existing model card in the target stays.

    Args:
        lm: a `CodeGemmaCausalLM`; without a preprocessor only the backbone is saved.
        folder: missing, empty, or an earlier preset.
        max_shard_size: largest weight file in GiB.

    Raises:
        FileExistsError: the target holds other files.
        ValueError: a weight larger than a shard.
    """
    write_keras_hub(checkpoint_of(lm), Path(folder), max_shard_size=max_shard_size)


@contextmanager
def _opened(
    preset: str | os.PathLike[str], *, load_weights: bool, revision: str | None, verify_hashes: bool
) -> Iterator[tuple[Path, Checkpoint]]:
    folder = resolve(preset, revision=revision, load_weights=load_weights)
    info = builtin_presets().get(os.fspath(preset))
    with open_folder(
        folder,
        load_weights=load_weights,
        verify_hashes=verify_hashes,
        known_hashes=info.hashes if info is not None and revision is None else None,
    ) as checkpoint:
        if info is not None:
            same_architecture(checkpoint.config, info.config, source=info.name)
        yield folder, checkpoint


def _backbone(
    checkpoint: Checkpoint, *, dtype: Any, quantization: str | None, progress: Progress | None
) -> CodeGemmaBackbone:
    source: Any = checkpoint.weights
    if source is not None and progress is not None:
        source = _Reporting(source, total=len(checkpoint.config.weight_shapes()), progress=progress)
    policy = _policy(checkpoint, dtype=dtype, quantization=quantization)
    return CodeGemmaBackbone(**checkpoint.config.to_dict(), dtype=policy, weight_source=source)


def _policy(checkpoint: Checkpoint, *, dtype: Any, quantization: str | None) -> Any:
    """The dtype policy that the arguments and the preset together ask for."""
    wanted = None if quantization is None else Quantization.of(quantization)
    policy = keras.dtype_policies.get(dtype if dtype is not None else keras.config.dtype_policy())
    asked, source = split_policy_name(policy.name or "")
    if asked is not None and wanted is not None and asked != wanted:
        raise ValueError(
            f"dtype and quantization must agree where both quantise; got {policy.name!r} and {quantization!r}. "
            "Give one of them."
        )
    chosen = wanted or asked or checkpoint.quantization
    return policy if chosen is None else chosen.policy_name(source)


class _Reporting:
    """A weight source that reports each weight it gives."""

    def __init__(self, source: Any, *, total: int, progress: Progress):
        self.quantization: Quantization | None = getattr(source, "quantization", None)
        self._source = source
        self._total = total
        self._progress = progress
        self._done = 0

    def __call__(self, path: str, shape: tuple[int, ...], dtype: str) -> Any:
        return self._reported(self._source(path, shape, dtype))

    def quantized(self, path: str) -> Any:
        """The weight as it is stored, where it is stored quantised."""
        return self._reported(self._source.quantized(path))

    def _reported(self, weight: Any) -> Any:
        self._done += 1
        self._progress(self._done, self._total)
        return weight


def _preprocessor(checkpoint: Checkpoint, folder: Path) -> CodeGemmaCausalLMPreprocessor:
    try:
        return CodeGemmaCausalLMPreprocessor(_tokenizer(checkpoint, folder), **checkpoint.preprocessor_options)
    except TypeError as error:
        raise ValueError(
            f"preprocessor.json in {folder} must name options of CodeGemmaCausalLMPreprocessor, with values of "
            f"their types; {error}. Correct the file, or fetch the folder again."
        ) from error


def _tokenizer(checkpoint: Checkpoint, folder: Path) -> CodeGemmaTokenizer:
    if checkpoint.tokenizer_model is None:
        raise FileNotFoundError(
            "A model needs its SentencePiece file, assets/tokenizer/vocabulary.spm or tokenizer.model; "
            f"{folder} has none. Copy it there from the model it was "
            "made from."
        )
    tokenizer = CodeGemmaTokenizer(checkpoint.tokenizer_model)
    rows = checkpoint.config.vocabulary_size
    if tokenizer.vocabulary_size() > rows:
        raise ValueError(
            f"The vocabulary must fit the embedding; in {folder} the tokenizer has "
            f"{tokenizer.vocabulary_size()} pieces and the embedding {rows} rows. They are of two models: "
            "fetch the folder again."
        )
    found = special_token_ids(tokenizer)
    recorded = checkpoint.special_token_ids
    if wrong := {
        name: (token_id, found.get(name)) for name, token_id in recorded.items() if found.get(name) != token_id
    }:
        raise ValueError(
            f"The tokenizer must have the control ids that {folder / 'tokenizer.json'} records; (recorded, "
            f"found): {wrong}. The files are of two models: fetch the folder again."
        )
    return tokenizer
