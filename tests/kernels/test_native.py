"""The optional library: built, found, refused, absent."""

import importlib
import re
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels import native
from keras_codegemma.kernels.matmul import matmul
from keras_codegemma.kernels.native import library

# The module, which the function of the same name hides.
building = importlib.import_module("keras_codegemma.kernels.native.build")


def test_without_a_library_the_reason_tells_how_to_build_it(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_CODEGEMMA_NATIVE", raising=False)
    state = library._load(tmp_path / "missing.so")
    assert state.handle is None
    assert state.reason == "they are not built; `codegemma doctor --build` does that"


def test_the_library_can_be_turned_off(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_CODEGEMMA_NATIVE", "0")
    assert library._load(tmp_path / "missing.so").reason == "KERAS_CODEGEMMA_NATIVE=0 turns them off"


@pytest.mark.parametrize("contents", [b"", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xb7\x00" + bytes(44)])
def test_a_damaged_library_or_one_for_another_processor_is_refused(monkeypatch, tmp_path, contents):
    monkeypatch.delenv("KERAS_CODEGEMMA_NATIVE", raising=False)
    path = tmp_path / "library.so"
    path.write_bytes(contents)  # the second is the head of a library for aarch64
    state = library._load(path)
    assert state.handle is None
    assert state.reason.startswith(f"{path} cannot be opened (")
    assert state.reason.endswith("`codegemma doctor --build --force` builds it again")


def test_a_library_of_another_interface_is_refused(native_library, monkeypatch):
    ours = library.INTERFACE
    monkeypatch.setattr(library, "INTERFACE", 99)
    monkeypatch.delenv("KERAS_CODEGEMMA_NATIVE", raising=False)
    path = native.library_path()
    if not path.is_file():  # the fixture built it into a cache of its own
        path = Path(next(path for path in _open_libraries() if "codegemma" in path))
    assert library._load(path).reason == f"{path} has interface {ours}, not 99; build it again"


def _open_libraries() -> list[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[-1] for line in lines if line.endswith(".so")]


def test_building_without_a_compiler_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=re.escape("none is on the path. Install one (Debian: g++;")):
        native.build()
    assert not list(tmp_path.rglob("*.so"))


def test_a_failing_compiler_is_quoted(monkeypatch, tmp_path):
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho unknown argument >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(RuntimeError, match=r"failed: unknown argument\. Set CXX to a newer one"):
        native.build()
    assert not list(tmp_path.rglob("*.so"))


def test_the_librarys_name_follows_the_sources(monkeypatch, tmp_path):
    before = native.library_path().name
    for file in building.SOURCE.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pool.cc").write_text("// changed\n")
    building._key.cache_clear()
    monkeypatch.setattr(building, "SOURCE", tmp_path)
    assert native.library_path().name != before
    building._key.cache_clear()


def test_levels_that_do_not_exist_are_refused(any_level):
    with pytest.raises(ValueError, match="got 'avx1024': there is no such level"):
        native.limit_level("avx1024")
    native.limit_level("portable")
    assert native.level("bfloat16") == native.level("float32") == "portable"


def test_calls_from_several_threads_do_not_disturb_each_other(native_library):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 512)), jnp.bfloat16)
    weights = [jnp.asarray(rng.normal(size=(512, 96)), jnp.bfloat16) for _ in range(4)]
    product = jax.jit(lambda x, w: matmul(x, w, layout="inputs_first", implementation="native"))
    expected = [np.asarray(product(x, weight)) for weight in weights]
    wrong = []

    def work(index: int) -> None:
        for _ in range(50):
            if not np.array_equal(np.asarray(product(x, weights[index])), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
