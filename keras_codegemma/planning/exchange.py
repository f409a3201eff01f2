"""What chips exchange in one step, as the layout implies it: which collectives, how often, how many bytes.

| axis | training | serving |
| --- | --- | --- |
| fsdp | each kernel gathered, with remat once more to go backward, its gradient scattered | not used |
| replica, data | gradients summed | nothing |
| model | two sums of activations a block, forward, backward, and where remat runs the block again | two sums a block |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from keras_codegemma.planning.chips import Topology
from keras_codegemma.planning.job import Job
from keras_codegemma.planning.parts import PRODUCT_BYTES, Part, adapter_parts, parts
from keras_codegemma.sharding import MeshShape

Collective = Literal["all-gather", "reduce-scatter", "all-reduce", "all-to-all"]

_INNER = {"model": (), "fsdp": ("model",), "data": ("model",), "replica": ("fsdp", "model")}
"""The axes that vary faster: their chips lie between two neighbours of an axis."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Collectives of one kind in a step.

    Attributes:
        what: is moved.
        kind: of the collective.
        axis: of the mesh.
        count: in a step.
        bytes: on each chip of the whole array, of all of them together: the result of a gather, the operand else.
        seconds: that the links need.
        hidden: whether products can go on meanwhile.
    """

    what: str
    kind: Collective
    axis: str
    count: int
    bytes: float
    seconds: float
    hidden: bool


def training_traffic(job: Job, mesh: MeshShape, topology: Topology) -> list[Traffic]:
    """Of one step of `fit`."""
    return [_timed(*one, mesh=mesh, topology=topology) for one in _of_training(job, mesh, topology)]


def serving_traffic(job: Job, mesh: MeshShape, topology: Topology, *, positions: int, passes: int = 1) -> list[Traffic]:
    """Of passes over the cache.

    Args:
        job, mesh, topology: of the plan.
        positions: tokens of each row that are new in a pass: 1 when decoding.
        passes: how many.
    """
    if mesh.model == 1:
        return []
    rows = -(-job.batch_rows // mesh.row_shards) * positions
    moved = rows * job.config.hidden_dim * PRODUCT_BYTES
    count = passes * (2 * job.config.num_layers + 1)
    found: _Untimed = ("sums of activations", "all-reduce", "model", count, count * moved, False)
    return [_timed(*found, mesh=mesh, topology=topology)]


_Untimed = tuple[str, Collective, str, int, float, bool]


def _of_training(job: Job, mesh: MeshShape, topology: Topology) -> Iterator[_Untimed]:
    config = job.config
    blocks = [part for part in parts(job, mesh) if part.path.startswith("decoder_block")]
    table = next(part for part in parts(job, mesh) if part.path.startswith("token_embedding"))
    trained = parts(job, mesh) if job.trains_all else adapter_parts(job, mesh)
    rows = -(-job.batch_rows // mesh.row_shards) * job.length
    activations = rows * config.hidden_dim * PRODUCT_BYTES
    if mesh.width_shards > 1:
        gathered = [part for part in blocks if part.is_gathered]
        uses = 1 if job.remat is None else 2
        yield "kernels", "all-gather", "fsdp", uses * len(gathered), uses * _gathered(gathered, job), True
        yield "embedding", "all-gather", "fsdp", 1, _gathered([table], job), True
        yield "ids", "all-gather", "fsdp", 1, 4 * rows * mesh.width_shards, False
        yield "embedded rows", "all-to-all", "fsdp", 2, 2 * activations, False
        scattered = [part for part in trained if part.is_gathered]
        if scattered:
            kind: Collective = "all-reduce" if topology.sums_whole(mesh.width_shards) else "reduce-scatter"
            yield "gradients", kind, "fsdp", len(scattered), _moved(scattered), True
    copies = "data" if mesh.data is not None else "replica"
    if getattr(mesh, copies) > 1:
        stored = sum(part.stored for part in trained) * PRODUCT_BYTES
        yield "gradients", "all-reduce", copies, len(trained), stored, True
    if mesh.model > 1:
        count = (4 if job.remat is None else 5) * config.num_layers + 1
        yield "sums of activations", "all-reduce", "model", count, count * activations, False


def _gathered(found: Sequence[Part], job: Job) -> float:
    """Bytes of weights as they are moved: cast to what is multiplied, or quantised as they are."""
    if job.quantization is None:
        return _moved(found)
    return sum(part.used * part.stored_bytes / part.stored for part in found)


def _moved(found: Sequence[Part]) -> float:
    return sum(part.used for part in found) * PRODUCT_BYTES


def _timed(
    what: str,
    kind: Collective,
    axis: str,
    count: int,
    size: float,
    hidden: bool,
    *,
    mesh: MeshShape,
    topology: Topology,
) -> Traffic:
    ways = getattr(mesh, axis)
    inner = 1
    for faster in _INNER[axis]:
        inner *= getattr(mesh, faster) or 1
    passes = {"all-reduce": 2.0, "all-to-all": _detour(ways, topology)}.get(kind, 1.0)
    seconds = passes * size * (ways - 1) / ways / topology.bandwidth(ways, inner=inner)
    seconds += count * topology.hops(ways, inner=inner) * topology.chip.hop_seconds * (2 if kind == "all-reduce" else 1)
    return Traffic(what=what, kind=kind, axis=axis, count=count, bytes=size, seconds=seconds, hidden=hidden)


def _detour(ways: int, topology: Topology) -> float:
    """How often a byte of an all-to-all crosses a link: a quarter of a ring on average; once through a switch."""
    return 1.0 if topology.chip.node else max(1.0, ways / 4)
