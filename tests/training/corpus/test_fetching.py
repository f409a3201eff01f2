"""Fetching: the clients' commands, hashes, and that what is there is not brought again."""

import hashlib
from pathlib import Path

import pytest

from training.corpus import fetching
from training.corpus.fetching import FetchError, command, fetch
from training.corpus.recipe import Source

DATA = b"a package"


def source(kind: str = "npm", **fields: str) -> Source:
    values = {"name": "thing", "version": "1.2", "file": "thing-1.2.tgz", "sha256": hashlib.sha256(DATA).hexdigest()}
    return Source(kind=kind, **{**values, **fields})


def client(monkeypatch: pytest.MonkeyPatch, *, brings: bytes | None, says: str = "") -> list[list[str]]:
    """Puts a stand-in for the clients in place; gives the commands it is called with."""
    calls = []

    def run(call, *, cwd, **_):
        calls.append(call)
        if brings is not None:
            (Path(cwd) / "thing-1.2.tgz").write_bytes(brings)

        class Done:
            stderr, stdout = says, ""

        return Done()

    monkeypatch.setattr(fetching.subprocess, "run", run)
    return calls


def test_packages_are_brought_once_and_checked_each_time(tmp_path, monkeypatch):
    calls = client(monkeypatch, brings=DATA)
    assert fetch([source(), Source(kind="path", name="/x")], tmp_path) == 1
    assert fetch([source()], tmp_path) == 0
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["thing-1.2.tgz"]
    (tmp_path / "thing-1.2.tgz").write_bytes(b"changed")
    with pytest.raises(FetchError, match=r"1 of 1 packages are missing:\nthing-1.2.tgz must have the sha256 .*; got"):
        fetch([source()], tmp_path)


def test_another_file_than_the_recipe_means_is_not_kept(tmp_path, monkeypatch):
    client(monkeypatch, brings=b"something else")
    with pytest.raises(FetchError, match="It is not the file that the recipe was written for: delete it"):
        fetch([source()], tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_failure_is_named_when_all_have_been_tried(tmp_path, monkeypatch):
    client(monkeypatch, brings=None, says="no such package")
    others = [source(), source("debian", name="stuff", file="stuff_1.orig.tar.gz")]
    with pytest.raises(FetchError, match="2 of 2 packages are missing") as error:
        fetch(others, tmp_path)
    assert "must bring thing-1.2.tgz; it did not: no such package. Correct the recipe" in str(error.value)
    assert "apt-get source --quiet=2 --download-only --tar-only --only-source stuff=1.2" in str(error.value)


def test_a_client_that_is_not_installed_is_named(tmp_path, monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("npm")

    monkeypatch.setattr(fetching.subprocess, "run", missing)
    with pytest.raises(FetchError, match=r"npm packages need npm; it is not installed \(thing-1.2.tgz\). Install it"):
        fetch([source()], tmp_path)


def test_each_kind_has_its_client(tmp_path):
    pip = command(source("pypi", file="thing-1.2.tar.gz"), tmp_path)
    assert pip[1:4] == ["-m", "pip", "download"]
    assert pip[-1] == "thing==1.2"
    assert {"--no-deps", "--no-binary"} <= set(pip)
    assert command(source(), tmp_path) == ["npm", "pack", "--silent", "--pack-destination", str(tmp_path), "thing@1.2"]
