"""The tiny preset in a folder that a test may damage."""

import shutil
from pathlib import Path

import pytest

TINY = Path(__file__).parents[2] / "presets" / "code_gemma_tiny"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tiny preset."""
    return Path(shutil.copytree(TINY, tmp_path / "copy"))
