"""Compiles the C++ sources into a shared library in the user's cache folder."""

import hashlib
import json
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import jax

from keras_codegemma.user_cache import cache_folder

_LOGGER = logging.getLogger(__name__)

SOURCE = Path(__file__).parent / "source"
COMPILERS = ("c++", "g++", "clang++")
_COMMON = ("-O3", "-std=c++17", "-fPIC", "-ffp-contract=fast")
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
_WIDE = (*_AVX512, "-mprefer-vector-width=512")
_TIMEOUT_SECONDS = 300

_UNITS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("portable", "portable.cc", ()),
    ("attend", "attend.cc", ()),
    ("attend_ffi", "attend_ffi.cc", ()),
    ("gated", "gated.cc", ()),
    ("gated_ffi", "gated_ffi.cc", ()),
    ("norm", "norm.cc", ()),
    ("norm_ffi", "norm_ffi.cc", ()),
    ("levels", "levels.cc", ()),
    ("pool", "pool.cc", ()),
    ("pages", "pages.cc", ()),
    ("ffi", "ffi.cc", ()),
    ("rows_ffi", "rows_ffi.cc", ()),
    ("causal_ffi", "causal_ffi.cc", ()),
    ("many_ffi", "many_ffi.cc", ()),
    ("loss_ffi", "loss_ffi.cc", ()),
)
_PARTS = ("ATTEND", "GATED", "NORM")
# Instructions of a level are allowed in that level's unit alone; the rest runs on any processor of its kind.
_X86_UNITS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *(
        (name, file, (*flags, *(f"-D{part}_LEVEL=k{part.capitalize()}{level}" for part in _PARTS), *more))
        for level, flags in (("Avx2", _AVX2), ("Avx512", _WIDE))
        for name, file, more in (
            (level.lower(), "portable.cc", (f"-DLEVEL=k{level}", f'-DLEVEL_NAME="{level.lower()}"')),
            (f"attend_{level.lower()}", "attend.cc", ()),
            (f"gated_{level.lower()}", "gated.cc", ()),
            (f"norm_{level.lower()}", "norm.cc", ()),
        )
    ),
    *(
        (name, f"{name}.cc", (*_AVX512, "-mavx512bf16", "-mavx512vnni"))
        for name in ("avx512_bf16", "avx512_bf16_packing", "avx512_bf16_inputs")
    ),
    *(
        (f"{name}_avx512_bf16", f"{name}_avx512_bf16.cc", (*_AVX512, "-mavx512bf16"))
        for name in ("rows", "causal", "many", "loss")
    ),
)


def compiler() -> str | None:
    """The C++ compiler: `$CXX`, or the first of `COMPILERS` on the path; None where there is none."""
    asked = os.environ.get("CXX")
    return shutil.which(asked) if asked else next(filter(None, map(shutil.which, COMPILERS)), None)


def library_path() -> Path:
    """Where the library of these sources for this kind of machine lies, or would lie once built."""
    return cache_folder() / "kernels" / f"{platform.system()}-{platform.machine()}-{_key()}.so".lower()


def build(*, force: bool = False) -> Path:
    """Compiles the kernels, unless they are there already. Takes some seconds.

    Args:
        force: compile also if they are there.

    Returns:
        The library, which processes that start from now on find by themselves; this one too, if it had none.

    Raises:
        RuntimeError: no compiler, or it failed; with what it said.
    """
    from keras_codegemma.kernels.native import library

    path = library_path()
    if path.is_file() and not force:
        return path
    program = compiler()
    if program is None:
        raise RuntimeError(
            f"Building the CPU kernels needs a C++17 compiler, $CXX or one of {', '.join(COMPILERS)}; none is on the "
            "path. Install one (Debian: g++; macOS: xcode-select --install). Without, everything works, but slower."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        made = _compile(program, Path(work))
        # In one step: another process may be looking for it.
        made.replace(path)
    path.with_suffix(".json").write_text(json.dumps({"compiler": _version(program), "units": _unit_names()}) + "\n")
    _LOGGER.info("Built the CPU kernels with %s: %s", program, path)
    library.reload()
    return path


def _units() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    return _UNITS + (_X86_UNITS if platform.machine().lower() in ("x86_64", "amd64") else ())


def _unit_names() -> list[str]:
    return [name for name, _, _ in _units()]


def _compile(program: str, work: Path) -> Path:
    include = f"-I{jax.ffi.include_dir()}"
    objects = [work / f"{name}.o" for name in _unit_names()]
    commands = [
        [program, *_COMMON, *flags, include, "-c", str(SOURCE / source), "-o", str(target)]
        for (_, source, flags), target in zip(_units(), objects, strict=True)
    ]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as threads:
        list(threads.map(_run, commands))
    library = work / "codegemma.so"
    _run([program, "-shared", "-pthread", *map(str, objects), "-o", str(library)])
    return library


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(
            f"The compiler must be able to run; {command[0]} could not: {error}. Set CXX to another one."
        ) from error
    if done.returncode:
        raise RuntimeError(
            f"Building the CPU kernels needs a C++17 compiler that knows this processor's instructions; "
            f"`{shlex.join(command)}` failed: {done.stderr.strip()[-2000:]}. Set CXX to a newer one (GCC 11, Clang 14)."
        )


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.splitlines()[0] if done.stdout else program


@cache
def _key() -> str:
    """Changes with the sources, with how they are compiled, and with XLA's interface."""
    digest = hashlib.sha256(repr((_COMMON, _units())).encode())
    headers = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api"
    for file in [*sorted(SOURCE.iterdir()), *sorted(headers.iterdir())]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
