"""Products and bytes of memory of one step, on each chip: what the chip must do at least.

P is the number of weights multiplied, T the length, and a causal product of attention costs half of a full one.

| | a weight and token | a head, its width, a position and a token |
| --- | --- | --- |
| forward | 2 | 2 |
| run again (remat) | 2 | 2 |
| backward, the input's gradient | 2 | 7: scores twice, since queries and keys have kernels of their own |
| backward, the weight's gradient | 2 | |

Model FLOPs leave out what is computed twice: 6 and 6, or 4 and 6 with adapters alone.
"""

from dataclasses import dataclass

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.planning.job import Job
from keras_codegemma.planning.parts import PRODUCT_BYTES, adapter_parts, parts
from keras_codegemma.sharding import MeshShape

_OPTIMIZER_BYTES = {"adamw": 28, "adafactor": 20}
"""Moved for each trained float32 weight: it, its gradient and its slots read, all but the gradient written."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One step, or one pass.

    Attributes:
        model_flops: of all chips together, without what is computed twice.
        chip_flops: executed on each chip.
        chip_bytes: to and from each chip's memory.
        tokens: of all chips together: trained on, read as prompt, or written.
    """

    model_flops: float
    chip_flops: float
    chip_bytes: float
    tokens: int


def training_flops_per_token(config: CodeGemmaConfig, length: int, *, trains_all: bool = True) -> int:
    """Model FLOPs: of products forward and backward, nothing computed twice, half of all positions attended to.

    The embedding counts once, for the output; looking up ids multiplies nothing.

    Args:
        config: of the model.
        length: tokens of a row.
        trains_all: false where adapters alone are trained.
    """
    heads = config.num_layers * config.num_query_heads * config.head_dim * length
    return (6 if trains_all else 4) * config.parameter_count + 6 * heads


def training_work(job: Job, mesh: MeshShape) -> Work:
    """Of one step of `fit`."""
    config, remat = job.config, job.remat is not None
    local = -(-job.batch_rows // mesh.row_shards) * job.length
    tokens = job.batch_rows * job.length
    everything = parts(job, mesh)
    table = everything[0]
    blocks = [part for part in everything if part is not table]
    backward = 2 if job.trains_all else 1
    once = 2 + 2 * backward
    heads = config.num_layers * config.num_query_heads * config.head_dim * job.length
    used = sum(part.used for part in blocks)
    adapters = sum(part.used for part in adapter_parts(job, mesh))
    chip_flops = local * (
        (once + 2 * remat) * used
        + (once + 2) * table.used  # the loss keeps no logits and makes them again
        + (once + 2) * adapters
        + (9 + 2 * remat) * heads / mesh.model
    )
    trained = sum(part.stored for part in (everything if job.trains_all else adapter_parts(job, mesh)))
    passes = 3 + remat
    moved = (
        PRODUCT_BYTES * passes * (2 * used + 2 * table.used)
        + passes * local * _activation_bytes(job, mesh)
        + _OPTIMIZER_BYTES[job.optimizer] * trained
    )
    model_flops = tokens * training_flops_per_token(config, job.length, trains_all=job.trains_all)
    return Work(model_flops=model_flops, chip_flops=chip_flops, chip_bytes=moved, tokens=tokens)


def decode_work(job: Job, mesh: MeshShape) -> Work:
    """Of one token for each row, with full caches."""
    config, rows = job.config, -(-job.batch_rows // mesh.row_shards)
    everything = parts(job, mesh)
    attended = config.num_layers * config.num_query_heads * config.head_dim * job.length
    chip_flops = rows * (2 * sum(part.used for part in everything) + 4 * attended / mesh.model)
    return Work(
        model_flops=job.batch_rows * (2 * config.parameter_count + 4 * attended),
        chip_flops=chip_flops,
        chip_bytes=sum(part.stored_bytes for part in everything) + cache_bytes(job, mesh),
        tokens=job.batch_rows,
    )


def prefill_work(job: Job, mesh: MeshShape) -> Work:
    """Of prompts that fill the cache, in chunks."""
    config, rows = job.config, -(-job.batch_rows // mesh.row_shards)
    everything = parts(job, mesh)
    blocks = everything[1:]
    heads = config.num_layers * config.num_query_heads * config.head_dim * job.length
    local = rows * job.length
    chunks = -(-job.length // job.chunk)
    weights = sum(part.used for part in blocks)
    return Work(
        model_flops=job.batch_rows * job.length * (2 * (config.parameter_count - everything[0].size) + 2 * heads),
        chip_flops=local * (2 * weights + 2 * heads / mesh.model),
        chip_bytes=chunks * sum(part.stored_bytes for part in blocks)
        + (chunks + 1) / 2 * cache_bytes(job, mesh)
        + local * _activation_bytes(job, mesh),
        tokens=job.batch_rows * job.length,
    )


def cache_bytes(job: Job, mesh: MeshShape) -> int:
    """Of keys and values on each chip: rows over the batch axes, heads over the model axis where it divides."""
    config = job.config
    rows = job.batch_rows if job.batch_rows % mesh.row_shards else job.batch_rows // mesh.row_shards
    heads = config.num_key_value_heads
    heads = heads if heads % mesh.model else heads // mesh.model
    head_bytes = config.head_dim + 4 if job.cache_dtype == "int8" else config.head_dim * PRODUCT_BYTES
    return 2 * config.num_layers * rows * job.slots * heads * head_bytes


def _activation_bytes(job: Job, mesh: MeshShape) -> float:
    """Of one token in all blocks, written and read: widths D twice a norm, heads, and both halves of the unit."""
    config = job.config
    heads = (2 * config.num_query_heads + 2 * config.num_key_value_heads) * config.head_dim
    numbers = 6 * config.hidden_dim + (heads + 3 * config.feedforward_dim) / mesh.model
    return 2 * PRODUCT_BYTES * config.num_layers * numbers
