"""The JSON that KerasHub writes for its Gemma objects: built from our values, and read back into them.

One function a file and direction. Each object is {module, class_name, config, registered_name} as in Keras;
our own fields stand beside these, under `keras_codegemma`.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.quantization import Quantization, split_policy_name
from keras_codegemma.tokenizer import CodeGemmaTokenizer

_LOGGER = logging.getLogger(__name__)

KERAS_HUB_LAYOUT = "0.32.0"
OUR_KEY = "keras_codegemma"

# Older presets name the package keras_nlp.
_PACKAGES = ("keras_hub", "keras_nlp")
_KERAS_HUB_PREPROCESSOR_FIELDS = ("sequence_length", "add_start_token", "add_end_token")
_POLICIES = ("float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")

# Fields of GemmaBackbone that Gemma 2 uses, with the value they have in Gemma 1.
_GEMMA_1_OPTIONS = {
    "query_head_dim_normalize": True,
    "use_post_ffw_norm": False,
    "use_post_attention_norm": False,
    "final_logit_soft_cap": None,
    "attention_logit_soft_cap": None,
    "use_sliding_window_attention": False,
}


def backbone(config: CodeGemmaConfig, *, dtype: str, quantization: Quantization | None = None) -> dict[str, Any]:
    """`config.json`: a GemmaBackbone, whose `intermediate_dim` counts both branches and is twice ours.

    Quantised weights are ours alone: the policy says so to KerasHub, and our key says how.
    """
    fields = {
        "vocabulary_size": config.vocabulary_size,
        "num_layers": config.num_layers,
        "num_query_heads": config.num_query_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "hidden_dim": config.hidden_dim,
        "intermediate_dim": 2 * config.feedforward_dim,
        "head_dim": config.head_dim,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "dropout": 0,
        **_GEMMA_1_OPTIONS,
        "sliding_window_size": 4096,
    }
    ours: dict[str, Any] = {"context_length": config.context_length, "rope_max_wavelength": config.rope_max_wavelength}
    if quantization is not None:
        ours["quantization"] = asdict(quantization)
        dtype = quantization.policy_name(dtype)
    return _object("GemmaBackbone", "gemma_backbone", fields, dtype=dtype, ours=ours)


def tokenizer(tokenizer: CodeGemmaTokenizer) -> dict[str, Any]:
    """`tokenizer.json`: a GemmaTokenizer, and the ids of the control pieces."""
    fields = {
        "config_file": "tokenizer.json",
        "proto": None,
        "sequence_length": None,
        "add_bos": False,
        "add_eos": False,
    }
    ids = {"special_token_ids": special_token_ids(tokenizer)}
    return _object("GemmaTokenizer", "gemma_tokenizer", fields, dtype="int32", ours=ids)


def preprocessor(tokenizer_: CodeGemmaTokenizer, options: Mapping[str, Any]) -> dict[str, Any]:
    """`preprocessor.json`: a GemmaCausalLMPreprocessor; options that it does not have stand under our key."""
    theirs = {key: options[key] for key in _KERAS_HUB_PREPROCESSOR_FIELDS if key in options}
    fields = {
        "tokenizer": tokenizer(tokenizer_),
        "config_file": "preprocessor.json",
        "sequence_length": 1024,
        "add_start_token": True,
        "add_end_token": True,
        **theirs,
    }
    ours = {key: value for key, value in options.items() if key not in theirs}
    return _object("GemmaCausalLMPreprocessor", "gemma_causal_lm_preprocessor", fields, dtype="float32", ours=ours)


def task(
    config: CodeGemmaConfig,
    tokenizer_: CodeGemmaTokenizer,
    *,
    options: Mapping[str, Any],
    dtype: str,
    quantization: Quantization | None = None,
) -> dict[str, Any]:
    """`task.json`: a GemmaCausalLM around the other three, and the ids that end a completion."""
    stops = {
        "infill_stop_ids": list(tokenizer_.infill_stop_ids),
        "chat_stop_ids": list(tokenizer_.chat_stop_ids),
    }
    return {
        "module": "keras_hub.src.models.gemma.gemma_causal_lm",
        "class_name": "GemmaCausalLM",
        "config": {
            "backbone": backbone(config, dtype=dtype, quantization=quantization),
            "preprocessor": preprocessor(tokenizer_, options),
            "name": "gemma_causal_lm",
        },
        "registered_name": "keras_hub>GemmaCausalLM",
        OUR_KEY: stops,
    }


def special_token_ids(tokenizer: CodeGemmaTokenizer) -> dict[str, int]:
    """Control piece to id, by the names our API has for them."""
    return {
        "pad": tokenizer.pad_token_id,
        "eos": tokenizer.end_token_id,
        "bos": tokenizer.start_token_id,
        "fim_prefix": tokenizer.fim_prefix_id,
        "fim_middle": tokenizer.fim_middle_id,
        "fim_suffix": tokenizer.fim_suffix_id,
        "file_separator": tokenizer.file_separator_id,
        "start_of_turn": tokenizer.start_of_turn_id,
        "end_of_turn": tokenizer.end_of_turn_id,
    }


def _object(
    class_name: str, name: str, fields: Mapping[str, Any], *, dtype: str, ours: Mapping[str, Any]
) -> dict[str, Any]:
    policy = {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
    return {
        "module": f"keras_hub.src.models.gemma.{name}",
        "class_name": class_name,
        "config": {"name": name, "trainable": True, "dtype": policy, **fields},
        "registered_name": f"keras_hub>{class_name}",
        OUR_KEY: dict(ours),
    }


def read_backbone(values: Mapping[str, Any], *, source: Path | str) -> tuple[CodeGemmaConfig, str]:
    """The architecture in `config.json`, and the name of the dtype policy it was saved under.

    Raises:
        ValueError: not a Gemma 1 backbone, a missing field, or quantised weights.
    """
    fields = _fields(values, "GemmaBackbone", source=source)
    if found := {name: fields[name] for name, plain in _GEMMA_1_OPTIONS.items() if fields.get(name, plain) != plain}:
        raise ValueError(
            f"{source} must describe Gemma 1, which has only {_GEMMA_1_OPTIONS}; got {found}. This is Gemma "
            "2 or another relative, which is not loaded here."
        )
    names = ("vocabulary_size", "num_layers", "num_query_heads", "num_key_value_heads", "hidden_dim")
    names += ("intermediate_dim", "head_dim")
    if missing := [name for name in names if name not in fields]:
        raise ValueError(
            f"{source} must name every size of the model; missing {', '.join(missing)}. Fetch the file again."
        )
    if not isinstance(fields["intermediate_dim"], int) or fields["intermediate_dim"] % 2:
        raise ValueError(
            f"intermediate_dim in {source} counts two branches and must be even; got "
            f"{fields['intermediate_dim']!r}. Correct the file: it is twice Hugging Face's "
            "intermediate_size."
        )
    config = CodeGemmaConfig(
        **{name: fields[name] for name in names if name != "intermediate_dim"},
        feedforward_dim=fields["intermediate_dim"] // 2,
        layer_norm_epsilon=fields.get("layer_norm_epsilon", 1e-6),
        **_our_fields(values, ("context_length", "rope_max_wavelength")),
    )
    quantization = read_quantization(values, source=source)
    dtype = fields.get("dtype")
    if quantization is not None:
        name = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
        dtype = split_policy_name(str(name))[1]
    return config, _policy_name(dtype, source=source)


def read_quantization(values: Mapping[str, Any], *, source: Path | str) -> Quantization | None:
    """How the weights beside this `config.json` are quantised, if by us; else None.

    Raises:
        ValueError: a description that is no `Quantization`.
    """
    described = _our_fields(values, ("quantization",)).get("quantization")
    if described is None:
        return None
    try:
        return Quantization(**described)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"'quantization' in {source} must name a mode and a group size; got {described!r}: {error} "
            "Correct the file, or quantise the float model again."
        ) from error


def read_tokenizer(values: Mapping[str, Any], *, source: Path | str) -> dict[str, int]:
    """The control ids recorded in `tokenizer.json`; empty in KerasHub's own files.

    Raises:
        ValueError: another tokenizer than Gemma's.
    """
    _fields(values, "GemmaTokenizer", source=source)
    return dict(_our_fields(values, ("special_token_ids",)).get("special_token_ids", {}))


def read_preprocessor(values: Mapping[str, Any], *, source: Path | str) -> dict[str, Any]:
    """Keywords for `CodeGemmaCausalLMPreprocessor` from `preprocessor.json`.

    None where the file is of another task's preprocessor, as in KerasHub, which then takes its defaults too.
    """
    if str(values.get("registered_name")).split(">")[-1] != "GemmaCausalLMPreprocessor":
        _LOGGER.info("%s is of another task; the preprocessor takes its default options.", source)
        return {}
    fields = _fields(values, "GemmaCausalLMPreprocessor", source=source)
    theirs = {key: fields[key] for key in _KERAS_HUB_PREPROCESSOR_FIELDS if key in fields}
    ours = values.get(OUR_KEY)
    return {**theirs, **(ours if isinstance(ours, dict) else {})}


def _fields(values: Mapping[str, Any], class_name: str, *, source: Path | str) -> dict[str, Any]:
    registered = values.get("registered_name")
    accepted = [f"{package}>{class_name}" for package in _PACKAGES]
    fields = values.get("config")
    if registered not in accepted or not isinstance(fields, dict):
        raise ValueError(
            f"{source} must hold a Gemma 1 object (registered_name {' or '.join(accepted)}); got "
            f"{registered!r}. CodeGemma is Gemma 1; presets of other families are not loaded here."
        )
    return fields


def _our_fields(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    ours = values.get(OUR_KEY)
    return {name: ours[name] for name in names if name in ours} if isinstance(ours, dict) else {}


def _policy_name(dtype: Any, *, source: Path | str) -> str:
    """The policy's name from the three forms Keras has written: a name, a policy, a map of policies."""
    if dtype is None:
        return "float32"
    if isinstance(dtype, dict):
        config = dtype.get("config", {})
        if dtype.get("class_name") == "DTypePolicyMap" and config.get("policy_map"):
            dtype = "a map of policies, some layer by layer"
        else:
            dtype = config.get("default_policy", config.get("name"))
            dtype = _policy_name(dtype, source=source) if isinstance(dtype, dict) else dtype
    if dtype not in _POLICIES:
        raise ValueError(
            f"The dtype in {source} must be one of {', '.join(_POLICIES)}; got {dtype!r}. Quantised presets "
            "of others are not loaded: load the float preset, with quantization='int8' or 'int4'."
        )
    return dtype
