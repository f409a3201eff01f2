"""The weights of a model on one chip of a mesh: bytes stored, and how many numbers a product uses at once."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.planning.job import FLOAT_BYTES, Job
from keras_codegemma.quantization import SCALE_SUFFIX, Quantization, is_quantized
from keras_codegemma.sharding import MeshShape, weight_spec

PRODUCT_BYTES = 2
"""Of a number that is multiplied or moved: bfloat16."""

LORA_TARGETS = ("query", "value")

_TILE_BYTES = 32
"""What a TPU pads a split width to: 8 numbers of float32, 16 of bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One weight.

    Attributes:
        path: of the variable.
        size: numbers in the whole weight.
        stored: of them, on each chip.
        used: of them, in a product on each chip: whole but for the model axis.
        stored_bytes: on each chip, scales included where it is quantised.
    """

    path: str
    size: int
    stored: int
    used: int
    stored_bytes: float

    @property
    def is_gathered(self) -> bool:
        """Whether a product must first gather it from other chips."""
        return self.used > self.stored


def parts(job: Job, mesh: MeshShape) -> tuple[Part, ...]:
    """Every weight of a job's model, in model order: the embedding first."""
    return _parts(job.config, job.weight_dtype, job.quantization, mesh)


def adapter_parts(job: Job, mesh: MeshShape) -> tuple[Part, ...]:
    """The adapters of a job, float32; none unless it trains adapters."""
    return _adapters(job.config, job.lora_rank, mesh) if job.kind == "lora" else ()


def is_copied(config: CodeGemmaConfig, mesh: MeshShape) -> bool:
    """Whether a gathered weight is copied once more: the parts of its width fill no whole tiles of bfloat16."""
    parts_of_width = mesh.width_shards
    return parts_of_width > 1 and config.hidden_dim // parts_of_width % (_TILE_BYTES // PRODUCT_BYTES) != 0


@functools.lru_cache(maxsize=1024)
def _parts(
    config: CodeGemmaConfig, weight_dtype: str, quantization: Quantization | None, mesh: MeshShape
) -> tuple[Part, ...]:
    return tuple(
        _part(path, shape, config, weight_dtype, quantization, mesh) for path, shape in config.weight_shapes().items()
    )


def _part(
    path: str,
    shape: tuple[int, ...],
    config: CodeGemmaConfig,
    weight_dtype: str,
    quantization: Quantization | None,
    mesh: MeshShape,
) -> Part:
    size = math.prod(shape)
    spec = weight_spec(path, ndim=len(shape), config=config, mesh=mesh)
    model = _ways([axis for axis in spec if axis == "model"], mesh)
    stored = size // _ways(spec, mesh)
    itemsize = FLOAT_BYTES[weight_dtype]
    stored_bytes = (
        stored * itemsize * (_padding(config.hidden_dim // mesh.width_shards, itemsize) if "fsdp" in spec else 1)
    )
    if quantization is not None and is_quantized(path):
        data, scale = quantization.shapes(path, shape)
        stored_bytes = 0
        for name, found in ((path, data), (path + SCALE_SUFFIX, scale)):
            axes = weight_spec(name, ndim=len(found.shape), config=config, mesh=mesh, quantized=name == path)
            stored_bytes += math.prod(found.shape) // _ways(axes, mesh) * found.dtype.itemsize
    return Part(path=path, size=size, stored=stored, used=size // model, stored_bytes=stored_bytes)


@functools.lru_cache(maxsize=1024)
def _adapters(config: CodeGemmaConfig, rank: int, mesh: MeshShape) -> tuple[Part, ...]:
    found = []
    for path, shape in config.weight_shapes().items():
        *_, layer, name = ("", *path.split("/"))
        if name != "kernel" or layer not in LORA_TARGETS:
            continue
        stem = path.removesuffix("kernel")
        for one, dims in ((f"{stem}lora_kernel_a", (*shape[:-1], rank)), (f"{stem}lora_kernel_b", (rank, shape[-1]))):
            found.append(_part(one, dims, config, "float32", None, mesh))
    return tuple(found)


def _padding(width: int, itemsize: int) -> float:
    tile = _TILE_BYTES // itemsize
    return -(-width // tile) * tile / width


def _ways(axes: Iterable[str | None], mesh: MeshShape) -> int:
    return math.prod(getattr(mesh, axis) for axis in axes if axis is not None)
