"""Reads the files of a git repository's HEAD commit from its objects, with one `git cat-file` for all.

Nothing of the work tree is used, and no hook, filter or file system monitor that the repository's own
configuration names is run: a repository from elsewhere is data.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from training.corpus import licences
from training.corpus.document import Dropped, RawFile
from training.corpus.reading.origin import Limits, Origin, UnsafeNameError, clean_path, printable

_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-replace-objects", "--literal-pathspecs")


class GitError(Exception):
    """What git said on its way out."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    mode: str
    object_id: str
    size_bytes: int
    name: str


def read(
    folder: Path, *, repository: str, revision: str | None, licence: str | None, limits: Limits
) -> Iterator[RawFile | Dropped]:
    """Every file of the HEAD commit in git's order; see `folders.read`."""
    origin = Origin(repository=repository, revision=revision or "no-commit", licence=licence)
    try:
        commit = _run(folder, "rev-parse", "--quiet", "--verify", "HEAD^{commit}", may_fail=True).decode().strip()
        if not commit:
            _run(folder, "rev-parse", "--git-dir")  # tells a broken repository from one without a commit
            yield origin.dropped(".", reason="empty-repository", detail="no commit")
            return
        entries = list(_entries(_run(folder, "ls-tree", "-r", "-z", "--long", "--full-tree", commit)))
        with _Objects.of(folder) as objects:
            metadata = {} if licence else _metadata(entries, objects)
            origin = Origin(
                repository=repository,
                revision=revision or commit,
                licence=licence or licences.of_repository(metadata),
                licence_of=licences.of_paths(metadata),
            )
            for entry in entries:
                yield _file(entry, objects=objects, origin=origin, limits=limits)
        if not entries:
            yield origin.dropped(".", reason="empty-repository")
    except GitError as error:
        yield origin.dropped(".", reason="broken-repository", detail=str(error))


def _run(folder: Path, *arguments: str, may_fail: bool = False) -> bytes:
    done = subprocess.run(_command(folder, *arguments), capture_output=True, env=_environment(), check=False)
    if done.returncode and not may_fail:
        raise GitError(done.stderr.decode("utf-8", "replace").strip() or f"git ended with {done.returncode}")
    return b"" if done.returncode else done.stdout


def _command(folder: Path, *arguments: str) -> list[str]:
    return ["git", *_SAFE, "-C", str(folder), *arguments]


def _environment() -> dict[str, str]:
    """Without variables that lead git to another repository; objects of a partial clone are not fetched."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _entries(listing: bytes) -> Iterator[_Entry]:
    for line in filter(None, listing.split(b"\0")):
        facts, _, name = line.partition(b"\t")
        mode, _, object_id, size = facts.decode().split()
        size_bytes = int(size) if size.isdigit() else 0
        yield _Entry(mode=mode, object_id=object_id, size_bytes=size_bytes, name=os.fsdecode(name))


@dataclass(frozen=True)
class _Objects:
    """A running `git cat-file --batch`."""

    requests: IO[bytes]
    answers: IO[bytes]

    @classmethod
    @contextmanager
    def of(cls, folder: Path) -> Iterator["_Objects"]:
        with subprocess.Popen(
            _command(folder, "cat-file", "--batch"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        ) as process:
            try:
                yield cls(cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout))
            finally:
                process.kill()

    def read(self, object_id: str) -> bytes | None:
        """An object's bytes, None if the repository lacks it (a partial clone).

        Raises:
            GitError: git ended.
        """
        try:
            self.requests.write(f"{object_id}\n".encode())
            self.requests.flush()
        except OSError as error:
            raise GitError("git cat-file ended early") from error
        header = self.answers.readline().split()
        if len(header) == 2:
            return None
        if len(header) != 3:
            raise GitError("git cat-file ended early")
        data = self.answers.read(int(header[2]) + 1)
        if len(data) != int(header[2]) + 1:
            raise GitError("git cat-file ended early")
        return data[:-1]


def _metadata(entries: list[_Entry], objects: _Objects) -> dict[str, bytes]:
    wanted = [
        entry
        for entry in entries
        if entry.mode.startswith("100") and entry.size_bytes <= licences.METADATA_BYTES
        if licences.is_metadata(entry.name)
    ]
    return {entry.name: objects.read(entry.object_id) or b"" for entry in wanted}


def _file(entry: _Entry, *, objects: _Objects, origin: Origin, limits: Limits) -> RawFile | Dropped:
    size = entry.size_bytes
    if entry.mode == "120000":
        return origin.dropped(printable(entry.name), reason="link", size_bytes=size)
    if entry.mode == "160000":
        return origin.dropped(printable(entry.name), reason="submodule")
    try:
        name = clean_path(entry.name)
    except UnsafeNameError as error:
        return origin.dropped(printable(entry.name), reason=error.reason, size_bytes=size)
    if size > limits.file_bytes:
        return origin.dropped(name, reason="too-large", size_bytes=size, detail=f"above {limits.file_bytes}")
    data = objects.read(entry.object_id)
    if data is None:
        return origin.dropped(name, reason="unreadable", size_bytes=size, detail="the repository lacks this object")
    return origin.file(name, data)
