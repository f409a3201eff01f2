"""CodeGemma in Keras 3 on JAX. Importing it selects Keras's JAX backend, and refuses another that was chosen.

Keras reads its backend once, at its first import, from the variable KERAS_BACKEND, else from ~/.keras/keras.json. Keras
writes that file by itself, with "tensorflow", so the file is no sign of a choice: without the variable, JAX it is.

The public names are imported when first used, so that `keras_codegemma.fim` needs neither Keras nor JAX.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_codegemma import chat, convert, distribution, fim, hub, presets, token_scores
    from keras_codegemma import sampling as samplers
    from keras_codegemma.backbone import CodeGemmaBackbone
    from keras_codegemma.causal_lm import CodeGemmaCausalLM
    from keras_codegemma.completion import Completion
    from keras_codegemma.config import CodeGemmaConfig
    from keras_codegemma.preprocessor import CodeGemmaCausalLMPreprocessor
    from keras_codegemma.tokenizer import CodeGemmaTokenizer

__version__ = "0.1.0"

__all__ = [
    "CodeGemmaBackbone",
    "CodeGemmaCausalLM",
    "CodeGemmaCausalLMPreprocessor",
    "CodeGemmaConfig",
    "CodeGemmaTokenizer",
    "Completion",
    "chat",
    "convert",
    "distribution",
    "fim",
    "hub",
    "presets",
    "samplers",
    "token_scores",
]

_HOMES = {
    "CodeGemmaBackbone": "backbone",
    "CodeGemmaCausalLM": "causal_lm",
    "CodeGemmaCausalLMPreprocessor": "preprocessor",
    "CodeGemmaConfig": "config",
    "CodeGemmaTokenizer": "tokenizer",
    "Completion": "completion",
}
"""The module of each public name that is a class."""


def _select_backend() -> None:
    """Chooses JAX before Keras is imported.

    Raises:
        ImportError: another backend was asked for, or is running already.
    """
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen and chosen != "jax":
        raise ImportError(
            f"keras_codegemma runs on Keras's JAX backend; KERAS_BACKEND is {chosen!r}. "
            "Unset it, or set KERAS_BACKEND=jax, and start Python again."
        )
    # A partly imported Keras has no `config` yet; it then reads the variable that is set below, or has read it.
    config = getattr(sys.modules.get("keras"), "config", None)
    if config is not None and config.backend() != "jax":
        raise ImportError(
            f"keras_codegemma runs on Keras's JAX backend; keras was imported before it, with {config.backend()!r}. "
            "Import keras_codegemma first, or set KERAS_BACKEND=jax before the first import of keras."
        )
    os.environ["KERAS_BACKEND"] = "jax"


_select_backend()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        value = importlib.import_module(f"{__name__}.{'sampling' if name == 'samplers' else name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
