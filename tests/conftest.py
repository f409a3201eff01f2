"""What every test runs under: JAX on eight fake CPU devices, shapes checked at run time, seeded random examples.

On a machine with a GPU, `CODEGEMMA_TEST_PLATFORM=cuda python -m pytest tests/kernels -k triton` runs the GPU kernels'
tests compiled; elsewhere the same tests interpret them.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

# Before the first import of jax, which reads these once.
os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = os.environ.get("CODEGEMMA_TEST_PLATFORM", "cpu")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# What one test has compiled, the others need not, nor the workers and the programs that tests start: they inherit this.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="codegemma-tests-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import hypothesis
import jaxtyping
import pytest
from jaxtyping import install_import_hook

# Wrong shapes of annotated arrays become errors at the call. Modules imported before this line would escape it.
# Modules that users call directly are left out: there the package's own errors are what the tests look for. So are
# those with Keras layers, whose constructors Keras inspects; tests/layers wraps their functions one by one.
assert "keras_codegemma" not in sys.modules
install_import_hook(
    [f"keras_codegemma.{name}" for name in ("beam_search", "cache", "decode_state", "generation", "scoring")],
    "beartype.beartype",
)

hypothesis.settings.register_profile("repository", derandomize=True, deadline=None, print_blob=True, database=None)
hypothesis.settings.load_profile("repository")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
ON_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The reference material beside the checkout; only for tests marked `shared`."""
    if not SHARED.is_dir():
        pytest.fail(f"Tests marked 'shared' need {SHARED}; it is missing. Put it there.")
    return SHARED


@pytest.fixture
def shapes_stand_for_arrays():
    """For tests that compile whole steps: checks of annotations want arrays; there caches and states are of shapes."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


_deselected: list[str] = []
"""Which tests did not run, and why."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out what cannot run here: tests marked `shared` without ../shared, which fail on CI instead; and tests
    marked `libtpu` or `cuda` without the compiler for TPUs or GPUs, for which `.ci/run` has runs of their own.
    """
    if not SHARED.is_dir() and not ON_CI:
        _deselect(config, items, marker="shared", reason=f"{SHARED} is missing")
    if importlib.util.find_spec("libtpu") is None:
        _deselect(config, items, marker="libtpu", reason="the TPU compiler is missing (pip install libtpu)")
    if all(importlib.util.find_spec(name) is None for name in ("jax_cuda12_plugin", "jax_cuda13_plugin")):
        _deselect(config, items, marker="cuda", reason="the GPU compiler, JAX's CUDA plugin, is missing")


def _deselect(config: pytest.Config, items: list[pytest.Item], *, marker: str, reason: str) -> None:
    missing = [item for item in items if item.get_closest_marker(marker)]
    if missing:
        items[:] = [item for item in items if not item.get_closest_marker(marker)]
        config.hook.pytest_deselected(items=missing)
        _deselected.append(f"{len(missing)} tests marked '{marker}', because {reason}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """On CI a missing ../shared is a failure, also for a test that forgot the fixture."""
    if item.get_closest_marker("shared") and not SHARED.is_dir():
        pytest.fail(f"Tests marked 'shared' need {SHARED}; it is missing. Put it there, or run without CI=true.")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which tests did not run, so that nobody takes silence for success."""
    for reason in _deselected:
        terminalreporter.write_line(f"NOT RUN: {reason}.", yellow=True)
