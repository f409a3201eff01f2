"""Where files lie that can be made again: compiled programs and kernels."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The platform's folder for files that can be made again, with a folder of ours in it.

    `$XDG_CACHE_HOME` where it is set, else `~/.cache`; `~/Library/Caches` on macOS; `%LOCALAPPDATA%` on Windows.
    """
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg and Path(xdg).is_absolute():  # others are to be ignored, says the XDG base directory specification
        base = Path(xdg)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "keras_codegemma"
