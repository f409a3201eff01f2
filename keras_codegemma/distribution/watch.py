"""Ends this process, with a message, when another of the job is gone: a step that waits for it would wait forever.

Each process writes a counter into the coordination service every second, and reads everybody's. The thread runs
while the main one waits in a collective or compiles, since both let go of Python's lock.
"""

import atexit
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import jax

LOST_EXIT_CODE = 76
"""Of a process that ends because another was lost."""

_BEAT_SECONDS = 1.0
_GRACE_SECONDS = 4.0
"""Process 0 holds the coordinator: it stays so much longer, so that the others read its message and not its absence."""

_FOLDER = "keras_codegemma/watch"
_DONE = "done"


class Watch(threading.Thread):
    """Watches the other processes of a job.

    Args:
        client: of the coordination service.
        index: of this process.
        count: of all.
        lost_seconds: a process whose counter stands still for so long is lost.
    """

    def __init__(self, client: Any, *, index: int, count: int, lost_seconds: float):
        super().__init__(name="keras_codegemma watch", daemon=True)
        self._client = client
        self._index = index
        self._count = count
        self._lost_seconds = lost_seconds
        self._stopped = threading.Event()
        self._seen: dict[int, tuple[str, float]] = {}

    def start(self) -> None:
        """Begins to watch; what ends this process from now on is told to the others."""
        self._write("host", f"{socket.gethostname()}, pid {os.getpid()}")
        self._seen = {index: ("", time.monotonic()) for index in range(self._count) if index != self._index}
        previous = sys.excepthook

        def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            previous(kind, error, trace)
            # JAX's errors are mostly the consequence of another's end: the watch goes on and finds out whose.
            if not issubclass(kind, (jax.errors.JaxRuntimeError, KeyboardInterrupt)):
                self.end(f"failed: {kind.__name__}: {error}", code=1)

        sys.excepthook = report
        atexit.register(self._finish)  # before JAX's own, which waits for all processes
        super().start()

    def run(self) -> None:
        """Beats and reads, until the process ends."""
        beat = 0
        while not self._stopped.wait(_BEAT_SECONDS):
            beat += 1
            try:
                self._write("beat", str(beat))
                found = dict(self._client.key_value_dir_get(f"{_FOLDER}/"))
            except jax.errors.JaxRuntimeError as error:
                if not self._stopped.is_set():
                    self._leave(f"the coordinator on process 0 cannot be reached ({str(error).splitlines()[0]})")
                return
            if (reason := self._lost(found, now=time.monotonic())) and not self._stopped.is_set():
                self._leave(reason)

    def _lost(self, found: Mapping[str, str], *, now: float) -> str | None:
        """What is wrong with the other processes, by what stands in the coordination service."""
        values = {key.removeprefix(f"{_FOLDER}/"): value for key, value in found.items()}
        for index, (last, since) in self._seen.items():
            name = f"process {index} of {self._count} ({values.get(f'host/{index}', 'never heard of')})"
            if reason := values.get(f"end/{index}"):
                if reason != _DONE:
                    return f"{name} {reason}"
                continue
            beat = values.get(f"beat/{index}", "")
            if beat != last:
                self._seen[index] = (beat, now)
            elif now - since > self._lost_seconds:
                return f"{name} has been silent for {now - since:.0f} seconds"
        return None

    def _finish(self) -> None:
        # After an error of JAX's the watch goes on while JAX waits for the others: one of them is to blame.
        if getattr(sys, "last_value", None) is None:
            self._stopped.set()
            self._write("end", _DONE)

    def end(self, reason: str, *, code: int) -> None:
        """Ends this process, and tells the others why."""
        self._stopped.set()  # before the others' own reports of the same error are read
        self._write("end", reason)
        sys.stderr.flush()
        time.sleep(_GRACE_SECONDS)
        os._exit(code)

    def _leave(self, reason: str) -> None:
        sys.stderr.write(
            f"keras_codegemma: process {self._index} ends, because {reason}. No step can finish without it. Start the "
            "job again, on as many hosts as there are: what was last saved is whole.\n"
        )
        sys.stderr.flush()
        if self._index == 0:
            time.sleep(_GRACE_SECONDS)
        os._exit(LOST_EXIT_CODE)  # the main thread may wait in a collective, out of reach of an exception

    def _write(self, kind: str, value: str) -> None:
        self._client.key_value_set(f"{_FOLDER}/{kind}/{self._index}", value, allow_overwrite=True)
