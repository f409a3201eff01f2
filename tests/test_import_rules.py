"""The package keeps to its layers, and the checker that says so can fail."""

from pathlib import Path

import pytest

import keras_codegemma
from tests.import_rules import ROWS, violations

FOLDER = Path(keras_codegemma.__file__).parent
HOMES = {**keras_codegemma._HOMES, "samplers": "sampling"}


def sources() -> dict[str, str]:
    """Every module of the package but its `__init__`, by dotted name."""
    found = {}
    for path in sorted(FOLDER.rglob("*.py")):
        parts = [FOLDER.name, *path.relative_to(FOLDER).with_suffix("").parts]
        name = ".".join(parts).removesuffix(".__init__")
        if name != FOLDER.name:
            found[name] = path.read_text(encoding="utf-8")
    return found


def test_every_module_imports_downwards_and_nothing_heavy():
    found = [problem for name, source in sources().items() for problem in violations(name, source, homes=HOMES)]
    assert not found, "\n".join(found)


def test_every_module_has_a_row():
    rows = frozenset().union(*ROWS)
    assert {name.split(".")[1] for name in sources()} <= rows


def test_no_module_stands_in_two_rows():
    assert sum(map(len, ROWS)) == len(frozenset().union(*ROWS))


def test_the_package_itself_imports_only_the_standard_library():
    source = (FOLDER / "__init__.py").read_text(encoding="utf-8")
    body = source[: source.index("if TYPE_CHECKING")]
    assert [line for line in body.splitlines() if line.startswith(("import", "from"))] == [
        "import importlib",
        "import os",
        "import sys",
        "from typing import TYPE_CHECKING, Any",
    ]


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("layers.rotary", "from keras_codegemma import backbone", "imports backbone, which stands above layers"),
        ("layers.rotary", "import keras_codegemma.causal_lm", "imports causal_lm, which stands above layers"),
        ("cache", "def f():\n    from keras_codegemma.layers import x", "cache:2 imports layers, which stands above"),
        ("cache", "from keras_codegemma import CodeGemmaBackbone", "imports backbone, which stands above cache"),
        ("axes", "if TYPE_CHECKING:\n    from keras_codegemma import cache", "imports cache, which stands above axes"),
        ("serving.engine", "from keras_codegemma.evaluation import runner", "serving and evaluation must stay apart"),
        (
            "tokenizer",
            "from keras_codegemma import tensorflow_tokenizer",
            "which brings tensorflow and tensorflow_text",
        ),
        ("presets.loading", "def f():\n    import keras_hub", "imports keras_hub, which only ['hub'] may"),
        ("tokenizer", "import tensorflow as tf", "imports tensorflow, which only ['tensorflow_tokenizer'] may"),
        ("generation", "importlib.import_module('torch')", "imports torch, which only [] may"),
        ("convert.names", "try:\n    import torch.nn\nexcept ImportError: ...", "imports torch, which only [] may"),
        ("causal_lm", "from training import train", "imports training, which is not installed"),
        ("fim", "import numpy as np", "imports numpy; fim is plain Python"),
        ("chat", "from keras_codegemma import config", "imports config; chat is plain Python"),
        ("kernels.geglu.reference", "import keras", "imports keras; kernels does without"),
        ("cache", "from . import axes", "imports relatively"),
        ("surprise", "from keras_codegemma import fim", "surprise has no row in ROWS"),
        ("cache", "import jax\nDEVICES = jax.devices()", "cache:2 calls jax.devices when it is imported"),
        ("cache", "class C:\n    size = jax.local_device_count()", "calls jax.local_device_count when it is imported"),
        ("cache", "ZERO = jnp.zeros(())", "calls jnp.zeros when it is imported"),
    ],
)
def test_the_checker_finds(module, source, expected):
    found = violations(f"keras_codegemma.{module}", source, homes=HOMES)
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hub", "import keras_hub"),
        ("tensorflow_tokenizer", "import tensorflow as tf, tensorflow_text"),
        ("tokenizer", "def f():\n    from keras_codegemma import tensorflow_tokenizer"),
        ("generation", "from keras_codegemma import backbone, __version__"),
        ("generation", "import jax\n\ndef f():\n    return jax.devices(), jax.numpy.zeros(2)"),
        ("evaluation.runner", "from keras_codegemma import CodeGemmaCausalLM, samplers"),
        ("chat", "from keras_codegemma.fim import Part"),
    ],
)
def test_the_checker_lets_pass(module, source):
    assert violations(f"keras_codegemma.{module}", source, homes=HOMES) == []
