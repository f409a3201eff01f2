"""Whole folders: what is written, that every bit survives, and that a comparison can fail."""

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_codegemma import convert
from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.convert.stores import numpy_dtype
from tests.convert.random_checkpoints import (
    LIKE_2B,
    LIKE_7B,
    TINY,
    RandomWeights,
    random_checkpoint,
)
from tests.parity.recipe import random_weight

both_shapes = pytest.mark.parametrize("config", [LIKE_2B, LIKE_7B], ids=["like_2b", "like_7b"])


@both_shapes
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("is_sharded", [False, True], ids=["one_file", "shards"])
def test_converting_there_and_back_keeps_every_bit(tmp_path, config, dtype, is_sharded):
    embedding_bytes = config.vocabulary_size * config.hidden_dim * numpy_dtype(dtype).itemsize
    max_shard_size = 1.001 * embedding_bytes / 1024**3 if is_sharded else None
    first = tmp_path / "first"
    convert.write_keras_hub(random_checkpoint(config, dtype, tokenizer=True), first)
    convert.convert_folder(first, tmp_path / "hf", layout="hugging_face", max_shard_size=max_shard_size)
    convert.convert_folder(tmp_path / "hf", tmp_path / "back", layout="keras_hub", max_shard_size=max_shard_size)
    assert (tmp_path / "hf" / "model.safetensors.index.json").exists() == is_sharded
    assert (tmp_path / "back" / "model.weights.json").exists() == is_sharded
    with convert.open_folder(tmp_path / "back") as back:
        assert back.config == config
        assert back.dtype == dtype
        assert convert.differences(random_checkpoint(config, dtype), back) == []
        assert back.tokenizer_model == (TINY / "assets/tokenizer/vocabulary.spm").read_bytes()


@both_shapes
def test_weights_can_be_written_in_another_type(tmp_path, config):
    convert.write_keras_hub(random_checkpoint(config), tmp_path / "a")
    convert.convert_folder(tmp_path / "a", tmp_path / "b", layout="hugging_face", dtype="bfloat16")
    with convert.open_folder(tmp_path / "b") as checkpoint:
        assert checkpoint.dtype == "bfloat16"
        path, shape = "decoder_block_1/ffw_linear/kernel", (config.feedforward_dim, config.hidden_dim)
        expected = random_weight(path, shape, seed=1).astype(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(checkpoint.readable_weights()(path, shape), expected)


def test_the_safetensors_library_reads_what_is_written(tmp_path):
    convert.write_hugging_face(random_checkpoint(LIKE_7B, "bfloat16"), tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert len(tensors) == 9 * 2 + 2
    assert "lm_head.weight" not in tensors
    names = {entry.hugging_face_name: entry for entry in convert.weight_names(LIKE_7B)}
    for name, tensor in tensors.items():
        expected = names[name].to_hugging_face(RandomWeights("bfloat16")(names[name].path, names[name].shape))
        assert tensor.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(tensor, expected)


def test_shards_stay_below_their_limit_and_the_index_names_each_tensor(tmp_path):
    convert.write_hugging_face(random_checkpoint(LIKE_2B), tmp_path / "out", max_shard_size=0.001)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted((tmp_path / "out").glob("model-*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == [file.name for file in files]
    assert index["metadata"]["total_size"] == 4 * LIKE_2B.parameter_count
    assert all(file.stat().st_size < 0.001 * 1024**3 + 4096 for file in files[1:])  # the first is the embedding


def test_a_config_of_7b_shape_names_its_head_width(tmp_path):
    convert.write_hugging_face(random_checkpoint(LIKE_7B, tokenizer=True), tmp_path / "out")
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert values["architectures"] == ["GemmaForCausalLM"]
    assert (values["head_dim"], values["num_attention_heads"], values["hidden_size"]) == (8, 4, 24)
    assert (values["pad_token_id"], values["eos_token_id"], values["bos_token_id"]) == (0, 1, 2)
    tokenizer = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert tokenizer["added_tokens_decoder"]["67"]["content"] == "<|fim_prefix|>"
    assert tokenizer["added_tokens_decoder"]["68"]["special"] is False
    assert tokenizer["added_tokens_decoder"]["107"]["special"] is True
    assert tokenizer["add_bos_token"] is True
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [1, 70, 107]


def test_a_conversion_that_changes_a_weight_is_an_error(tmp_path, monkeypatch):
    convert.write_keras_hub(random_checkpoint(LIKE_2B), tmp_path / "a")
    read = convert.StreamedWeights.__call__

    def read_wrongly(self, path, shape, dtype=None):
        weight = read(self, path, shape, dtype)
        if path == "final_normalization/scale" and self._layout == "keras_hub":
            weight = weight.copy()
            weight[3] += 0.5
        return weight

    monkeypatch.setattr(convert.StreamedWeights, "__call__", read_wrongly)
    with pytest.raises(
        ValueError,
        match=r"every weight bit for bit; 1 differ \(final_normalization/scale: 1 elements, by up to 0\.5",
    ):
        convert.check_equal(random_checkpoint(LIKE_2B), convert.open_folder(tmp_path / "a"))


def test_models_of_two_architectures_are_not_compared(tmp_path):
    with pytest.raises(ValueError, match="Only models of one architecture can be compared"):
        convert.differences(random_checkpoint(LIKE_2B), random_checkpoint(LIKE_7B))


def test_older_keras_nlp_names_are_read(keras_hub_folder):
    for path in keras_hub_folder.glob("*.json"):
        path.write_text(path.read_text().replace("keras_hub>", "keras_nlp>"))
    with convert.open_folder(keras_hub_folder) as checkpoint:
        assert checkpoint.config == LIKE_2B


def test_fields_that_keras_hub_lacks_ride_along(tmp_path):
    config = dataclasses.replace(LIKE_2B, context_length=512, rope_max_wavelength=20_000.0)
    checkpoint = random_checkpoint(config, tokenizer=True)
    options = {"sequence_length": 256, "add_end_token": False, "fim_rate": 0.5, "fim_layout": "spm"}
    checkpoint = dataclasses.replace(checkpoint, preprocessor_options=options)
    convert.write_keras_hub(checkpoint, tmp_path / "out")
    with convert.open_folder(tmp_path / "out") as found:
        assert found.config == config
        assert found.preprocessor_options == {**options, "add_start_token": True}
        assert found.special_token_ids["fim_middle"] == 68
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert values["registered_name"] == "keras_hub>GemmaBackbone"
    assert values["config"]["intermediate_dim"] == 2 * config.feedforward_dim
    assert "context_length" not in values["config"]


def test_what_keras_hub_would_ignore_is_said_when_saving(tmp_path, caplog):
    convert.write_keras_hub(random_checkpoint(dataclasses.replace(LIKE_2B, layer_norm_epsilon=1e-5)), tmp_path / "a")
    assert "KerasHub will compute other logits" in caplog.text


def test_adapters_are_merged_into_the_weights_written(tmp_path):
    backbone = CodeGemmaBackbone(**LIKE_2B.to_dict(), dtype="float32", weight_source=RandomWeights())
    backbone.enable_lora(2, alpha=3.0)
    for path, layer in backbone.projections().items():
        if layer.lora_enabled:
            b = random_weight(f"{path}/b", layer.lora_kernel_b.shape, seed=2)
            layer.lora_kernel_b.assign(b)
    ids = np.arange(8, dtype=np.int32)[None] + 200
    expected = backbone({"token_ids": ids})
    lm: Any = SimpleNamespace(backbone=backbone, preprocessor=None)
    convert.write_keras_hub(convert.checkpoint_of(lm), tmp_path / "merged")
    with convert.open_folder(tmp_path / "merged") as checkpoint:
        merged = CodeGemmaBackbone(**LIKE_2B.to_dict(), dtype="float32", weight_source=checkpoint.weights)
    assert not any(layer.lora_enabled for layer in merged.projections().values())
    np.testing.assert_allclose(merged({"token_ids": ids}), expected, rtol=0, atol=1e-5)
    plain = CodeGemmaBackbone(**LIKE_2B.to_dict(), dtype="float32", weight_source=RandomWeights())
    assert np.abs(np.asarray(plain({"token_ids": ids})) - np.asarray(expected)).max() > 1e-2
