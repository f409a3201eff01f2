"""How much memory loading takes, alone in a process: python -m tests.presets.peak_memory FOLDER DTYPE

Prints JSON: `weights_bytes`, what the loaded weights occupy, and `peak_bytes`, the highest resident memory of
the process while loading, above what it had before. A small model is loaded first, so that what JAX and Keras
need once for themselves is not counted. Linux only.
"""

import gc
import json
import sys
from pathlib import Path

import keras_codegemma  # noqa: F401 (selects the backend before keras is imported)
from keras_codegemma import presets


def status_bytes(field: str) -> int:
    """A field of /proc/self/status, such as VmRSS (resident now) or VmHWM (highest so far)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise ValueError(f"/proc/self/status must have {field}; it does not. Run on Linux.")


def main(folder: str, dtype: str) -> None:
    presets.load_backbone("code_gemma_tiny", dtype=dtype)
    gc.collect()
    before = status_bytes("VmRSS")
    backbone = presets.load_backbone(folder, dtype=dtype)
    peak = status_bytes("VmHWM") - before
    weights = sum(variable.value.nbytes for variable in backbone.variables)
    print(json.dumps({"weights_bytes": weights, "peak_bytes": peak, "before_bytes": before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
