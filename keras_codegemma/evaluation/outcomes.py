"""What became of a program: the verdict, and what the end of its box says."""

import subprocess
from dataclasses import dataclass

from keras_codegemma.evaluation.sandbox import Box

VERDICTS = ("passed", "failed", "error", "compile_error", "timeout", "output_limit", "killed")
"""A test was wrong; an exception or early end; does not compile; limits of time, output and memory."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a program: one of `VERDICTS`, the reason in words, and seconds on the clock."""

    verdict: str
    detail: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return self.verdict == "passed"


def natural_status(box: Box) -> int | None:
    """The exit status of a box that ends by itself, or None where it still runs after half a second."""
    try:
        return box.process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:  # the caller kills it
        return None


KILLED = (137, 152, -9, -24)
"""128 + SIGKILL or SIGXCPU, as bubblewrap reports them, or their negatives from a plain process."""
