"""Bytes on each chip by kind: what a step holds, and what it makes and drops, at the moment when most is alive.

What is held follows from shapes and layout alone. What a training step makes has its maximum at one of three moments.
At the first two, after the last block has run forward, the inputs of all blocks are kept:

    in the loss      the table gathered, its gradient, hidden states and theirs, the last block's kernels gathered
    in a block       everything that a block computes, its kernels gathered, and gradients of what it computed
    at the end       where the compiler sums whole gradients (`Topology.sums_whole`), all of them, to clip by their norm

How many of each are alive together is fitted to what the TPU compiler makes of ten steps of other sizes.
`tests/tpu_compile/test_training.py` and `test_serving.py` compare the sums with the compiler's.
"""

from dataclasses import dataclass

from keras_codegemma.planning.chips import Topology
from keras_codegemma.planning.job import Job
from keras_codegemma.planning.parts import PRODUCT_BYTES, adapter_parts, is_copied, parts
from keras_codegemma.planning.work import cache_bytes
from keras_codegemma.sharding import MeshShape

SLOTS = {"adamw": 2.0, "adafactor": 1.0}
"""Optimiser slots of the size and type of a weight. Keras's Adafactor keeps a velocity beside its rows and columns."""

_PROGRAM = {"step": 25e6, "prefill": 9e6, "decode": 1e6}
"""Bytes of code a block, as libtpu 0.0.42 makes it."""

_BESIDE_WHOLE = 0.08
"""Of whole gradients: what else is alive with them."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on each chip.

    Attributes:
        weights: scales and adapters included.
        optimizer: its slots.
        cache: of keys and values.
        batch: ids and weights of the rows, or what decoding knows of them.
        activations: kept from the forward to the backward pass.
        gradients: of what is trained, as they are stored.
        temporary: everything else that is alive at the worst moment.
        program: the compiled code, which lies in the same memory.
    """

    weights: float
    optimizer: float
    cache: float
    batch: float
    activations: float
    gradients: float
    temporary: float
    program: float

    @property
    def total(self) -> float:
        """All kinds."""
        return sum(self.by_kind().values())

    def by_kind(self) -> dict[str, float]:
        """Kind to bytes."""
        return dict(vars(self))


def memory(job: Job, mesh: MeshShape, *, topology: Topology | None = None, phase: str | None = None) -> Memory:
    """Of a job on a mesh.

    Args:
        job: what is run.
        mesh: on which.
        topology: of the chips; None for one where sums are scattered.
        phase: "decode" or "prefill" of serving; None for the one that needs more.
    """
    if job.serves and phase is None:
        return max((memory(job, mesh, phase=one) for one in ("decode", "prefill")), key=lambda found: found.total)
    return Memory(
        weights=sum(part.stored_bytes for part in (*parts(job, mesh), *adapter_parts(job, mesh))),
        cache=cache_bytes(job, mesh) if job.serves else 0.0,
        program=job.config.num_layers * _PROGRAM[phase or "step"],
        **(_serving(job, mesh, phase == "decode") if job.serves else _training(job, mesh, topology)),
    )


def _serving(job: Job, mesh: MeshShape, decodes: bool) -> dict[str, float]:
    config = job.config
    rows = -(-job.batch_rows // mesh.row_shards)
    tokens = rows * (1 if decodes else min(job.chunk, job.length))
    widest = config.feedforward_dim / mesh.model + 5 * config.hidden_dim
    logits = 4 * rows * config.vocabulary_size / mesh.model
    return {
        "optimizer": 0.0,
        "batch": 8.0 * job.batch_rows * job.slots,  # ids and log-probabilities, whole on each chip
        "activations": 0.0,
        "gradients": 0.0,
        "temporary": max(PRODUCT_BYTES * tokens * widest, 3 * logits),
    }


def _training(job: Job, mesh: MeshShape, topology: Topology | None) -> dict[str, float]:
    config, remat = job.config, job.remat is not None
    everything = parts(job, mesh)
    trained = everything if job.trains_all else adapter_parts(job, mesh)
    tokens = -(-job.batch_rows // mesh.row_shards) * job.length
    width, feedforward = config.hidden_dim, config.feedforward_dim / mesh.model
    heads = (2 * config.num_query_heads + 2 * config.num_key_value_heads) * config.head_dim / mesh.model
    kernels = PRODUCT_BYTES * sum(part.used for part in everything if part.path.startswith("decoder_block_0/"))
    block = PRODUCT_BYTES * tokens * (4 * feedforward + 5 * width) + 1.5 * kernels
    table = PRODUCT_BYTES * everything[0].used
    tables = (2.2 if job.trains_all else 1.3) + is_copied(config, mesh)
    loss = tables * table + PRODUCT_BYTES * tokens * 6 * width + kernels
    kept = width if remat else 4 * width + heads + 2 * feedforward
    held = {
        "optimizer": SLOTS[job.optimizer] * sum(part.stored_bytes for part in trained),
        "batch": 16.0 * tokens,
    }
    before = {
        "activations": PRODUCT_BYTES * tokens * kept * config.num_layers,
        "gradients": PRODUCT_BYTES * sum(part.stored for part in trained),
        "temporary": max(loss, block),
    }
    if topology is None or not topology.sums_whole(mesh.width_shards):
        return held | before
    whole = PRODUCT_BYTES * sum(part.used for part in trained)
    after = {"activations": 0.0, "gradients": whole, "temporary": _BESIDE_WHOLE * whole}
    return held | max(before, after, key=lambda moment: sum(moment.values()))
