"""Configs in every published form are read; other families and options are refused by name."""

import json
from pathlib import Path

import pytest

from keras_codegemma import convert
from keras_codegemma.config import CODE_GEMMA_7B
from keras_codegemma.convert.hugging_face import config_from_hugging_face
from tests.convert.random_checkpoints import (
    LIKE_2B,
    change_json,
    random_checkpoint,
)


def test_a_path_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"A model is a folder with config\.json; .* has none"):
        convert.open_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "resnet50"}')
    with pytest.raises(ValueError, match=r"must have 'registered_name' \(KerasHub\) or 'model_type'"):
        convert.open_folder(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json is a file\. Give the folder"):
        convert.open_folder(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a JSON object; got list"):
        convert.open_folder(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff{")
    with pytest.raises(ValueError, match="must be a JSON file; reading it failed"):
        convert.open_folder(tmp_path)


@pytest.mark.parametrize("model_type", ["gemma2", "llama", None])
def test_other_families_in_hugging_face_layout_are_refused(hugging_face_folder, model_type):
    change_json(hugging_face_folder / "config.json", model_type=model_type)
    with pytest.raises(ValueError, match=rf"must describe a Gemma 1 model .*; got '?{model_type}"):
        convert.open_folder(hugging_face_folder)


@pytest.mark.parametrize("name", ["LlamaBackbone", "Gemma3Backbone"])
def test_other_families_in_keras_hub_layout_are_refused(keras_hub_folder, name):
    change_json(keras_hub_folder / "config.json", registered_name=f"keras_hub>{name}")
    with pytest.raises(ValueError, match=rf"must hold a Gemma 1 object .*; got 'keras_hub>{name}'"):
        convert.open_folder(keras_hub_folder)


@pytest.mark.parametrize(
    "change",
    [
        {"attention_bias": True},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0}},
        {"tie_word_embeddings": False},
        {"hidden_act": "silu"},
        {"hidden_activation": "relu"},
        {"quantization_config": {"quant_method": "gptq"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_options_that_gemma_1_lacks_are_named(hugging_face_folder, change):
    change_json(hugging_face_folder / "config.json", **change)
    with pytest.raises(ValueError, match=rf"must describe plain Gemma 1; got {{'{next(iter(change))}"):
        convert.open_folder(hugging_face_folder)


def test_configs_of_transformers_4_and_5_are_read():
    values = {
        "model_type": "gemma",
        "vocab_size": 256_000,
        "hidden_size": 3072,
        "intermediate_size": 24_576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "hidden_act": "gelu",
    }
    source = Path("config.json")
    assert config_from_hugging_face(values, source=source) == CODE_GEMMA_7B
    assert config_from_hugging_face({**values, "rope_theta": 5e5}, source=source).rope_max_wavelength == 5e5
    rope = {"rope_type": "default", "rope_theta": 5e5}
    assert config_from_hugging_face({**values, "rope_parameters": rope}, source=source).rope_max_wavelength == 5e5
    del values["hidden_size"]
    with pytest.raises(ValueError, match="must name every size of the model; missing hidden_size"):
        config_from_hugging_face(values, source=source)


@pytest.mark.parametrize(
    "change",
    [
        {"use_post_ffw_norm": True},
        {"final_logit_soft_cap": 30.0},
        {"attention_logit_soft_cap": 50.0},
        {"use_sliding_window_attention": True},
        {"query_head_dim_normalize": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_gemma_2_in_keras_hub_layout_is_refused(keras_hub_folder, change):
    path = keras_hub_folder / "config.json"
    change_json(path, config={**json.loads(path.read_text())["config"], **change})
    with pytest.raises(ValueError, match=rf"must describe Gemma 1.*; got {{'{next(iter(change))}'"):
        convert.open_folder(keras_hub_folder)


def test_incomplete_and_odd_keras_hub_configs_are_refused(keras_hub_folder):
    path = keras_hub_folder / "config.json"
    fields = json.loads(path.read_text())["config"]
    change_json(path, config={**fields, "intermediate_dim": 97})
    with pytest.raises(ValueError, match="counts two branches and must be even; got 97"):
        convert.open_folder(keras_hub_folder)
    del fields["head_dim"]
    change_json(path, config=fields)
    with pytest.raises(ValueError, match="must name every size of the model; missing head_dim"):
        convert.open_folder(keras_hub_folder)


def policy(name):
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": name}, "registered_name": None}


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, "float32"),
        ("bfloat16", "bfloat16"),
        (policy("mixed_bfloat16"), "mixed_bfloat16"),
        (
            {
                "class_name": "DTypePolicyMap",
                "config": {"default_policy": policy("bfloat16"), "policy_map": {}},
            },
            "bfloat16",
        ),
    ],
)
def test_dtype_policies_in_every_form_are_read(keras_hub_folder, dtype, expected):
    path = keras_hub_folder / "config.json"
    change_json(path, config={**json.loads(path.read_text())["config"], "dtype": dtype})
    with convert.open_folder(keras_hub_folder) as checkpoint:
        assert checkpoint.dtype == expected


@pytest.mark.parametrize(
    "dtype",
    [
        policy("int8_from_float32"),
        {
            "class_name": "DTypePolicyMap",
            "config": {
                "default_policy": "float32",
                "policy_map": {"decoder_block_0": policy("int8_from_float32")},
            },
        },
    ],
    ids=["quantised", "map"],
)
def test_quantised_presets_are_refused(keras_hub_folder, dtype):
    path = keras_hub_folder / "config.json"
    change_json(path, config={**json.loads(path.read_text())["config"], "dtype": dtype})
    with pytest.raises(ValueError, match="Quantised presets of others are not loaded"):
        convert.open_folder(keras_hub_folder)


@pytest.mark.parametrize("layout", ["keras_hub", "hugging_face"])
def test_unknown_types_to_write_are_refused(tmp_path, layout):
    write = getattr(convert, f"write_{layout}")
    with pytest.raises(ValueError, match=r"written in one of float32, bfloat16, float16; got 'int8'"):
        write(random_checkpoint(LIKE_2B), tmp_path / "out", dtype="int8")


def test_a_weight_larger_than_a_shard_is_refused_for_keras_hub(tmp_path):
    with pytest.raises(ValueError, match=r"must fit into one shard; layers/reversible_embedding/vars/0 has 1,048,576"):
        convert.write_keras_hub(random_checkpoint(LIKE_2B), tmp_path / "out", max_shard_size=0.0001)
    assert list(tmp_path.iterdir()) == []


def test_a_preprocessor_of_another_task_leaves_the_defaults(tmp_path):
    convert.write_keras_hub(random_checkpoint(LIKE_2B, tokenizer=True), tmp_path / "a")
    (tmp_path / "a" / "hashes.json").unlink()
    change_json(tmp_path / "a" / "preprocessor.json", registered_name="keras_nlp>GemmaTextClassifierPreprocessor")
    with convert.open_folder(tmp_path / "a") as checkpoint:
        assert checkpoint.preprocessor_options == {}


def test_a_tokenizer_of_another_family_is_refused(tmp_path):
    convert.write_keras_hub(random_checkpoint(LIKE_2B, tokenizer=True), tmp_path / "a")
    (tmp_path / "a" / "hashes.json").unlink()
    change_json(tmp_path / "a" / "tokenizer.json", registered_name="keras_hub>LlamaTokenizer")
    with pytest.raises(ValueError, match=r"tokenizer\.json must hold a Gemma 1 object .*; got 'keras_hub>LlamaTok"):
        convert.open_folder(tmp_path / "a")
