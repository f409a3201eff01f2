"""Tensors that do not fit a config are named, all of them; a tied output must be tied."""

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_codegemma import convert
from tests.convert.random_checkpoints import LIKE_2B, change_json, random_checkpoint


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
    with pytest.raises(ValueError, match=r"63 missing: model\.layers\.2\.input_layernorm\.weight; .*; and 57 more"):
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
        pytest.raises(ValueError, match=r"has no weight final_normalization/scale of shape \(33,\); it has \(32,\)"),
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
