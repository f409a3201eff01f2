"""The command as a whole: help, exit codes, errors in one line."""

import click
import pytest

from keras_codegemma import __version__
from keras_codegemma.cli import COMMANDS, presets, runtime


def test_help_lists_the_commands(codegemma):
    result = codegemma("--help")
    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(codegemma, name):
    result = codegemma(name, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: codegemma {name} ")


def test_version(codegemma):
    assert codegemma("--version").stdout == f"codegemma, version {__version__}\n"


def test_no_command_shows_the_help_as_an_error(codegemma):
    result = codegemma()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: codegemma")


def test_an_unknown_command_is_wrong_use(codegemma):
    result = codegemma("complte")
    assert result.exit_code == 2
    assert result.stderr.startswith("codegemma: No such command 'complte'.")
    assert result.stderr.count("\n") == 1


def failing(monkeypatch, error):
    @click.command()
    @click.option("--debug", is_flag=True, expose_value=False)
    def command():
        raise error

    monkeypatch.setattr(presets, "command", command)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("This must hold;\nthat came. Do so."), 1, "codegemma: This must hold; that came. Do so.\n"),
        (FileNotFoundError("There is none."), 1, "codegemma: There is none.\n"),
        (ImportError("Install it."), 1, "codegemma: Install it.\n"),
        (
            KeyError("lost"),
            1,
            "codegemma: this should not happen, KeyError: 'lost'. Run it again with --debug to see where, and report "
            "that.\n",
        ),
        (KeyboardInterrupt(), 130, "\ncodegemma: interrupted.\n"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(codegemma, monkeypatch, error, code, line):
    failing(monkeypatch, error)
    result = codegemma("presets")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", line)


def test_debug_shows_a_traceback(codegemma, tmp_path):
    result = codegemma("presets", "fetch", "code_gemma_tiny", "--revision", "2", "--debug")
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.splitlines()[-1].startswith("codegemma: A revision belongs to")


# What is set before JAX starts.


def test_the_cache_lies_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert runtime.cache_folder() == tmp_path / "keras_codegemma"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert runtime.cache_folder() == tmp_path / "home" / ".cache" / "keras_codegemma"
    monkeypatch.setattr("sys.platform", "darwin")
    assert runtime.cache_folder() == tmp_path / "home" / "Library" / "Caches" / "keras_codegemma"


def test_a_folder_that_cannot_be_made_is_no_cache(tmp_path):
    (tmp_path / "file").write_text("")
    assert runtime._writable(tmp_path / "file" / "xla") is None
    assert runtime._writable(tmp_path / "new" / "xla") == tmp_path / "new" / "xla"
