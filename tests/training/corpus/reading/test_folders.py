"""Folders and git repositories as they are found on disks, loops and rubbish included."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from training.corpus import reading
from training.corpus.document import Dropped, RawFile
from training.corpus.reading import folders
from training.corpus.reading.origin import Limits


def read(folder: Path, **limits: int) -> tuple[dict[str, bytes], Counter[str]]:
    items = list(folders.read(folder, limits=Limits(**limits) if limits else None))
    files = {item.path: item.data for item in items if isinstance(item, RawFile)}
    reasons = Counter(item.reason for item in items if isinstance(item, Dropped))
    assert len(files) + reasons.total() == len(items)
    return files, reasons


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_bytes(b"x = 1\r\n")
    (folder / "pyproject.toml").write_text('[project]\nlicense = "MIT"\n')
    (folder / ".gitignore").write_text("ignored\n")
    (folder / "ignored").write_text("no")
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_every_file_of_a_folder_is_read(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_bytes(b"1\r\n")
    (tmp_path / "LICENSE").write_bytes(b"")
    assert read(tmp_path) == ({"a/b.py": b"1\r\n", "LICENSE": b""}, Counter())


def test_a_folder_names_its_repository_and_finds_its_licence(tmp_path: Path):
    (tmp_path / "Cargo.toml").write_text('[package]\nlicense = "MIT OR Apache-2.0"\n')
    (item,) = reading.read(tmp_path)
    assert isinstance(item, RawFile)
    assert (item.repository, item.revision) == (f"folder:{tmp_path.name}", "unversioned")
    assert item.licence == "MIT OR Apache-2.0"


def test_links_are_dropped_so_that_loops_end(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"1")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "file").symlink_to("/etc/passwd")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert read(tmp_path) == ({"real/a": b"1"}, Counter({"link": 3}))


def test_special_files_are_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    assert read(tmp_path) == ({}, Counter({"special-file": 1}))


def test_a_line_of_100_mb_is_not_read(tmp_path: Path):
    with (tmp_path / "line.py").open("wb") as file:
        file.truncate(100 << 20)
    assert read(tmp_path) == ({}, Counter({"too-large": 1}))


def test_names_that_would_break_a_path_line_are_dropped(tmp_path: Path):
    (tmp_path / "a\nb").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"")
    assert read(tmp_path) == ({}, Counter({"bad-name": 2}))


def test_an_error_while_reading_concerns_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    plain = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert read(tmp_path) == ({"b": b"2"}, Counter({"unreadable": 1}))


def test_an_empty_folder_is_counted(tmp_path: Path):
    assert read(tmp_path) == ({}, Counter({"empty-repository": 1}))


def test_what_is_not_there_or_not_known_is_one_dropped_file(tmp_path: Path):
    (tmp_path / "x.bin").write_bytes(b"nothing")
    for name, reason in (("absent", "missing"), ("x.bin", "unknown-format")):
        (item,) = reading.read(tmp_path / name)
        assert isinstance(item, Dropped)
        assert (item.path, item.reason) == (name, reason)


def test_a_git_repository_is_read_at_its_commit(repository: Path):
    (repository / "new.py").write_text("never added")
    (repository / "src" / "a.py").write_text("changed since")
    files, reasons = read(repository)
    assert set(files) == {"src/a.py", "pyproject.toml", ".gitignore"}
    assert files["src/a.py"] == b"x = 1\r\n"
    assert not reasons
    items = [item for item in folders.read(repository) if isinstance(item, RawFile)]
    assert {item.revision for item in items} == {git(repository, "rev-parse", "HEAD")}
    assert {item.licence for item in items} == {"MIT"}


def test_links_large_files_and_submodules_of_a_commit_are_dropped(repository: Path):
    (repository / "link").symlink_to("/etc/passwd")
    (repository / "large").write_bytes(bytes(101))
    git(repository, "add", ".")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{git(repository, 'rev-parse', 'HEAD')},module")
    git(repository, "commit", "-q", "-m", "two")
    files, reasons = read(repository, file_bytes=100)
    assert len(files) == 3
    assert reasons == Counter({"link": 1, "too-large": 1, "submodule": 1})


def test_names_beyond_ascii_come_through_git(repository: Path):
    (repository / "é ü").write_bytes(b"1")
    (repository / "a\nb").write_bytes(b"1")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "two")
    files, reasons = read(repository)
    assert "é ü" in files
    assert reasons == Counter({"bad-name": 1})


def test_a_repository_s_own_configuration_runs_nothing(repository: Path, tmp_path: Path):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\ncat\n")
    program.chmod(0o755)
    (repository / ".gitattributes").write_text("* filter=f diff=f\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "two")
    for key in ("core.fsmonitor", "filter.f.smudge", "filter.f.clean", "diff.f.textconv"):
        git(repository, "config", key, str(program))
    assert len(read(repository)[0]) == 4
    assert not (tmp_path / "was-run").exists()


def test_a_repository_without_a_commit_is_counted(tmp_path: Path):
    git(tmp_path, "init", "-q", ".")
    assert read(tmp_path) == ({}, Counter({"empty-repository": 1}))


def test_a_commit_without_files_is_counted(tmp_path: Path):
    git(tmp_path, "init", "-q", ".")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "nothing")
    assert read(tmp_path) == ({}, Counter({"empty-repository": 1}))


def test_a_broken_repository_is_counted(tmp_path: Path):
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    (tmp_path / "a").write_text("1")
    assert read(tmp_path) == ({}, Counter({"broken-repository": 1}))


def test_a_missing_object_concerns_one_file(repository: Path):
    object_id = git(repository, "rev-parse", "HEAD:.gitignore")
    (repository / ".git" / "objects" / object_id[:2] / object_id[2:]).unlink()
    files, reasons = read(repository)
    assert (set(files), reasons) == ({"src/a.py", "pyproject.toml"}, Counter({"unreadable": 1}))
