"""The folder of a run, which says exactly how to repeat it.

run.json          recipe, data, command, versions, devices, commit: what the run is
starts.jsonl      when it was begun or gone on with, at which step, on what
metrics.jsonl     one line a logging interval, one a validation
loss.svg          the curve, written at the end
checkpoints/      see checkpoint.py
model/, adapter.safetensors   what came out: a preset, or the adapters alone
"""

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from training.corpus.manifest import write_json
from training.settings import differences

_PACKAGES = ("keras-codegemma", "jax", "jaxlib", "keras", "numpy", "orbax-checkpoint", "grain", "array-record")
_MAY_CHANGE = ("keep", "mesh", "data.workers", "data.threads")
"""Settings that change no number of the run, but for the mesh, which changes the order of sums."""


class RunFolder:
    """The files of a run, held by one process at a time, or by the processes of one job.

    Args:
        path: made if missing.
        writes: whether this process writes in it; of a job's, one does.

    Raises:
        OSError: it cannot be written to, or another process trains in it.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path.resolve()
        self._writes = writes
        self._lock = None
        if writes:
            self._hold(path)

    def _hold(self, path: Path) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise OSError(
                f"The folder of a run must be one that can be written to; {path} is not ({error.strerror}). Use "
                "another --workdir."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise OSError(
                f"One process at a time may train in a folder; another does in {path}. Wait for it, or use another "
                "--workdir."
            ) from None

    @property
    def metrics(self) -> Path:
        """The log."""
        return self.path / "metrics.jsonl"

    def close(self) -> None:
        """Lets other processes have it."""
        if self._lock is not None:
            self._lock.close()

    def check_same(self, recipe: Mapping[str, Any]) -> None:
        """Raises a ValueError where another recipe was run here, before anything is loaded.

        Logging, checkpoints kept, the mesh and the number of readers may differ.
        """
        path = self.path / "run.json"
        if not path.exists():
            return
        before = json.loads(path.read_text())["recipe"]
        if found := [name for name in differences(before, dict(recipe)) if not name.startswith(_MAY_CHANGE)]:
            raise ValueError(
                f"A run goes on with the settings it began with; in {self.path} these differ: {', '.join(found)}. Give "
                "the same ones, or a new --workdir."
            )

    def begin(self, *, recipe: Mapping[str, Any], data: Mapping[str, Any], model: Mapping[str, Any], step: int) -> None:
        """Writes down what the run is, the first time, and that it began or goes on."""
        if not self._writes:
            return
        path = self.path / "run.json"
        now = {"command": [Path(sys.executable).name, "-m", "training.train", *sys.argv[1:]], **_machine()}
        if not path.exists():
            write_json(path, {"recipe": dict(recipe), "data": dict(data), "model": dict(model), **now})
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "step": step, **now}
        with (self.path / "starts.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def kept_the_same(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without what may change from start to start."""
    data = {name: value for name, value in recipe["data"].items() if f"data.{name}" not in _MAY_CHANGE}
    return {**{name: value for name, value in recipe.items() if name not in _MAY_CHANGE}, "data": data}


def _machine() -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "host": f"{platform.machine()}, {os.cpu_count()} processors",
        "commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of this checkout, "-changed" where files differ from it; None outside git."""
    commit = _git("rev-parse", "HEAD")
    return commit if not commit else commit + ("-changed" if _git("status", "--porcelain") else "")


def _git(*arguments: str) -> str | None:
    command: Sequence[str] = ("git", "-C", str(Path(__file__).parent), *arguments)
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
