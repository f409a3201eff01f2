"""Damaged, incomplete and hostile weight files: each refused, with what to do."""

import json
import struct

import h5py
import numpy as np
import pytest

from keras_codegemma import convert
from tests.convert.random_checkpoints import LIKE_2B, random_checkpoint


def test_a_truncated_safetensors_file_is_named(hugging_face_folder):
    path = hugging_face_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors must be a whole safetensors file; .* fetch it again"):
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
