"""What the tests of the sandbox share: a box that holds, or the reason why not, and a look at what still runs."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keras_codegemma.evaluation.execution import Executor
from keras_codegemma.evaluation.sandbox import Bubblewrap, SandboxUnavailableError

ON_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.fixture(scope="session")
def bubblewrap() -> Iterator[Bubblewrap]:
    """The sandbox. Where the machine has none, the tests that need it say so; on CI they fail."""
    try:
        sandbox = Bubblewrap()
    except SandboxUnavailableError as error:
        if ON_CI:
            pytest.fail(str(error))
        pytest.skip(f"NOT RUN: {error}")
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="session")
def executor(bubblewrap: Bubblewrap) -> Iterator[Executor]:
    """Runs programs in the sandbox, two at a time."""
    with Executor(bubblewrap, workers=2, allow_execution=True) as running:
        yield running


@pytest.fixture(scope="session")
def lone_executor(bubblewrap: Bubblewrap) -> Iterator[Executor]:
    """Runs one program at a time, so that what still runs afterwards can be counted."""
    with Executor(bubblewrap, workers=1, allow_execution=True) as running:
        yield running


def settled_processes_of_boxes() -> set[int]:
    """The same, when nothing starts or ends any more."""
    last, since, deadline = processes_of_boxes(), time.monotonic(), time.monotonic() + 10
    while time.monotonic() < deadline and time.monotonic() - since < 0.4:
        time.sleep(0.05)
        now = processes_of_boxes()
        if now != last:
            last, since = now, time.monotonic()
    return last


def processes_of_boxes() -> set[int]:
    """Processes of boxes that this test process started, or that nobody looks after any more."""
    boxes = {int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit() and _is_box(folder)}
    return {pid for pid in boxes if _is_ours(pid, boxes)}


def _is_box(folder: Path) -> bool:
    return b"What runs inside the boxes" in _read(folder / "cmdline")


def _is_ours(pid: int, boxes: set[int]) -> bool:
    """Whether it descends from us, or from no Python at all: tests may run beside us in other processes."""
    owner = 0
    while pid > 1:
        # The name, which comes second and in brackets, may hold blanks.
        fields = _read(Path("/proc", str(pid), "stat")).rpartition(b")")[2].split()
        pid = int(fields[1]) if fields else 0
        if pid == os.getpid():
            return True
        if pid not in boxes and not owner:
            owner = pid
    return b"python" not in _read(Path("/proc", str(owner), "cmdline"))


def processes_below() -> set[int]:
    """Every process that descends from this one, when nothing starts or ends any more: boxes of any language.

    A box is a process space of its own whose first process is ours, so what it leaves behind is found below us.
    """
    last, since, deadline = _descendants(), time.monotonic(), time.monotonic() + 10
    while time.monotonic() < deadline and time.monotonic() - since < 0.4:
        time.sleep(0.05)
        now = _descendants()
        if now != last:
            last, since = now, time.monotonic()
    return last


def processes_with(arguments: bytes) -> set[int]:
    """Processes whose command line begins with these arguments, divided by zero bytes."""
    folders = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return {int(folder.name) for folder in folders if _read(folder / "cmdline").startswith(arguments)}


def _descendants() -> set[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        fields = _read(folder / "stat").rpartition(b")")[2].split() if folder.name.isdigit() else []
        if fields and fields[0] != b"Z":
            parents[int(folder.name)] = int(fields[1])
    found, grown = {os.getpid()}, True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in found} - found
        found, grown = found | below, bool(below)
    return found - {os.getpid()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
