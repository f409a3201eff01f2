"""What the command sets before JAX starts: a compilation cache that outlives the process, and quiet logs.

Only the command does so; the library leaves the process as it finds it.
"""

import logging
import os
import sys
from pathlib import Path

from keras_codegemma.user_cache import cache_folder


def prepare_process() -> None:
    """Sets variables that JAX reads at its import, and how log records and odd characters are printed.

    What the user has set stays.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and (folder := _writable(cache_folder() / "xla")):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        # JAX keeps only programs that took a second to compile; ours are many small ones.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
    # XLA's C++ code reports harmless details of cached programs as errors.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="codegemma: %(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a question mark instead of ending the command.
        stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]


def _writable(folder: Path) -> Path | None:
    """The folder, made if need be, or None: without a cache everything works, later."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
