"""What `presets.verify` checks, and what it says it could not."""

from pathlib import Path

import pytest

from keras_codegemma import presets

TINY = Path(__file__).parents[2] / "presets" / "code_gemma_tiny"


def test_verify_reports_what_was_checked():
    report = presets.verify("code_gemma_tiny")
    assert report.folder == TINY
    assert "model.weights.h5" in report.hashed
    assert report.unhashed == ()
    assert (report.tensors, report.parameters) == (110, 11_147_520)


def test_verify_says_which_files_have_no_known_hash(copy):
    (copy / "hashes.json").unlink()
    report = presets.verify(copy)
    assert report.hashed == ()
    assert "model.weights.h5" in report.unhashed


def test_verify_names_a_damaged_file_even_with_a_fresh_list(monkeypatch, copy):
    card = copy / "MODEL_CARD.md"
    card.write_text(card.read_text() + "changed")
    with pytest.raises(ValueError, match=r"MODEL_CARD\.md has sha256"):
        presets.verify(copy)
    (copy / "hashes.json").unlink()
    monkeypatch.setattr("keras_codegemma.presets.verification.resolve", lambda preset, revision: copy)
    with pytest.raises(ValueError, match=r"MODEL_CARD\.md has sha256"):
        presets.verify("code_gemma_tiny")
