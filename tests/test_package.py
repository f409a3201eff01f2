"""Importing the package, and what its wheel holds."""

import json
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import keras_codegemma
from tests.fresh_process import ROOT, medians, run_python

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def last_line(error: bytes) -> str:
    return error.decode().strip().splitlines()[-1]


def test_import_refuses_another_backend_named_in_the_environment():
    result = run_python("-c", "import keras_codegemma", KERAS_BACKEND="tensorflow")
    assert result.returncode == 1
    assert last_line(result.stderr) == (
        "ImportError: keras_codegemma runs on Keras's JAX backend; KERAS_BACKEND is 'tensorflow'. "
        "Unset it, or set KERAS_BACKEND=jax, and start Python again."
    )


def test_import_refuses_a_keras_that_already_runs_on_another_backend():
    code = "import os, keras; del os.environ['KERAS_BACKEND']; import keras_codegemma"
    result = run_python("-c", code, KERAS_BACKEND="numpy")
    assert result.returncode == 1
    assert last_line(result.stderr) == (
        "ImportError: keras_codegemma runs on Keras's JAX backend; keras was imported before it, with 'numpy'. "
        "Import keras_codegemma first, or set KERAS_BACKEND=jax before the first import of keras."
    )


def test_import_selects_jax_over_the_file_that_keras_writes_by_itself(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "tensorflow", "floatx": "float32"}))
    code = "import keras_codegemma, keras; print(keras.backend.backend())"
    result = run_python("-c", code, KERAS_HOME=str(tmp_path))
    assert result.stdout.decode().strip() == "jax", result.stderr.decode()


def test_import_after_a_keras_on_jax_is_fine():
    result = run_python("-c", "import keras, keras_codegemma", KERAS_BACKEND="jax")
    assert result.returncode == 0, result.stderr.decode()


def test_prompts_can_be_built_without_keras_jax_and_numpy():
    code = (
        "import sys, keras_codegemma as kcg\n"
        "kcg.fim.format('a', 'b'), kcg.chat.format([{'role': 'user', 'content': 'hi'}])\n"
        "print(sorted({'keras', 'jax', 'numpy', 'sentencepiece'} & set(sys.modules)))"
    )
    result = run_python("-c", code)
    assert result.stdout.decode().strip() == "[]", result.stderr.decode()


def test_importing_every_name_costs_little_more_than_importing_keras():
    """At most 1.4 times, also where all that is lazy is asked for; processor time, medians."""
    everything = "import keras_codegemma as kcg; kcg.CodeGemmaCausalLM, kcg.presets, kcg.convert, kcg.samplers"
    keras, package, names = medians("import keras", "import keras_codegemma", everything, runs=3)
    assert package <= 1.4 * keras
    assert names <= 1.4 * keras


def test_every_public_name_is_there_and_listed():
    for name in set(keras_codegemma.__all__) - {"hub"}:  # KerasHub itself: tests/test_exchange.py
        assert getattr(keras_codegemma, name) is not None
    assert set(keras_codegemma.__all__) <= set(dir(keras_codegemma))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'keras_codegemma' has no attribute 'CodeGemma'"):
        _ = keras_codegemma.CodeGemma


def test_the_package_knows_its_version():
    assert keras_codegemma.__version__ == PROJECT["version"]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> set[str]:
    """Every file in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = [Path(path) for path in WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])]
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_every_module_and_the_type_marker(wheel_names):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "keras_codegemma").rglob("*.py")}
    assert modules <= wheel_names
    assert "keras_codegemma/py.typed" in wheel_names


def test_the_wheel_holds_the_presets_where_the_registry_looks_for_them(wheel_names):
    files = {path.relative_to(ROOT / "presets").as_posix() for path in (ROOT / "presets").rglob("*") if path.is_file()}
    assert "code_gemma_tiny/model.weights.h5" in files
    assert {f"keras_codegemma/_presets/{name}" for name in files} <= wheel_names


def test_the_wheel_holds_nothing_else(wheel_names):
    folders = {name.split("/")[0] for name in wheel_names}
    assert folders == {"keras_codegemma", f"keras_codegemma-{PROJECT['version']}.dist-info"}


def test_the_lock_names_public_addresses_only():
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    for package in lock["package"]:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        sources = [package["source"].get("registry")] if package["name"] != PROJECT["name"] else []
        assert sources in ([], ["https://pypi.org/simple"])
        assert all(file["url"].startswith("https://files.pythonhosted.org/") for file in files)


def test_the_core_needs_neither_tensorflow_nor_torch_nor_keras_hub():
    needed = {requirement.split(">=")[0] for requirement in PROJECT["dependencies"]}
    assert not needed & {"tensorflow", "tensorflow-text", "torch", "keras-hub", "kagglehub", "transformers"}
