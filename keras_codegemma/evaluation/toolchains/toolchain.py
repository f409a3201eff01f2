"""How one language is compiled and run, and what looking for it takes."""

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keras_codegemma.user_cache import cache_folder

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """How to compile and run one language here.

    Attributes:
        version: first line of what it says of itself.
        file: name of the source file.
        compile: command, or None; "{file}" stands for the source, "{main}" for the class with the main function.
        run: command.
        read_only: folders it needs besides /usr.
        environment: variables of both commands.
        processes: that a run needs (threads of the runtime).
        compile_memory_bytes: of the whole compilation.
    """

    version: str
    file: str
    compile: tuple[str, ...] | None
    run: tuple[str, ...]
    read_only: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    processes: int = 64
    compile_memory_bytes: int = 1 << 30


def first_line(*command: str) -> str | None:
    """What a command says first, or None where it is not there or fails."""
    path = shutil.which(command[0])
    if path is None:
        return None
    try:
        said = subprocess.run([path, *command[1:]], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (said.stdout or said.stderr).strip().splitlines()
    return lines[0] if said.returncode == 0 and lines else None


def outside_usr(tool: str) -> tuple[str, ...]:
    """The folder of a toolchain that does not lie in /usr, as the parent of its `bin`."""
    place = Path(tool).resolve()
    root = place.parents[1] if place.is_file() else place.parent
    return () if root.is_relative_to("/usr") or root == Path("/") else (str(root),)


def java_settings() -> tuple[str, ...]:
    """Debian keeps the Java runtime's settings in /etc, behind links."""
    return tuple(str(place) for place in Path("/etc").glob("java-*-openjdk"))


def prepared(name: str, make: Callable[[Path], None]) -> Path | None:
    """A folder of the user's cache, made once.

    Args:
        name: of the folder; it must name the versions of all that `make` depends on.
        make: fills an empty folder; its OSError or CalledProcessError means that the toolchain cannot be used.

    Returns:
        The folder, or None where it could not be made; the reason is logged.
    """
    base = cache_folder() / "toolchains"
    folder = base / name
    if folder.is_dir():
        return folder
    _LOG.info("Preparing %s, once.", folder)
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=base) as scratch:
            made = Path(scratch, "made")
            made.mkdir()
            make(made)
            # Another process may have been first; its folder is as good as ours.
            if not folder.is_dir():
                made.rename(folder)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.output or "")[-500:]
        _LOG.warning("%s cannot be used: %s ended with %s: %s", name, error.cmd[0], error.returncode, said)
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        if not folder.is_dir():
            _LOG.warning("%s cannot be used: %s", name, error)
            return None
    return folder
