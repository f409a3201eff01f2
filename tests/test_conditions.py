"""What tests run under: the fake devices, and tests that need ../shared where it is missing."""

import shutil

import jax
import keras

from tests.fresh_process import ROOT, run_python

TEST = """
import pytest

@pytest.mark.shared
def test_that_needs_it(shared_dir): pass

def test_that_does_not(): pass
"""


def run_without_shared(folder, **variables):
    """Pytest in a checkout beside which there is no `shared`: exit code and output."""
    checkout = folder / "checkout"
    (checkout / "tests").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    shutil.copy(ROOT / "tests" / "conftest.py", checkout / "tests")
    (checkout / "tests" / "test_one.py").write_text(TEST)
    result = run_python("-m", "pytest", "-p", "no:cacheprovider", "tests", cwd=checkout, **variables)
    return result.returncode, result.stdout.decode()


def test_without_shared_its_tests_are_left_out_and_the_report_says_so(tmp_path):
    code, output = run_without_shared(tmp_path, CI="")
    assert code == 0
    assert f"NOT RUN: 1 tests marked 'shared', because {tmp_path / 'shared'} is missing." in output
    assert "1 passed, 1 deselected" in output


def test_on_ci_a_missing_shared_is_a_failure(tmp_path):
    code, output = run_without_shared(tmp_path, CI="true")
    assert code == 1
    assert f"Tests marked 'shared' need {tmp_path / 'shared'}; it is missing." in output
    assert "1 passed, 1 error" in output or "1 failed, 1 passed" in output


def test_there_are_eight_devices_of_the_jax_backend():
    assert keras.backend.backend() == "jax"
    assert [device.platform for device in jax.devices()] == ["cpu"] * 8
