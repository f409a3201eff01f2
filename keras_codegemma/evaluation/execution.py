"""Verdicts on generated programs: each is run in a box of its own, against tests that it cannot see.

Off unless asked for: `Executor` wants `allow_execution=True`. What the boxes stop, and what not, is written in
`sandbox`; why a verdict cannot be forged, in `in_box`. Programs in other languages than Python print their results,
see `commands`.
"""

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from keras_codegemma.evaluation import in_box
from keras_codegemma.evaluation.commands import CommandJob, run_commands
from keras_codegemma.evaluation.in_box.wire import Channel, ProgramEnded
from keras_codegemma.evaluation.outcomes import KILLED, VERDICTS, Outcome, natural_status
from keras_codegemma.evaluation.sandbox import PYTHON, Box, Limits, Sandbox

__all__ = ["VERDICTS", "CommandJob", "Executor", "Outcome", "PythonJob"]


@dataclass(frozen=True, kw_only=True)
class PythonJob:
    """A Python program and its tests.

    Attributes:
        program: source; its module level is run, under another name than `__main__`.
        tests: source that uses the program's names; it passes by ending without an exception.
        entry_point: the function asked for, where it may have the name of a built-in one.
        printed_ids: for tests that print `TEST-<id>...PASSED` (BabelCode): all these ids must have passed.
        limits: of the program's box.
    """

    program: str
    tests: str
    entry_point: str = ""
    printed_ids: tuple[str, ...] | None = None
    limits: Limits = field(default_factory=Limits)


class Executor:
    """Runs jobs, several at a time, each in a fresh box; the next interpreters start while programs run.

    Args:
        sandbox: where programs run.
        workers: programs at a time.
        allow_execution: must be True: the programs were written by a model.

    Raises:
        PermissionError: execution was not allowed.
    """

    def __init__(self, sandbox: Sandbox, *, workers: int = 2, allow_execution: bool = False):
        if allow_execution is not True:
            raise PermissionError(
                "Running generated programs must be allowed explicitly; got "
                f"allow_execution={allow_execution!r}. Read `sandbox` on what the box does not stop, then pass True."
            )
        self.sandbox = sandbox
        self._local = threading.local()
        self._slots: list[_PythonSlot] = []
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="codegemma-box")

    def run(self, jobs: Iterable[PythonJob | CommandJob]) -> Iterator[Outcome]:
        """The outcome of each job, in the order of the jobs."""
        return self._pool.map(self._run_one, jobs)

    def close(self) -> None:
        """Ends every process that was started."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        # The boxes end with the thread that started them, so the slots go first.
        for slot in self._slots:
            slot.close()
        self._pool.shutdown(wait=True)

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_one(self, job: PythonJob | CommandJob) -> Outcome:
        if isinstance(job, CommandJob):
            return run_commands(self.sandbox, job)
        if not hasattr(self._local, "slot"):
            self._local.slot = _PythonSlot(self.sandbox)
            self._slots.append(self._local.slot)
        return self._local.slot.run(job)


# Python programs


@dataclass(frozen=True, kw_only=True)
class _Warm:
    """An interpreter that waits for a program, with our end of its socket."""

    box: Box
    channel: socket.socket
    limits: Limits


class _PythonSlot:
    """Runs one program at a time; keeps a checker and one waiting interpreter."""

    def __init__(self, sandbox: Sandbox):
        self._sandbox = sandbox
        self._warm: _Warm | None = None
        self._checker: Box | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def run(self, job: PythonJob) -> Outcome:
        """One program against its tests."""
        warm = self._take_warm(job.limits)
        ours, theirs = socket.socketpair()
        try:
            self._send_to_checker(warm.channel, theirs)
            theirs.close()
            warm.channel.close()
            limits = job.limits
            message = {"tests": job.tests, "printed_ids": job.printed_ids, "entry_point": job.entry_point}
            message |= {"cpu_seconds": limits.cpu_seconds, "wall_seconds": limits.wall_seconds}
            Channel(ours.fileno()).send(message)
            start = time.monotonic()
            _feed(warm.box, job.program)
            self._warm = None if self._closed else self._start_program(job.limits)
            reply, end = _listen(warm.box, ours, start + limits.wall_seconds, limits.output_bytes)
            outcome = _outcome(reply, end, warm.box, time.monotonic() - start, limits)
            if end == "verdict":
                # With the checker's fork gone the program's socket is closed, and it ends by itself. A box that is
                # killed instead leaves a dead process to the machine's first one, which in a container may not
                # collect them.
                natural_status(warm.box)
            return outcome
        finally:
            ours.close()
            warm.box.close()

    def close(self) -> None:
        """Ends the checker and the waiting interpreter."""
        self._closed = True
        if self._warm is not None:
            self._warm.channel.close()
            self._warm.box.close()
        if self._control is not None:
            self._control.close()
        if self._checker is not None:
            self._checker.close()

    def _take_warm(self, limits: Limits) -> _Warm:
        warm, self._warm = self._warm, None
        if warm is not None and warm.limits == limits and warm.box.process.poll() is None:
            return warm
        if warm is not None:
            warm.channel.close()
            warm.box.close()
        return self._start_program(limits)

    def _start_program(self, limits: Limits) -> _Warm:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [*PYTHON, *in_box.command("program", theirs.fileno())]
            box = self._sandbox.start(command, limits=limits, keep_fds=[theirs.fileno()])
        return _Warm(box=box, channel=ours, limits=limits)

    def _send_to_checker(self, program: socket.socket, verdict: socket.socket) -> None:
        if self._checker is None or self._checker.process.poll() is not None:
            if self._checker is not None:
                self._checker.close()
            self._control, theirs = socket.socketpair()
            with theirs:
                command = [*PYTHON, *in_box.command("checker", theirs.fileno())]
                # Its forks set limits of their own; the server itself lives as long as the slot.
                limits = Limits(cpu_seconds=24 * 3600)
                self._checker = self._sandbox.start(command, limits=limits, keep_fds=[theirs.fileno()])
        assert self._control is not None
        socket.send_fds(self._control, [b"j"], [program.fileno(), verdict.fileno()])


def _feed(box: Box, program: str) -> None:
    assert box.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        box.process.stdin.write(program.encode("utf-8", "surrogatepass"))
        box.process.stdin.close()


def _listen(box: Box, verdict: socket.socket, deadline: float, most_bytes: int) -> tuple[dict[str, Any], str]:
    """Waits for the verdict, reading what the program prints; returns it and what ended the wait.

    The end is "verdict", "timeout", "output_limit", or "silence" where the checker went without a word.
    """
    assert box.process.stdout is not None
    printed = 0
    with selectors.DefaultSelector() as selector:
        selector.register(verdict, selectors.EVENT_READ)
        selector.register(box.process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if key.fileobj is verdict:
                    try:
                        return dict(Channel(verdict.fileno()).receive()), "verdict"
                    except (ProgramEnded, ConnectionError):
                        return {}, "silence"
                piece = os.read(box.process.stdout.fileno(), 1 << 16)
                printed += len(piece)
                if printed > most_bytes:
                    return {}, "output_limit"
                if not piece:
                    selector.unregister(box.process.stdout)
    return {}, "timeout"


def _outcome(reply: dict[str, Any], end: str, box: Box, seconds: float, limits: Limits) -> Outcome:
    if end == "timeout":
        return Outcome(verdict="timeout", detail=f"over {limits.wall_seconds} s on the clock", seconds=seconds)
    if end == "output_limit":
        return Outcome(verdict=end, detail=f"printed over {limits.output_bytes} bytes", seconds=seconds)
    verdict, detail = str(reply.get("verdict", "error")), str(reply.get("detail", "the checker was ended"))
    if verdict == "error" and (end == "silence" or detail.startswith("ProgramEnded")):
        status = natural_status(box)
        if status in KILLED:
            used_up = seconds >= 0.9 * limits.cpu_seconds
            verdict = "timeout" if used_up else "killed"
            detail = f"over {limits.cpu_seconds} s of processor time" if used_up else "ended by SIGKILL (memory?)"
    return Outcome(verdict=verdict if verdict in VERDICTS else "error", detail=detail, seconds=seconds)
