"""A preset in memory and back on disk, whole or in part."""

import json
from pathlib import Path

import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma import presets

TINY = Path(__file__).parents[2] / "presets" / "code_gemma_tiny"
GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "tiny_golden.json").read_text())


@pytest.fixture(scope="module")
def tiny():
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")


def test_loading_gives_config_backbone_and_preprocessor():
    loaded = presets.load("code_gemma_tiny", dtype="bfloat16")
    assert loaded.config.parameter_count == 11_147_520
    assert loaded.config.context_length == 1024
    assert loaded.folder == TINY
    assert loaded.backbone.dtype_policy.name == "bfloat16"
    assert loaded.preprocessor.tokenizer.fim_middle_id == 68
    assert presets.load_tokenizer("code_gemma_tiny").model_bytes == loaded.preprocessor.tokenizer.model_bytes
    assert presets.load_preprocessor("code_gemma_tiny").sequence_length == loaded.preprocessor.sequence_length


def test_loading_without_weights_needs_no_weight_file(copy):
    (copy / "model.weights.h5").unlink()
    loaded = presets.load(copy, load_weights=False)
    assert len(loaded.backbone.variables) == 110
    with pytest.raises(ValueError, match=r"model\.weights\.h5 is missing"):
        presets.load(copy)
    with pytest.raises(FileNotFoundError, match=r"must hold model\.weights\.h5"):
        presets.load(copy, verify_hashes=False)


def test_progress_is_reported_after_each_tensor():
    seen = []
    presets.load_backbone("code_gemma_tiny", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 110) for number in range(1, 111)]


def test_a_saved_model_loads_with_its_options(tmp_path, tiny):
    changed = kcg.CodeGemmaCausalLM(
        tiny.backbone,
        kcg.CodeGemmaCausalLMPreprocessor(
            tiny.preprocessor.tokenizer,
            sequence_length=77,
            add_end_token=False,
            fim_rate=0.25,
            fim_layout="spm",
        ),
    )
    changed.save_to_preset(tmp_path / "saved")
    loaded = presets.load(tmp_path / "saved")
    config = loaded.preprocessor.get_config()
    assert (config["sequence_length"], config["add_end_token"]) == (77, False)
    assert (config["fim_rate"], config["fim_layout"]) == (0.25, "spm")
    assert loaded.config == tiny.backbone.config


def test_a_backbone_alone_is_saved_without_text_files(tmp_path, tiny):
    presets.save(kcg.CodeGemmaCausalLM(tiny.backbone), tmp_path / "saved")
    assert not (tmp_path / "saved" / "tokenizer.json").exists()
    assert presets.load_backbone(tmp_path / "saved").config == tiny.backbone.config
    with pytest.raises(FileNotFoundError, match="A model needs its SentencePiece file"):
        presets.load(tmp_path / "saved")


def test_an_export_for_transformers_loads_again(tmp_path, tiny):
    tiny.export_to_transformers(tmp_path / "exported")
    loaded = kcg.CodeGemmaCausalLM.from_preset(tmp_path / "exported", dtype="float32")
    ids = np.asarray([GOLDEN["cases"][0]["prompt_ids"]], np.int32)
    np.testing.assert_array_equal(loaded({"token_ids": ids}), tiny({"token_ids": ids}))


def test_a_tokenizer_of_another_model_is_refused(copy, monkeypatch):
    (copy / "hashes.json").unlink()
    values = json.loads((copy / "tokenizer.json").read_text())
    values["keras_codegemma"]["special_token_ids"]["fim_middle"] = 69
    (copy / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"must have the control ids that .* \{'fim_middle': \(69, 68\)\}"):
        presets.load_tokenizer(copy)
    values = json.loads((copy / "config.json").read_text())
    values["config"]["vocabulary_size"] = 8000
    (copy / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="has 8192 pieces and the embedding 8000 rows"):
        presets.load_tokenizer(copy)


def test_options_that_the_preprocessor_lacks_are_named(copy):
    (copy / "hashes.json").unlink()
    path = copy / "preprocessor.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "keras_codegemma": {"future_option": 1}}))
    with pytest.raises(ValueError, match=r"must name options of CodeGemmaCausalLMPreprocessor.*future_option"):
        presets.load_preprocessor(copy)


def test_a_changed_file_is_not_loaded_under_a_built_in_name(copy, monkeypatch):
    """Even where the folder's own list was changed with it."""
    (copy / "MODEL_CARD.md").write_text("changed")
    (copy / "hashes.json").unlink()
    monkeypatch.setattr("keras_codegemma.presets.loading.resolve", lambda *args, **options: copy)
    with pytest.raises(ValueError, match=r"MODEL_CARD\.md has sha256"):
        presets.load("code_gemma_tiny")
