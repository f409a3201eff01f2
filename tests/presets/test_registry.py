"""The list of built-in presets: complete, with the published sources, and honest about hashes."""

import json
from pathlib import Path

import pytest

from keras_codegemma import presets
from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B
from keras_codegemma.presets import registry

TINY = Path(__file__).parents[2] / "presets" / "code_gemma_tiny"
OFFICIAL = {
    "code_gemma_2b_en": (CODE_GEMMA_2B, 2, "google/codegemma-2b"),
    "code_gemma_1.1_2b_en": (CODE_GEMMA_2B, 2, "google/codegemma-1.1-2b"),
    "code_gemma_7b_en": (CODE_GEMMA_7B, 3, "google/codegemma-7b"),
    "code_gemma_instruct_7b_en": (CODE_GEMMA_7B, 3, "google/codegemma-7b-it"),
    "code_gemma_1.1_instruct_7b_en": (CODE_GEMMA_7B, 3, "google/codegemma-1.1-7b-it"),
}


def test_the_list_has_the_official_presets_and_the_tiny_one():
    assert {info.name for info in presets.list()} == {*OFFICIAL, "code_gemma_tiny"}
    assert presets.list()[0].name == "code_gemma_tiny"


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_presets_have_the_published_sources_and_sizes(name):
    config, version, repository = OFFICIAL[name]
    info = presets.find(name)
    assert info.config == config
    assert info.parameters == config.parameter_count
    assert [source.handle for source in info.sources] == [
        f"kaggle://keras/codegemma/keras/{name}/{version}",
        f"hf://{repository}",
    ]
    assert all(source.terms and source.terms.startswith("https://") for source in info.sources)
    assert info.instruction_tuned == ("instruct" in name)
    assert dict(info.hashes) == {}
    assert "not known" in info.hashes_note


def test_every_file_of_the_tiny_preset_has_its_hash_in_the_list():
    info = presets.find("code_gemma_tiny")
    files = {path.relative_to(TINY).as_posix() for path in TINY.rglob("*") if path.is_file()}
    assert set(info.hashes) == files - {"hashes.json"}
    assert dict(info.hashes) == json.loads((TINY / "hashes.json").read_text())["files"]


def test_the_tiny_card_is_honest():
    card = (TINY / "MODEL_CARD.md").read_text()
    assert "no substitute for CodeGemma" in card
    assert "11,147,520 parameters" in card


def test_missing_data_says_to_install_again(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_PACKAGE", tmp_path / "package")
    with pytest.raises(FileNotFoundError, match="The presets' data must be installed with the package"):
        registry.data_folder()
