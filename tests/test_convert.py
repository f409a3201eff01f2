"""Weight names, weight files and folders: what is read, written, and refused with which words."""

import dataclasses
import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from keras_codegemma import convert
from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B, CodeGemmaConfig
from keras_codegemma.convert import keras_objects
from keras_codegemma.convert.files import replacing_folder
from keras_codegemma.convert.hugging_face import config_from_hugging_face
from keras_codegemma.convert.sentencepiece_model import sentencepiece_from_tokenizer_json
from keras_codegemma.convert.stores import numpy_dtype
from keras_codegemma.tokenizer import CodeGemmaTokenizer
from tests.parity.cases import small
from tests.parity.recipe import random_weight

TINY = Path(__file__).parents[1] / "presets" / "code_gemma_tiny"
LIKE_2B = small(vocabulary_size=8192, hidden_dim=32, num_query_heads=2, feedforward_dim=48)
LIKE_7B = small(vocabulary_size=8192, hidden_dim=24, num_key_value_heads=4, head_dim=8, feedforward_dim=40)
BOTH = pytest.mark.parametrize("config", [LIKE_2B, LIKE_7B], ids=["like_2b", "like_7b"])


class RandomWeights:
    """The recipe's weights as `convert` reads them."""

    def __init__(self, dtype: str = "float32"):
        self.dtype = dtype

    def __call__(self, path, shape, dtype=None):
        return random_weight(path, shape, seed=1).astype(numpy_dtype(dtype or self.dtype))

    def stored_dtype(self, path):
        return self.dtype

    def close(self):
        pass


def random_checkpoint(config: CodeGemmaConfig, dtype: str = "float32", *, tokenizer: bool = False):
    model = (TINY / "assets/tokenizer/vocabulary.spm").read_bytes() if tokenizer else None
    return convert.Checkpoint(config=config, dtype=dtype, weights=RandomWeights(dtype), tokenizer_model=model)


@pytest.fixture
def hugging_face_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hugging_face"
    convert.write_hugging_face(random_checkpoint(LIKE_2B), folder)
    (folder / "hashes.json").unlink()  # the tests change files
    return folder


@pytest.fixture
def keras_hub_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "keras_hub"
    convert.write_keras_hub(random_checkpoint(LIKE_2B), folder)
    (folder / "hashes.json").unlink()
    return folder


def change_json(path: Path, **changes) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))


# Names


@pytest.mark.parametrize(
    ("config", "tensors", "parameters"),
    [(CODE_GEMMA_2B, 164, 2_506_172_416), (CODE_GEMMA_7B, 254, 8_537_680_896)],
    ids=["2b", "7b"],
)
def test_dry_run_lists_every_tensor_of_the_real_models(config, tensors, parameters):
    rows = convert.dry_run(config)
    assert len(rows) == tensors
    assert sum(row["parameters"] for row in rows) == parameters
    assert {row["path"]: row["shape"] for row in rows} == config.weight_shapes()
    for key in ("path", "hugging_face_name", "keras_hub_key"):
        assert len({row[key] for row in rows}) == tensors


def test_7b_names_and_shapes_are_the_published_ones():
    rows = {row["hugging_face_name"]: row for row in convert.dry_run(CODE_GEMMA_7B)}
    query = rows["model.layers.27.self_attn.q_proj.weight"]
    assert query["hugging_face_shape"] == (4096, 3072)
    assert query["shape"] == (16, 3072, 256)
    assert query["path"] == "decoder_block_27/attention/query/kernel"
    assert query["keras_hub_key"] == "layers/gemma_decoder_block_27/attention/query_dense/vars/0"
    assert rows["model.layers.0.self_attn.o_proj.weight"]["hugging_face_shape"] == (3072, 4096)
    assert rows["model.layers.0.mlp.down_proj.weight"]["hugging_face_shape"] == (3072, 24_576)
    first_norm = rows["model.layers.0.input_layernorm.weight"]
    assert first_norm["keras_hub_key"] == "layers/gemma_decoder_block/pre_attention_norm/vars/0"
    assert rows["model.norm.weight"]["keras_hub_key"] == "layers/rms_normalization/vars/0"


@given(
    heads=st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)]),
    head_dim=st.sampled_from([2, 4, 6]),
    hidden_dim=st.integers(1, 9),
    feedforward_dim=st.integers(1, 9),
)
def test_layouts_convert_back_to_the_same_array(heads, head_dim, hidden_dim, feedforward_dim):
    config = small(
        num_query_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=head_dim,
        hidden_dim=hidden_dim,
        feedforward_dim=feedforward_dim,
        num_layers=1,
    )
    for names in convert.weight_names(config):
        ours = np.arange(np.prod(names.shape)).reshape(names.shape)
        theirs = names.to_hugging_face(ours)
        assert theirs.shape == names.hugging_face_shape
        np.testing.assert_array_equal(names.from_hugging_face(theirs), ours)


def test_query_rows_in_hugging_face_are_heads_first_then_head_width():
    names = {entry.path: entry for entry in convert.weight_names(LIKE_7B)}
    query = names["decoder_block_0/attention/query/kernel"]
    ours = np.arange(np.prod(query.shape)).reshape(query.shape)  # N D H
    assert query.to_hugging_face(ours)[2 * 8 + 3, 5] == ours[2, 5, 3]
    output = names["decoder_block_0/attention/attention_output/kernel"]
    ours = np.arange(np.prod(output.shape)).reshape(output.shape)  # N H D
    assert output.to_hugging_face(ours)[5, 2 * 8 + 3] == ours[2, 3, 5]


# Folders there and back


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("is_sharded", [False, True], ids=["one_file", "shards"])
def test_converting_there_and_back_keeps_every_bit(tmp_path, config, dtype, is_sharded):
    embedding_bytes = config.vocabulary_size * config.hidden_dim * numpy_dtype(dtype).itemsize
    max_shard_size = 1.001 * embedding_bytes / 1024**3 if is_sharded else None
    first = tmp_path / "first"
    convert.write_keras_hub(random_checkpoint(config, dtype, tokenizer=True), first)
    convert.convert_folder(first, tmp_path / "hf", layout="hugging_face", max_shard_size=max_shard_size)
    convert.convert_folder(
        tmp_path / "hf", tmp_path / "back", layout="keras_hub", max_shard_size=max_shard_size
    )
    assert (tmp_path / "hf" / "model.safetensors.index.json").exists() == is_sharded
    assert (tmp_path / "back" / "model.weights.json").exists() == is_sharded
    with convert.open_folder(tmp_path / "back") as back:
        assert back.config == config
        assert back.dtype == dtype
        assert convert.differences(random_checkpoint(config, dtype), back) == []
        assert back.tokenizer_model == (TINY / "assets/tokenizer/vocabulary.spm").read_bytes()


@BOTH
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
    assert all(
        file.stat().st_size < 0.001 * 1024**3 + 4096 for file in files[1:]
    )  # the first is the embedding


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
    convert.write_keras_hub(
        random_checkpoint(dataclasses.replace(LIKE_2B, layer_norm_epsilon=1e-5)), tmp_path / "a"
    )
    assert "KerasHub will compute other logits" in caplog.text


# LoRA


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


# Tied output


def test_a_tied_output_in_the_file_is_accepted_when_equal(hugging_face_folder):
    path = hugging_face_folder / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}, path)
    with convert.open_folder(hugging_face_folder) as checkpoint:
        assert convert.differences(random_checkpoint(LIKE_2B), checkpoint) == []


def test_an_untied_output_is_refused(hugging_face_folder):
    path = hugging_face_folder / "model.safetensors"
    tensors = load_file(path)
    output = tensors["model.embed_tokens.weight"].copy()
    output[8000, 3] += 1
    save_file({**tensors, "lm_head.weight": output}, path)
    with (
        convert.open_folder(hugging_face_folder) as checkpoint,
        pytest.raises(ValueError, match=r"lm_head\.weight must equal the embedding, as Gemma ties them"),
    ):
        checkpoint.readable_weights()("token_embedding/embeddings", (8192, 32))


# Tensors that do not fit


def test_missing_extra_misshapen_and_untyped_tensors_are_all_named(hugging_face_folder):
    path = hugging_face_folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    tensors["model.layers.2.mlp.up_proj.weight"] = np.zeros((2, 2), np.float32)
    tensors["model.layers.0.mlp.up_proj.weight"] = np.zeros((3, 32), np.float32)
    tensors["model.layers.1.input_layernorm.weight"] = np.zeros((32,), np.int8)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="must be the 20 tensors of its config") as caught:
        convert.open_folder(hugging_face_folder)
    message = str(caught.value)
    assert "1 missing: model.norm.weight" in message
    assert "1 unexpected: model.layers.2.mlp.up_proj.weight" in message
    assert "1 of wrong shape: model.layers.0.mlp.up_proj.weight is (3, 32), not (48, 32)" in message
    assert "1 of wrong type: model.layers.1.input_layernorm.weight is I8" in message


def test_a_long_list_of_problems_is_shortened(hugging_face_folder):
    change_json(hugging_face_folder / "config.json", num_hidden_layers=9)
    with pytest.raises(
        ValueError, match=r"63 missing: model\.layers\.2\.input_layernorm\.weight; .*; and 57 more"
    ):
        convert.open_folder(hugging_face_folder)


def test_h5_tensors_that_do_not_fit_are_named(keras_hub_folder):
    with h5py.File(keras_hub_folder / "model.weights.h5", "a") as file:
        del file["layers/rms_normalization/vars/0"]
        del file["layers/gemma_decoder_block/ffw_linear/vars/0"]
        file["layers/gemma_decoder_block/ffw_linear/vars/0"] = np.zeros((48, 32), np.int64)
        file["layers/gemma_decoder_block/ffw_linear/vars/1"] = np.zeros((1,), np.float32)
    with pytest.raises(ValueError, match="1 missing: layers/rms_normalization/vars/0") as caught:
        convert.open_folder(keras_hub_folder)
    assert "1 unexpected: layers/gemma_decoder_block/ffw_linear/vars/1" in str(caught.value)
    assert "1 of wrong type: layers/gemma_decoder_block/ffw_linear/vars/0 is int64" in str(caught.value)


def test_asking_for_a_weight_of_another_shape_is_refused(keras_hub_folder):
    with (
        convert.open_folder(keras_hub_folder) as checkpoint,
        pytest.raises(
            ValueError, match=r"has no weight final_normalization/scale of shape \(33,\); it has \(32,\)"
        ),
    ):
        checkpoint.readable_weights()("final_normalization/scale", (33,))


def test_values_too_large_for_float16_are_named(tmp_path, hugging_face_folder):
    path = hugging_face_folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"] = np.full((32,), 1e6, np.float32)
    save_file(tensors, path)
    with (
        convert.open_folder(hugging_face_folder) as checkpoint,
        pytest.raises(ValueError, match=r"loaded as float16 must be below 65504; final_normalization/scale"),
    ):
        checkpoint.readable_weights()("final_normalization/scale", (32,), "float16")


# Damaged and hostile files


def test_a_truncated_safetensors_file_is_named(hugging_face_folder):
    path = hugging_face_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"model\.safetensors must be a whole safetensors file; .* fetch it again"
    ):
        convert.open_folder(hugging_face_folder)


def test_a_safetensors_header_that_lies_is_refused(hugging_face_folder):
    path = hugging_face_folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        convert.open_folder(hugging_face_folder)


@pytest.mark.parametrize("keep", [0.5, 0.0], ids=["half", "nothing"])
def test_a_truncated_h5_file_is_named(keras_hub_folder, keep):
    path = keras_hub_folder / "model.weights.h5"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match=r"model\.weights\.h5 must be a whole HDF5 file; .* fetch it again"):
        convert.open_folder(keras_hub_folder)


def test_h5_data_in_other_files_is_refused(tmp_path, keras_hub_folder):
    with h5py.File(keras_hub_folder / "model.weights.h5", "a") as file:
        del file["layers/rms_normalization/vars/0"]
        outside = [(str(tmp_path / "secret"), 0, 128)]
        file.create_dataset("layers/rms_normalization/vars/0", (32,), np.float32, external=outside)
    with pytest.raises(
        ValueError, match=r"must hold its own data; layers/rms_normalization/vars/0 .* points into other"
    ):
        convert.open_folder(keras_hub_folder)


def test_h5_links_are_not_followed(tmp_path, keras_hub_folder):
    with h5py.File(keras_hub_folder / "model.weights.h5", "a") as file:
        del file["layers/rms_normalization"]
        file["layers/rms_normalization"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
    with pytest.raises(ValueError, match="1 missing: layers/rms_normalization/vars/0"):
        convert.open_folder(keras_hub_folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "", ".."])
def test_shards_outside_the_folder_are_refused(hugging_face_folder, name):
    (hugging_face_folder / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": name}}
    (hugging_face_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="must lie beside it; got"):
        convert.open_folder(hugging_face_folder)


def test_a_missing_shard_is_named(tmp_path):
    convert.write_hugging_face(random_checkpoint(LIKE_2B), tmp_path / "a", max_shard_size=0.001)
    convert.write_keras_hub(random_checkpoint(LIKE_2B), tmp_path / "b", max_shard_size=0.001)
    (tmp_path / "a" / "model-00002-of-00002.safetensors").unlink()
    (tmp_path / "b" / "model_00001.weights.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-00002-of-00002\.safetensors is missing"):
        convert.open_folder(tmp_path / "a", verify_hashes=False)
    with pytest.raises(FileNotFoundError, match=r"missing: model_00001\.weights\.h5"):
        convert.open_folder(tmp_path / "b", verify_hashes=False)


def test_an_index_of_another_release_is_refused(tmp_path):
    folder = tmp_path / "a"
    convert.write_hugging_face(random_checkpoint(LIKE_2B), folder, max_shard_size=0.001)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["model.norm.weight"]
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="Index and shards are not of one release"):
        convert.open_folder(folder, verify_hashes=False)
    index["weight_map"]["model.norm.weight"] = "model-00002-of-00002.safetensors"
    index["weight_map"]["model.extra.weight"] = "model-00002-of-00002.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"model\.extra\.weight is not in model-00002-of-00002\.safetensors"):
        convert.open_folder(folder, verify_hashes=False)


def test_the_same_tensor_in_two_shards_is_refused(tmp_path):
    folder = tmp_path / "b"
    convert.write_keras_hub(random_checkpoint(LIKE_2B), folder, max_shard_size=0.001)
    with h5py.File(folder / "model_00001.weights.h5", "a") as file:
        file["layers/reversible_embedding/vars/0"] = np.zeros((1,), np.float32)
    with pytest.raises(ValueError, match="A tensor must be in one shard; layers/reversible_embedding/vars/0"):
        convert.open_folder(folder, verify_hashes=False)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.pth", "model.ckpt"])
def test_pickles_are_never_loaded(hugging_face_folder, name):
    (hugging_face_folder / "model.safetensors").rename(hugging_face_folder / name)
    with pytest.raises(ValueError, match=rf"has {name}, which is a pickle: .* never loaded\. Convert it"):
        convert.open_folder(hugging_face_folder)
    with pytest.raises(ValueError, match="is a pickle"):
        convert.open_folder(hugging_face_folder / name)


def test_a_folder_without_weights_says_so(hugging_face_folder, keras_hub_folder):
    (hugging_face_folder / "model.safetensors").unlink()
    (keras_hub_folder / "model.weights.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold model\.safetensors, or shards"):
        convert.open_folder(hugging_face_folder)
    with pytest.raises(FileNotFoundError, match=r"must hold model\.weights\.h5, or shards"):
        convert.open_folder(keras_hub_folder)
    for folder in (hugging_face_folder, keras_hub_folder):
        with convert.open_folder(folder, load_weights=False) as checkpoint:
            assert checkpoint.config == LIKE_2B
            with pytest.raises(ValueError, match="opened with load_weights=False"):
                checkpoint.readable_weights()


@pytest.mark.parametrize("shard_map", [{}, {"weight_map": {}}, {"weight_map": [1]}])
def test_an_index_without_a_weight_map_is_refused(hugging_face_folder, keras_hub_folder, shard_map):
    (hugging_face_folder / "model.safetensors").unlink()
    (keras_hub_folder / "model.weights.h5").unlink()
    (hugging_face_folder / "model.safetensors.index.json").write_text(json.dumps(shard_map))
    (keras_hub_folder / "model.weights.json").write_text(json.dumps(shard_map))
    for folder in (hugging_face_folder, keras_hub_folder):
        with pytest.raises(ValueError, match=r"must map .* to shards in 'weight_map'"):
            convert.open_folder(folder)


# Configs


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
    assert (
        config_from_hugging_face({**values, "rope_parameters": rope}, source=source).rope_max_wavelength
        == 5e5
    )
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
    with pytest.raises(ValueError, match="Quantised presets are not loaded yet"):
        convert.open_folder(keras_hub_folder)


@pytest.mark.parametrize("layout", ["keras_hub", "hugging_face"])
def test_unknown_types_to_write_are_refused(tmp_path, layout):
    write = getattr(convert, f"write_{layout}")
    with pytest.raises(ValueError, match=r"written in one of float32, bfloat16, float16; got 'int8'"):
        write(random_checkpoint(LIKE_2B), tmp_path / "out", dtype="int8")


def test_a_weight_larger_than_a_shard_is_refused_for_keras_hub(tmp_path):
    with pytest.raises(
        ValueError, match=r"must fit into one shard; layers/reversible_embedding/vars/0 has 1,048,576"
    ):
        convert.write_keras_hub(random_checkpoint(LIKE_2B), tmp_path / "out", max_shard_size=0.0001)
    assert list(tmp_path.iterdir()) == []


# Hashes and targets


def test_every_file_is_hashed_and_a_changed_one_is_named(tmp_path):
    folder = tmp_path / "preset"
    convert.write_keras_hub(random_checkpoint(LIKE_2B, tokenizer=True), folder)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(convert.recorded_hashes(folder)) == files - {"hashes.json"}
    with (folder / "model.weights.h5").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    (folder / "task.json").unlink()
    with pytest.raises(ValueError, match=r"task\.json is missing") as caught:
        convert.open_folder(folder)
    assert "model.weights.h5 has sha256" in str(caught.value)
    assert "delete these files and fetch them again" in str(caught.value)
    convert.open_folder(folder, verify_hashes=False).readable_weights().close()


def test_a_hash_list_of_another_form_is_refused(keras_hub_folder):
    (keras_hub_folder / "hashes.json").write_text('{"algorithm": "md5", "files": {}}')
    with pytest.raises(ValueError, match="must say algorithm 'sha256' and list files"):
        convert.open_folder(keras_hub_folder)


def test_a_folder_of_other_files_is_not_written_to(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for write in (convert.write_keras_hub, convert.write_hugging_face):
        with pytest.raises(FileExistsError, match="must be empty or hold an earlier preset"):
            write(random_checkpoint(LIKE_2B), tmp_path)
        with pytest.raises(FileExistsError, match="The target must be a folder"):
            write(random_checkpoint(LIKE_2B), tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_earlier_preset_is_replaced_and_its_other_files_stay(tmp_path):
    folder = tmp_path / "preset"
    convert.write_keras_hub(random_checkpoint(LIKE_2B), folder, max_shard_size=0.001)
    (folder / "MODEL_CARD.md").write_text("My card")
    (folder / "licences").mkdir()
    (folder / "licences" / "one.txt").write_text("one")
    convert.write_keras_hub(random_checkpoint(LIKE_7B), folder)
    assert (folder / "MODEL_CARD.md").read_text() == "My card"
    assert (folder / "licences" / "one.txt").read_text() == "one"
    assert not list(folder.glob("model_*.h5"))
    assert {"MODEL_CARD.md", "licences/one.txt"} <= set(convert.recorded_hashes(folder))
    with convert.open_folder(folder) as checkpoint:
        assert checkpoint.config == LIKE_7B
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


def test_a_failed_write_leaves_the_old_folder_alone(tmp_path):
    folder = tmp_path / "preset"
    convert.write_keras_hub(random_checkpoint(LIKE_2B), folder)

    def write():
        with replacing_folder(folder, ours=frozenset({"config.json"})) as target:
            (target / "config.json").write_text("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]
    with convert.open_folder(folder) as checkpoint:
        assert checkpoint.config == LIKE_2B


def test_a_new_model_gets_a_card_with_its_figures(tmp_path):
    convert.write_keras_hub(random_checkpoint(LIKE_2B), tmp_path / "preset")
    card = (tmp_path / "preset" / "MODEL_CARD.md").read_text()
    assert f"{LIKE_2B.parameter_count:,}" in card
    assert "its maker has not described it yet" in card


# tokenizer.json


def tokenizer_json(**changes) -> dict:
    """The tiny tokenizer as the tokenizers library stores it."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(TINY / "assets/tokenizer/vocabulary.spm"))
    pieces = [model.id_to_piece(index) for index in range(model.vocab_size())]
    known = set(pieces)
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in pieces[473:]
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return {"model": {"type": "BPE", "byte_fallback": True, "vocab": vocabulary, "merges": merges, **changes}}


def test_a_tokenizer_json_gives_the_sentencepiece_model_back(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    rebuilt = CodeGemmaTokenizer(sentencepiece_from_tokenizer_json(tmp_path / "tokenizer.json"))
    original = CodeGemmaTokenizer(TINY / "assets/tokenizer/vocabulary.spm")
    for text in (Path(__file__).read_text(), "\t\t x  é漢字🙂\r\n\n\n<table>\x00", "<|fim_prefix|><bos>"):
        assert rebuilt.encode(text) == original.encode(text)
        assert rebuilt.decode(rebuilt.encode(text)) == text
    assert rebuilt.infill_stop_ids == original.infill_stop_ids


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"type": "WordPiece"}, "a model of type 'WordPiece'"),
        ({"vocab": {"<pad>": 0, "<eos>": 2}}, "ids with gaps"),
        ({"vocab": {"a": 0, "b": 1}}, r"pieces that begin \['a', 'b'\]"),
        ({"merges": [["i", "n"], ["s", "e"]]}, "merges that are not in the order of their pieces"),
    ],
)
def test_a_tokenizer_json_of_another_kind_is_refused(tmp_path, changes, found):
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(**changes)))
    with pytest.raises(ValueError, match=rf"must be Gemma's tokenizer .*; it has {found}"):
        sentencepiece_from_tokenizer_json(tmp_path / "tokenizer.json")


def test_a_hugging_face_folder_with_only_a_tokenizer_json_is_read(hugging_face_folder):
    (hugging_face_folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    with convert.open_folder(hugging_face_folder) as checkpoint:
        assert checkpoint.tokenizer_model is not None
        assert CodeGemmaTokenizer(checkpoint.tokenizer_model).fim_suffix_id == 69


def test_special_ids_are_recorded_under_our_key_only():
    tokenizer = CodeGemmaTokenizer(TINY / "assets/tokenizer/vocabulary.spm")
    values = keras_objects.tokenizer(tokenizer)
    assert values["registered_name"] == "keras_hub>GemmaTokenizer"
    assert values["keras_codegemma"]["special_token_ids"]["fim_suffix"] == 69
    assert "special_token_ids" not in values["config"]
