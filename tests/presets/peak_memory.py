"""How much memory loading takes, alone in a process: python -m tests.presets.peak_memory FOLDER DTYPE [FSDPxMODEL]

Prints JSON: `weights_bytes`, what the loaded weights occupy, and `peak_bytes`, the highest resident memory of
the process while loading, above what it had before. A small model is loaded first, so that what JAX and Keras
need once for themselves is not counted. With a mesh such as 4x2, loads in shards: `weights_bytes` is then the sum of
all devices' parts, and XLA_FLAGS must give the process as many devices. Linux only.
"""

import gc
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import keras_codegemma  # noqa: F401 (selects the backend before keras is imported)
from keras_codegemma import distribution, presets
from keras_codegemma.convert import open_folder


def status_bytes(field: str) -> int:
    """A field of /proc/self/status, such as VmRSS (resident now) or VmHWM (highest so far)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise ValueError(f"/proc/self/status must have {field}; it does not. Run on Linux.")


def main(folder: str, dtype: str, mesh: str | None = None) -> None:
    presets.load_backbone("code_gemma_tiny", dtype=dtype)
    gc.collect()
    before = status_bytes("VmRSS")
    with nullcontext() if mesh is None else _parallel(folder, mesh).scope():
        backbone = presets.load_backbone(folder, dtype=dtype)
    peak = status_bytes("VmHWM") - before
    parts = [part for variable in backbone.variables for part in variable.value.addressable_shards]
    weights = sum(part.data.nbytes for part in parts)
    print(json.dumps({"weights_bytes": weights, "peak_bytes": peak, "before_bytes": before}))


def _parallel(folder: str, mesh: str) -> distribution.CodeGemmaParallel:
    fsdp, model = map(int, mesh.split("x"))
    with open_folder(Path(folder), load_weights=False) as checkpoint:
        config = checkpoint.config
    return distribution.CodeGemmaParallel(distribution.MeshShape(fsdp=fsdp, model=model), config)


if __name__ == "__main__":
    main(*sys.argv[1:])
