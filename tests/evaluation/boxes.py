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
    """Process ids whose command line is that of a box."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"What runs inside the boxes" in command:
                found.add(int(folder.name))
    return found
