"""The `codegemma` command in this process, on one model for all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keras_codegemma import presets
from keras_codegemma.causal_lm import CodeGemmaCausalLM
from keras_codegemma.cli import app, chat, complete, generate, options

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def tiny() -> CodeGemmaCausalLM:
    """The shipped model, in float32."""
    loaded = presets.load("code_gemma_tiny", dtype="float32")
    return CodeGemmaCausalLM(loaded.backbone, loaded.preprocessor)


@pytest.fixture
def codegemma(tiny: CodeGemmaCausalLM, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `codegemma *arguments`; known presets are the one model that is loaded already."""

    def load(preset: str, dtype: str) -> CodeGemmaCausalLM:
        options.check_preset(preset)
        return tiny

    for module in (chat, complete, generate):
        monkeypatch.setattr(module, "load_model", load)
    return lambda *arguments, **others: CliRunner().invoke(app, [str(item) for item in arguments], **others)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """A copy of examples/stack.py, whose line 15 is unfinished."""
    source = Path(__file__).resolve().parents[2] / "examples" / "stack.py"
    copy = tmp_path / "stack.py"
    copy.write_bytes(source.read_bytes())
    return copy
