"""`codegemma presets` and `codegemma convert`, on the preset that ships with the package."""

import json
import shutil

import numpy as np
import pytest

from keras_codegemma import presets
from keras_codegemma.presets.registry import data_folder

TINY = data_folder() / "code_gemma_tiny"


def test_list_names_every_preset_smallest_first(codegemma):
    lines = codegemma("presets", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [info.name for info in presets.list()]
    assert lines[0].startswith("code_gemma_tiny                 11.1 M  in the package  11.1 million parameters")
    assert "2.51 B  to be fetched   CodeGemma 1.1 2B" in lines[1]


def test_list_as_json_holds_architecture_and_sources(codegemma):
    documents = {item["name"]: item for item in json.loads(codegemma("presets", "list", "--json").stdout)}
    assert documents["code_gemma_tiny"]["config"]["hidden_dim"] == 256
    assert documents["code_gemma_2b_en"]["sources"][0]["handle"].startswith("kaggle://keras/codegemma/")


def test_show_says_where_a_preset_comes_from_and_under_which_terms(codegemma):
    text = codegemma("presets", "show", "code_gemma_7b_en").stdout
    assert "  from hf://google/codegemma-7b: terms: https://huggingface.co/google/codegemma-7b\n" in text
    assert "  parameters: 8,537,680,896\n" in text
    assert json.loads(codegemma("presets", "show", "code_gemma_7b_en", "--json").stdout)["parameters"] == 8537680896


def test_fetch_prints_the_folder(codegemma):
    assert codegemma("presets", "fetch", "code_gemma_tiny").stdout == f"{TINY}\n"
    document = json.loads(codegemma("presets", "fetch", str(TINY), "--json").stdout)
    assert document == {"preset": str(TINY), "folder": str(TINY)}


def test_verify_says_what_was_checked(codegemma):
    result = codegemma("presets", "verify", "code_gemma_tiny")
    assert (result.exit_code, result.stdout) == (
        0,
        "code_gemma_tiny is whole: 110 tensors of the right name, shape and type (11,147,520 parameters), "
        "11 files with the known sha256.\n",
    )
    document = json.loads(codegemma("presets", "verify", "code_gemma_tiny", "--json").stdout)
    assert document["parameters"] == 11147520
    assert "model.weights.h5" in document["hashed"]


def test_verify_names_a_damaged_file_and_fails(codegemma, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(TINY, folder)
    weights = folder / "model.weights.h5"
    contents = bytearray(weights.read_bytes())
    contents[len(contents) // 2] ^= 1
    weights.write_bytes(contents)
    result = codegemma("presets", "verify", folder)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "model.weights.h5" in result.stderr


@pytest.mark.parametrize("action", ["show", "fetch", "verify"])
def test_an_unknown_preset_is_wrong_use(codegemma, action):
    result = codegemma("presets", action, "code_gemma_9b_en")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"codegemma presets {action}: A preset must be a built-in name (")
    assert "got 'code_gemma_9b_en', which is none of these." in result.stderr


def test_a_revision_of_what_has_none_is_a_failure(codegemma):
    result = codegemma("presets", "fetch", "code_gemma_tiny", "--revision", "2")
    assert result.exit_code == 1
    assert result.stderr == (
        "codegemma: A revision belongs to a kaggle:// or hf:// handle; got revision='2' for code_gemma_tiny. "
        "Leave it out.\n"
    )


def test_convert_writes_the_other_layout_and_back(codegemma, tmp_path):
    result = codegemma("convert", "code_gemma_tiny", tmp_path / "hf", "--to", "hugging-face")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{tmp_path / 'hf'}: ")
    assert result.stdout.endswith(" MB; every weight compared.\n")
    result = codegemma("convert", tmp_path / "hf", tmp_path / "keras", "--to", "keras-hub", "--json")
    document = json.loads(result.stdout)
    assert (document["source"], document["layout"]) == (str(tmp_path / "hf"), "keras-hub")
    assert "model.weights.h5" in document["bytes"]
    ours, back = (presets.load_backbone(folder, dtype="bfloat16") for folder in (TINY, tmp_path / "keras"))
    for first, second in zip(ours.weights, back.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(first.value), np.asarray(second.value))


def test_convert_leaves_a_folder_of_other_files_alone(codegemma, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    result = codegemma("convert", "code_gemma_tiny", tmp_path, "--to", "hugging-face")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_convert_needs_a_layout(codegemma, tmp_path):
    result = codegemma("convert", "code_gemma_tiny", tmp_path)
    assert result.exit_code == 2
    assert "Missing option '--to'" in result.stderr
