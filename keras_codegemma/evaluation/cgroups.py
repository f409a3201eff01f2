"""Control groups for boxes: limits on the memory and the processes of a whole process tree, where they can be written.

Both kernel interfaces: version 1 (one hierarchy per controller) and version 2. Writing needs root or a delegated
group; where it cannot be had, `GroupPool` hands out None and says so in `limits_processes`.
"""

import contextlib
import logging
import os
import threading
import time
from pathlib import Path

_LOG = logging.getLogger(__name__)
_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "codegemma-box-"
_MANY = 512
"""Groups that a pool makes without waiting; the kernel takes seconds to give back the processes of one."""


class Group:
    """The folders of one group, one per hierarchy. Used by one box at a time."""

    def __init__(self, pool: "GroupPool", folders: tuple[Path, ...]):
        self._pool = pool
        self.folders = folders

    def enter_command(self) -> list[str]:
        """What to put before a command so that it starts inside the group."""
        places = [str(folder / "cgroup.procs") for folder in self.folders]
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 125; shift; n=$((n-1)); done; exec "$@"'
        return ["/bin/sh", "-c", script, "sh", str(len(places)), *places]

    def set_limits(self, *, memory_bytes: int, processes: int) -> None:
        """Writes the limits; without swap, so that memory beyond the limit is refused."""
        for folder in self.folders:
            for name, value in (
                ("pids.max", processes),
                ("memory.limit_in_bytes", memory_bytes),
                ("memory.max", memory_bytes),
                ("memory.swap.max", 0),
            ):
                if (folder / name).exists():
                    (folder / name).write_text(str(value))

    def release(self) -> None:
        """Waits until nothing runs in it, killing what does, and makes it free for another box."""
        deadline = time.monotonic() + 10
        while any(pids := [(folder / "cgroup.procs").read_text() for folder in self.folders]):
            for pid in {pid for text in pids for pid in text.split()}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"All processes of a box must end when it is closed; {pids} still run in {self.folders[0]}. "
                    "Look at their state (they may wait for a device)."
                )
            time.sleep(0.001)
        self._pool.put_back(self)

    def is_settled(self) -> bool:
        """Whether the kernel has given back every process of earlier boxes, which takes it a moment after their end."""
        counts = [folder / "pids.current" for folder in self.folders]
        return all(count.read_text().strip() == "0" for count in counts if count.exists())

    def remove(self) -> None:
        """Deletes the folders."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


class GroupPool:
    """Hands out groups, made once and used again. Attributes: `limits_processes`, `limits_memory`."""

    def __init__(self):
        self._lock = threading.Lock()
        self._free: list[Group] = []
        self._all: list[Group] = []
        self._parents = _writable_parents()
        self.limits_processes = "pids" in self._parents
        self.limits_memory = "memory" in self._parents
        for parent in set(self._parents.values()):
            _remove_stale(parent)
        if not (self.limits_processes and self.limits_memory):
            _LOG.info("Control groups for boxes: only %s can be written.", sorted(self._parents) or "none")

    def acquire(self, *, memory_bytes: int, processes: int) -> Group | None:
        """A group with these limits, or None where none can be had."""
        if not self._parents:
            return None
        deadline = time.monotonic() + 1.0
        while (group := self._take(grow=time.monotonic() > deadline)) is None:
            time.sleep(0.005)
        group.set_limits(memory_bytes=memory_bytes, processes=processes)
        return group

    def _take(self, *, grow: bool) -> Group | None:
        """A settled group, or a new one while there are few; beyond that it is worth waiting a moment."""
        with self._lock:
            settled = next((group for group in self._free if group.is_settled()), None)
            if settled is not None:
                self._free.remove(settled)
                return settled
            return self._make() if grow or len(self._all) < _MANY else None

    def put_back(self, group: Group) -> None:
        """Takes an empty group."""
        with self._lock:
            self._free.append(group)

    def close(self) -> None:
        """Removes all groups."""
        with self._lock:
            for group in self._all:
                group.remove()
            self._all, self._free = [], []

    def _make(self) -> Group:
        name = f"{_PREFIX}{os.getpid()}-{id(self):x}-{len(self._all)}"
        folders = tuple(parent / name for parent in dict.fromkeys(self._parents.values()))
        for folder in folders:
            folder.mkdir()
        group = Group(self, folders)
        self._all.append(group)
        return group


def _writable_parents() -> dict[str, Path]:
    """For each controller, the folder in which groups with its limits can be made."""
    parents = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        own = place.lstrip("/")
        for controller, limit in (("pids", "pids.max"), ("memory", "memory.limit_in_bytes")):
            if controller in controllers.split(",") and _can_make(_ROOT / controller / own, limit):
                parents[controller] = _ROOT / controller / own
        if not controllers:
            for controller, limit in (("pids", "pids.max"), ("memory", "memory.max")):
                if controller not in parents and _can_make(_ROOT / own, limit):
                    parents[controller] = _ROOT / own
    return parents


def _can_make(parent: Path, limit: str) -> bool:
    trial = parent / f"{_PREFIX}{os.getpid()}-trial-{threading.get_ident()}"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        return os.access(trial / limit, os.W_OK) and os.access(trial / "cgroup.procs", os.W_OK)
    finally:
        trial.rmdir()


def _remove_stale(parent: Path) -> None:
    """Removes groups of processes that were killed before they could; the kernel refuses those still in use."""
    for folder in parent.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()
