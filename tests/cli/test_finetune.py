"""`codegemma finetune`, on a small repository."""

import json

import pytest

import keras_codegemma as kcg
from keras_codegemma.cli import finetune


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    for index in range(10):
        text = "".join(
            f"def get_{name}_{index}(self):\n    value = self.{name}\n    return value\n\n\n" for name in ("a", "b")
        )
        (folder / f"module_{index}.py").write_text(text)
    return folder


@pytest.fixture
def fresh_model(monkeypatch):
    monkeypatch.setattr(
        finetune, "load_model", lambda preset, dtype: kcg.CodeGemmaCausalLM.from_preset(preset, dtype=dtype)
    )


def test_a_repository_with_habits_is_learned_and_the_report_says_so(codegemma, fresh_model, repository, tmp_path):
    to = tmp_path / "tuned"
    result = codegemma(
        *("finetune", repository, "--to", to, "--json", "--problems", 12, "--sequence-length", 64),
        *("--batch-size", 4, "--epochs", 20),
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((to / "report.json").read_text())
    assert report["after"]["exact_match"] >= report["before"]["exact_match"] + 0.2
    assert report["losses"][-1] < report["losses"][0] / 2
    assert report["gained"] - report["lost"] == round(
        report["problems"] * (report["after"]["exact_match"] - report["before"]["exact_match"])
    )
    tuned = kcg.CodeGemmaCausalLM.from_preset(to / "model", dtype="float32")
    other = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    other.load_lora_weights(to / "adapter.safetensors")
    places = "def get_a_77(self):\n", "    return value\n"
    assert tuned.infill(*places, max_new_tokens=12) == other.infill(*places, max_new_tokens=12)


def test_what_does_not_fit_is_said_before_a_model_is_loaded(codegemma, repository, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    result = codegemma("finetune", empty, "--to", tmp_path / "to")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must hold two source files that are no tests" in result.stderr
    (tmp_path / "file").write_text("")
    result = codegemma("finetune", repository, "--to", tmp_path / "file" / "to")
    assert (result.exit_code, result.stdout) == (1, "")
    assert codegemma("finetune", repository, "--to", tmp_path / "to", "--preset", "nothing").exit_code == 2
