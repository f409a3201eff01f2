"""Presets: found by name, fetched, verified, loaded and saved.

`registry.py` knows the built-in ones, `fetching.py` turns a name or handle into a local folder, `loading.py`
turns the folder into a model and back, `verification.py` checks it.
"""

from keras_codegemma.presets.fetching import resolve
from keras_codegemma.presets.loading import (
    LoadedPreset,
    load,
    load_backbone,
    load_preprocessor,
    load_tokenizer,
    save,
)
from keras_codegemma.presets.registry import PresetInfo, Source, builtin_presets, find
from keras_codegemma.presets.registry import list_presets as list
from keras_codegemma.presets.verification import Verification, verify

__all__ = [
    "LoadedPreset",
    "PresetInfo",
    "Source",
    "Verification",
    "builtin_presets",
    "find",
    "list",
    "load",
    "load_backbone",
    "load_preprocessor",
    "load_tokenizer",
    "resolve",
    "save",
    "verify",
]
