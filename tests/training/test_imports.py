"""What training may import: the corpus is plain Python but for named files, and the package knows nothing of it."""

import ast
import sys

import pytest

from tests.conftest import ROOT
from tests.import_rules import imports

HEAVY = frozenset(
    {
        *("tensorflow", "tensorflow_datasets", "tensorflow_text", "torch", "transformers", "keras_hub"),
        *("keras", "jax", "jaxlib", "optax", "orbax", "grain", "apache_beam"),
    }
)
"""Packages that start slowly or hold a device; workers that only read and filter do without."""

ALLOWED = {
    "loader": {"grain"},
    "pipeline": {"apache_beam"},
    "reading.datasets": {"tensorflow_datasets"},
}
"""Files of the corpus that are there for one of them."""

PACKAGE_ALLOWED = frozenset({"fim", "tokenizer"})
"""Modules of the package that the corpus uses; both are without Keras. `presets`, which is not, inside functions."""

WITHOUT_TOKENIZER = frozenset(
    {"document", "filters", "generated", "decoding", "licences", "licence_metadata", "licence_texts", "secrets"}
    | {"secret_rules", "secret_search", "personal_data", "text_views", "words", "minhash", "duplicates"}
    | {"decontamination", "ledger", "clock", "charts", "store", "spans"}
)
"""Files that work on text alone."""


def corpus_sources() -> dict[str, str]:
    folder = ROOT / "training" / "corpus"
    found = {}
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        found[name] = path.read_text(encoding="utf-8")
    return found


def problems(module: str, source: str) -> list[str]:
    """What a module of the corpus does against the rules, one sentence each."""
    found = []
    for item in imports(ast.parse(source)):
        root, *rest = item.name.split(".")
        if root == "":
            found.append(f"{module}:{item.line} imports relatively; write the whole name.")
        if root in HEAVY and root not in ALLOWED.get(module, set()):
            found.append(f"{module}:{item.line} imports {root}, which {sorted(ALLOWED)} alone may, each its own.")
        if root == "keras_codegemma":
            part = rest[0] if rest else ""
            if part not in PACKAGE_ALLOWED and (item.at_import or part != "presets"):
                found.append(f"{module}:{item.line} imports {item.name}; only fim and tokenizer are without Keras.")
            if part == "tokenizer" and module in WITHOUT_TOKENIZER:
                found.append(f"{module}:{item.line} imports the tokenizer; {module} works on text alone.")
        if root == "training" and rest[:1] not in (["corpus"], ["recipes"], ["settings"]):
            found.append(f"{module}:{item.line} imports {item.name}; the corpus stands below the rest of training.")
    return found


def test_the_corpus_is_plain_python_but_for_named_files():
    found = [problem for name, source in corpus_sources().items() for problem in problems(name, source)]
    assert not found, "\n".join(found)


def test_the_named_files_are_there_and_need_what_they_are_allowed():
    sources = corpus_sources()
    assert set(sources) >= set(ALLOWED) | WITHOUT_TOKENIZER
    for name, allowed in ALLOWED.items():
        roots = {item.name.split(".")[0] for item in imports(ast.parse(sources[name]))}
        assert allowed <= roots


def test_tensorflow_is_imported_inside_a_function_only():
    source = corpus_sources()["reading.datasets"]
    assert not any(item.at_import for item in imports(ast.parse(source)) if item.name.startswith("tensorflow"))


def test_nothing_in_the_package_imports_training():
    for path in sorted((ROOT / "keras_codegemma").rglob("*.py")):
        names = [item.name for item in imports(ast.parse(path.read_text(encoding="utf-8")))]
        assert not [name for name in names if name.split(".")[0] == "training"], path


def test_recipes_import_the_standard_library_and_settings_only():
    for path in sorted((ROOT / "training" / "recipes").glob("*.py")):
        for item in imports(ast.parse(path.read_text(encoding="utf-8"))):
            root = item.name.split(".")[0]
            shape = item.name.startswith("keras_codegemma.config.")
            assert shape or root in {"training", *sys.stdlib_module_names}, f"{path.name} imports {item.name}"


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("filters", "import tensorflow", "imports tensorflow, which"),
        ("loader", "import apache_beam", "imports apache_beam, which"),
        ("store", "def f():\n    import keras", "store:2 imports keras, which"),
        ("job", "from keras_codegemma import presets", "job:1 imports keras_codegemma.presets; only fim"),
        ("job", "def f():\n    from keras_codegemma import backbone", "imports keras_codegemma.backbone; only fim"),
        ("words", "from keras_codegemma.tokenizer import CodeGemmaTokenizer", "words works on text alone"),
        ("words", "from . import minhash", "imports relatively"),
        ("report", "from training.optimizer import adam", "the corpus stands below the rest of training"),
    ],
)
def test_the_checker_finds(module, source, expected):
    found = problems(module, source)
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("job", "def f():\n    from keras_codegemma import presets"),
        ("infill", "from keras_codegemma import fim"),
        ("recipe", "from training import recipes"),
        ("job", "from training.settings import as_json"),
        ("pipeline", "import apache_beam as beam"),
    ],
)
def test_the_checker_lets_pass(module, source):
    assert problems(module, source) == []
