"""Memory that a program frees, kept by the process for its next step.

XLA allocates the temporaries of a whole step in one piece and frees it at the step's end. The C library gives a piece
of that size back to the system, which hands it out again page by page, zeroed, at the first touch in the next step.
"""

import ctypes
import ctypes.util
from typing import Any

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_ARENA_MAX = -8


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed, for the life of the process; for commands that train for long.

    Call it before JAX has made its threads. Nothing but memory and speed changes; the process stays as large as it
    once was.

    Returns:
        Whether it could be told: only glibc can (Linux, not Alpine).
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    # One heap that only grows: without the first, large pieces of other threads would be mapped apart again.
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])


def release_freed_memory() -> bool:
    """Gives what has been freed back to the system, wherever it lies in the heap; also after `keep_freed_memory`.

    Returns:
        Whether it could: only glibc can.
    """
    trim = _of_glibc("malloc_trim")
    if trim is None:
        return False
    trim(0)
    return True


def _of_glibc(name: str) -> Any:
    """A function of the C library, or None where that is not glibc."""
    return getattr(ctypes.CDLL(None), name, None) if ctypes.util.find_library("c") else None
