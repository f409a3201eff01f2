"""The native library, built once for the tests that need it."""

import pytest

from keras_codegemma.kernels import native
from keras_codegemma.kernels.native.build import compiler
from tests.conftest import ON_CI


@pytest.fixture(scope="session")
def native_library(tmp_path_factory):
    """Builds the CPU kernels into a folder of the tests, unless this process has them; 5 s on two quiet cores."""
    if native.absence() is None:
        return
    if compiler() is None:
        (pytest.fail if ON_CI else pytest.skip)("The CPU kernels are tested where a C++ compiler is; there is none.")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KERAS_CODEGEMMA_NATIVE", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        native.build()
        assert native.absence() is None


@pytest.fixture
def any_level(native_library):
    """Takes the limit on instruction set levels away again."""
    yield
    native.limit_level(None)


@pytest.fixture
def best_level(native_library):
    """For kernels that the level avx512_bf16 alone has."""
    if native.level("bfloat16") != "avx512_bf16":
        pytest.skip(f"it needs avx512_bf16; this processor has {native.level('bfloat16')}")
