"""Folders of a small model in both layouts, which a test may damage."""

from pathlib import Path

import pytest

from keras_codegemma import convert
from tests.convert.random_checkpoints import LIKE_2B, random_checkpoint


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
