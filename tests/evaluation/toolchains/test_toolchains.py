"""Looking for compilers: what is found, what is prepared once, and what is missing without an error."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from keras_codegemma.evaluation.toolchains import find_toolchains, go, kotlin
from keras_codegemma.evaluation.toolchains.toolchain import first_line, outside_usr, prepared


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "keras_codegemma" / "toolchains"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Makes a command that is first on the PATH."""
    folder = tmp_path / "tools" / "bin"
    folder.mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


def test_nothing_is_found_on_an_empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KOTLINC", raising=False)
    assert find_toolchains() == {}


def test_a_version_is_the_first_line_of_a_command_that_works(tool: Callable[[str, str], Path]) -> None:
    tool("speaks", "echo one; echo two")
    tool("whispers", "echo three >&2")
    tool("fails", "echo four; exit 1")
    tool("is-silent", "exit 0")
    said = [first_line(name, "--version") for name in ("speaks", "whispers", "fails", "is-silent", "is-not-there")]
    assert said == ["one", "three", None, None, None]


def test_a_folder_outside_usr_is_shown_to_the_box(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").write_text("")
    assert outside_usr(str(tmp_path / "bin" / "tool")) == (str(tmp_path),)
    assert outside_usr("/usr/bin/env") == ()


def test_a_cache_is_made_once_and_whole(cache: Path) -> None:
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / "file").write_text("x")

    assert prepared("thing-1", make) == prepared("thing-1", make) == cache / "thing-1"
    assert len(calls) == 1
    assert [place.name for place in cache.iterdir()] == ["thing-1"]


def test_a_cache_that_another_process_made_meanwhile_is_used(cache: Path) -> None:
    def make(folder: Path) -> None:
        (cache / "thing-1").mkdir()
        (cache / "thing-1" / "theirs").write_text("x")

    folder = prepared("thing-1", make)
    assert folder is not None
    assert (folder / "theirs").exists()


def test_a_toolchain_that_cannot_be_prepared_is_named_and_left_out(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def make(folder: Path) -> None:
        subprocess.run(["sh", "-c", "echo no disk >&2; exit 3"], check=True, capture_output=True, text=True)

    assert prepared("thing-1", make) is None
    assert "thing-1 cannot be used: sh ended with 3: no disk" in caplog.text
    assert list(cache.iterdir()) == []


def test_go_compiles_the_packages_that_it_has(tool: Callable[[str, str], Path], tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "tools"
    tool(
        "go",
        f"case $1 in version) echo go version go9.9 linux/amd64;; env) echo {root};;\n"
        f'list) echo fmt; echo sort;; build) echo x > "$GOCACHE/compiled"; cp "$4" {tmp_path}/program.go;; esac',
    )
    found = go.find()
    assert found is not None
    assert found.version == "go version go9.9 linux/amd64"
    warm = cache / "go9.9-linux-amd64"
    assert (warm / "compiled").exists()
    program = (tmp_path / "program.go").read_text()
    assert program == 'package main\nimport _ "fmt"\nimport _ "sort"\nfunc main() {}\n'
    assert str(warm) in found.read_only
    assert found.compile is not None
    assert f"cp -rs {warm}/. /tmp/cache" in found.compile[2]


@pytest.mark.parametrize("by_variable", [True, False])
def test_kotlin_is_found_by_variable_and_path(
    tool: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, by_variable: bool
) -> None:
    home = tmp_path / "kotlin"
    (home / "lib").mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "lib" / "kotlin-compiler.jar").write_text("")
    (home / "build.txt").write_text("9.9.9\n")
    compiler = home / "bin" / "kotlinc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    if by_variable:
        monkeypatch.setenv("KOTLINC", str(compiler))
    else:
        monkeypatch.delenv("KOTLINC", raising=False)
        tool("kotlinc", "").unlink()
        (tmp_path / "tools" / "bin" / "kotlinc").symlink_to(compiler)
    tool("java", f'case $1 in --version) echo openjdk 99;; *) echo "$@" >> {tmp_path}/calls;; esac')
    found = kotlin.find()
    assert found is not None
    assert found.version == "kotlinc 9.9.9, openjdk 99"
    folder = cache / "kotlin-9.9.9-openjdk-99"
    assert {str(home), str(folder)} <= set(found.read_only)
    launcher, sample = (tmp_path / "calls").read_text().splitlines()
    assert "Launcher.kt" in launcher
    assert "-XX:ArchiveClassesAtExit=" in sample
    assert found.compile is not None
    assert f"-XX:SharedArchiveFile={folder}/compiler.jsa" in found.compile


def test_kotlin_needs_its_compiler_and_a_java_runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KOTLINC", str(tmp_path / "bin" / "kotlinc"))
    assert kotlin.find() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kotlin.find() is None
