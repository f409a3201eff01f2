"""Runs Python in a process of its own, for what only a fresh one shows: imports, exit codes, real pipes."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What the tests themselves set must not reach a fresh process.
_OURS = (
    *("KERAS_BACKEND", "XLA_FLAGS", "JAX_PLATFORMS", "TF_CPP_MIN_LOG_LEVEL", "NO_COLOR", "FORCE_COLOR"),
    *("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"),
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)


def environment(**variables: str) -> dict[str, str]:
    """A user's environment: the checkout can be imported, and only the given variables are set."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # Fresh processes of a test must not look for accelerators that the machine may have.
    return {**kept, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", **variables}


def run_python(
    *arguments: str, stdin: bytes = b"", cwd: Path | None = None, **variables: str
) -> "subprocess.CompletedProcess[bytes]":
    """`python *arguments` in a fresh process, output captured, exit code not checked."""
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(**variables),
        cwd=cwd,
        timeout=300,
        check=False,
    )


def cpu_seconds(code: str) -> float:
    """Processor time of a fresh process that runs some code; other load on the machine hardly changes it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], env=environment(KERAS_BACKEND="jax"), check=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def medians(*codes: str, runs: int) -> Sequence[float]:
    """The median of `cpu_seconds` of each code, run in turn so that a busy spell hits all of them."""
    rows = [[cpu_seconds(code) for code in codes] for _ in range(runs + 1)][1:]  # the first also fills disk caches
    return [sorted(column)[len(rows) // 2] for column in zip(*rows, strict=True)]
