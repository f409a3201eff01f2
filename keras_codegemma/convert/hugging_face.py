"""Folders in Hugging Face layout: read, and written so that transformers opens them.

Field names are those of transformers' `GemmaConfig`; defaults of missing fields are its defaults. Right for
shapes where heads x head width is not the model width (7B), which KerasHub's own export is not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert.checkpoint import Checkpoint
from keras_codegemma.convert.files import (
    MODEL_CARD_FILE,
    read_json,
    replacing_folder,
    write_hashes,
    write_json,
)
from keras_codegemma.convert.hugging_face_tokenizer import write_tokenizer
from keras_codegemma.convert.names import weight_names
from keras_codegemma.convert.safetensors_store import SafetensorsStore, write_safetensors
from keras_codegemma.convert.sentencepiece_model import sentencepiece_from_tokenizer_json
from keras_codegemma.convert.stores import FLOAT_DTYPES
from keras_codegemma.convert.weights import StreamedWeights
from keras_codegemma.tokenizer import CodeGemmaTokenizer

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.model"
DEFAULT_SHARD_GIB = 5.0

# What this writer makes, and what may be replaced by it.
_OUR_FILES = frozenset(
    {
        CONFIG_FILE,
        "generation_config.json",
        "model.safetensors",
        "model-*.safetensors",
        "model.safetensors.index.json",
        TOKENIZER_FILE,
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "hashes.json",
    }
)
_REQUIRED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
# "gelu" stands in Google's first configs and was always meant, and run, as the tanh form.
_ACTIVATIONS = ("gelu_pytorch_tanh", "gelu", None)


def is_hugging_face(config: Mapping[str, Any]) -> bool:
    """Whether this `config.json` is of Hugging Face's layout."""
    return "model_type" in config and "registered_name" not in config


def read_hugging_face(folder: Path, *, load_weights: bool = True) -> Checkpoint:
    """Opens a folder in Hugging Face layout; weights are read when asked for.

    Args:
        folder: with config.json, model.safetensors (or shards and index), and tokenizer.model or
            tokenizer.json.
        load_weights: False opens no weight file.

    Raises:
        FileNotFoundError: no config or no weights.
        ValueError: another family, an architecture that is not Gemma 1, or weights that do not fit the
            config.
    """
    values = read_json(folder / CONFIG_FILE)
    config = config_from_hugging_face(values, source=folder / CONFIG_FILE)
    weights = None
    if load_weights:
        weights = StreamedWeights(SafetensorsStore(folder), config, layout="hugging_face")
    cards = [folder / name for name in (MODEL_CARD_FILE, "README.md") if (folder / name).is_file()]
    return Checkpoint(
        config=config,
        dtype=_dtype(values) if weights is None else weights.stored_dtype("token_embedding/embeddings"),
        weights=weights,
        tokenizer_model=_tokenizer_model(folder),
        model_card=cards[0].read_text(encoding="utf-8") if cards else None,
    )


def _tokenizer_model(folder: Path) -> bytes | None:
    if (folder / TOKENIZER_FILE).is_file():
        return (folder / TOKENIZER_FILE).read_bytes()
    if (folder / "tokenizer.json").is_file():
        return sentencepiece_from_tokenizer_json(folder / "tokenizer.json")
    return None


def config_from_hugging_face(values: Mapping[str, Any], *, source: Path) -> CodeGemmaConfig:
    """The architecture in a `config.json` of Hugging Face layout.

    Args:
        values: the file's content.
        source: the file, for messages.

    Raises:
        ValueError: not Gemma 1, a missing field, or an option that Gemma 1 does not have.
    """
    if values.get("model_type") != "gemma":
        raise ValueError(
            f"{source} must describe a Gemma 1 model (model_type 'gemma'); got "
            f"{values.get('model_type')!r}. CodeGemma is Gemma 1; other families, Gemma 2 and 3 among them, "
            "are not loaded here."
        )
    if missing := [name for name in _REQUIRED if name not in values]:
        raise ValueError(
            f"{source} must name every size of the model; missing {', '.join(missing)}. Fetch the file again."
        )
    rope = values.get("rope_parameters") or {}
    unsupported = {
        "attention_bias": values.get("attention_bias", False),
        "rope_scaling": values.get("rope_scaling"),
        "rope_parameters.rope_type": None if rope.get("rope_type", "default") == "default" else rope["rope_type"],
        "tie_word_embeddings": None if values.get("tie_word_embeddings", True) else "false",
        "use_bidirectional_attention": values.get("use_bidirectional_attention"),
        "quantization_config": values.get("quantization_config"),
        **{
            name: None if values.get(name) in _ACTIVATIONS else values[name]
            for name in ("hidden_act", "hidden_activation")
        },
    }
    if found := {name: value for name, value in unsupported.items() if value}:
        raise ValueError(
            f"{source} must describe plain Gemma 1; got {found}, which it does not have. Load the model it "
            "was made from, or convert it to unquantised Gemma 1 first."
        )
    return CodeGemmaConfig(
        vocabulary_size=values["vocab_size"],
        num_layers=values["num_hidden_layers"],
        num_query_heads=values["num_attention_heads"],
        num_key_value_heads=values["num_key_value_heads"],
        hidden_dim=values["hidden_size"],
        feedforward_dim=values["intermediate_size"],
        head_dim=values.get("head_dim", 256),
        layer_norm_epsilon=values.get("rms_norm_eps", 1e-6),
        rope_max_wavelength=rope.get("rope_theta", values.get("rope_theta", 10_000.0)),
        context_length=values.get("max_position_embeddings", 8192),
    )


def _dtype(values: Mapping[str, Any]) -> str:
    named = values.get("dtype", values.get("torch_dtype"))
    return named if named in FLOAT_DTYPES else "bfloat16"


def config_to_hugging_face(
    config: CodeGemmaConfig, *, dtype: str, tokenizer: CodeGemmaTokenizer | None
) -> dict[str, Any]:
    """The `config.json` of this architecture, for transformers 4 and 5 alike.

    Args:
        config: the architecture.
        dtype: numpy's name of the weights' type.
        tokenizer: for the ids of pad, eos and bos; Gemma's are written where there is none.
    """
    pad, eos, bos = (
        (0, 1, 2) if tokenizer is None else (tokenizer.pad_token_id, tokenizer.end_token_id, tokenizer.start_token_id)
    )
    return {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.hidden_dim,
        "intermediate_size": config.feedforward_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_query_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.layer_norm_epsilon,
        "rope_theta": config.rope_max_wavelength,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "pad_token_id": pad,
        "eos_token_id": eos,
        "bos_token_id": bos,
        "torch_dtype": dtype,
    }


def write_hugging_face(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    dtype: str | None = None,
    max_shard_size: float = DEFAULT_SHARD_GIB,
) -> None:
    """Writes a folder that transformers opens with `AutoModelForCausalLM` and `AutoTokenizer`.

    The tied `lm_head.weight` is left out, as in published Gemma files.

    Args:
        checkpoint: a folder read, or a model (`checkpoint_of`).
        folder: the target: missing, empty or an earlier export.
        dtype: float type to write weights in; None keeps each as stored.
        max_shard_size: largest weight file in GiB.

    Raises:
        FileExistsError: the target holds other files.
        ValueError: an unknown float type.
    """
    if dtype is not None and dtype not in FLOAT_DTYPES:
        raise ValueError(
            f"Weights are written in one of {', '.join(FLOAT_DTYPES)}; got {dtype!r}. Choose one of these."
        )
    dtypes = checkpoint.weight_dtypes(dtype)
    weights = checkpoint.readable_weights()
    names = {entry.hugging_face_name: entry for entry in weight_names(checkpoint.config)}
    tokenizer = None if checkpoint.tokenizer_model is None else CodeGemmaTokenizer(checkpoint.tokenizer_model)
    with replacing_folder(folder, ours=_OUR_FILES) as target:
        write_safetensors(
            target,
            [(name, entry.hugging_face_shape, dtypes[entry.path]) for name, entry in names.items()],
            read=lambda name: names[name].to_hugging_face(
                weights(names[name].path, names[name].shape, dtypes[names[name].path])
            ),
            max_shard_bytes=max_shard_size * 1024**3,
        )
        values = config_to_hugging_face(
            checkpoint.config, dtype=dtypes["token_embedding/embeddings"], tokenizer=tokenizer
        )
        write_json(target / CONFIG_FILE, values)
        if tokenizer is not None:
            write_tokenizer(tokenizer, target, context_length=checkpoint.config.context_length)
            write_json(target / "generation_config.json", generation_config(tokenizer))
        if checkpoint.model_card is not None:
            (target / MODEL_CARD_FILE).write_text(checkpoint.model_card, encoding="utf-8")
        write_hashes(target)


def generation_config(tokenizer: CodeGemmaTokenizer) -> dict[str, Any]:
    """The `generation_config.json` of transformers: greedy, and stopping where CodeGemma's completions end.

    The stops are end of text and the file separator, which ends a filled-in middle, and end of turn.
    """
    return {
        "bos_token_id": tokenizer.start_token_id,
        "eos_token_id": [
            tokenizer.end_token_id,
            tokenizer.file_separator_id,
            tokenizer.end_of_turn_id,
        ],
        "pad_token_id": tokenizer.pad_token_id,
        "do_sample": False,
    }
