"""Which mesh and which batch: all are planned, what does not fit is left out, the fastest is recommended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from keras_codegemma.planning.chips import GIB, Topology
from keras_codegemma.planning.job import Job
from keras_codegemma.planning.model import Plan, plan
from keras_codegemma.planning.parts import is_copied
from keras_codegemma.quantization import Quantization
from keras_codegemma.sharding import MeshShape

_AS_FAST = 0.98
"""Plans within this part of the fastest count as equal: the one with fewer rows and fewer splits is then better."""

_MOST_ROWS_A_SHARD = 64
_SHORTEST = 512
"""Tokens of the shortest rows that are proposed instead."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What a search found.

    Attributes:
        best: the plan to take; it fits.
        plans: all that were looked at, the fastest first, those that do not fit last.
    """

    best: Plan
    plans: tuple[Plan, ...]

    @property
    def reason(self) -> str:
        """Why this mesh, in one sentence."""
        best, fitting = self.best, [one for one in self.plans if one.fits]
        meshes = {str(one.mesh) for one in self.plans}
        return (
            f"{best.mesh} with {best.job.batch_rows} rows: of {len(meshes)} meshes on {best.topology.name}, "
            f"{len({str(one.mesh) for one in fitting})} fit with some batch, and none that fits is more than "
            f"{1 - _AS_FAST:.0%} faster than {best.tokens_per_second:,.0f} tokens a second by the model; "
            f"{best.memory.total / GIB:.2f} of {best.topology.chip.usable_bytes / GIB:.2f} GiB a chip, bound by "
            f"{best.phases[0].bound_by}."
        )


def meshes(job: Job, topology: Topology) -> list[MeshShape]:
    """Every mesh of all chips that divides the model: (data, model) to serve, (replica, fsdp, model) to train."""
    found = []
    for model in _divisors(topology.chips):
        rest = topology.chips // model
        if job.serves:
            candidates = [MeshShape(data=rest, model=model)]
        else:
            candidates = [MeshShape(replica=rest // fsdp, fsdp=fsdp, model=model) for fsdp in _divisors(rest)]
        found += [mesh for mesh in candidates if _divides(mesh, job)]
    return found


def recommend(
    job: Job, topology: Topology, *, batch_rows: int | None = None, mesh: MeshShape | None = None
) -> Recommendation:
    """The best plan of a job on a topology.

    Args:
        job: its `batch_rows` is not looked at.
        topology: of the chips.
        batch_rows: of a step; None searches.
        mesh: the only one to look at; None searches.

    Raises:
        ValueError: nothing fits, or the mesh does not divide; says which numbers clash and what would work.
    """
    plans = _plans(job, topology, batch_rows=batch_rows, mesh=mesh)
    fitting = [one for one in plans if one.fits]
    if not fitting:
        raise ValueError(_why_not(job, topology, plans, batch_rows=batch_rows, mesh=mesh))
    fastest = max(one.tokens_per_second for one in fitting)
    equal = [one for one in fitting if one.tokens_per_second >= _AS_FAST * fastest]
    best = min(equal, key=_simplicity)
    order = sorted(plans, key=lambda one: (not one.fits, -one.tokens_per_second))
    return Recommendation(best=best, plans=tuple(order))


def _plans(job: Job, topology: Topology, *, batch_rows: int | None, mesh: MeshShape | None) -> list[Plan]:
    if mesh is not None:
        mesh.check_devices(topology.chips)
        mesh.check(job.config)
    chosen = meshes(job, topology) if mesh is None else [mesh]
    return [plan(job.with_rows(rows), topology, one) for one in chosen for rows in _rows(one, batch_rows)]


def _rows(mesh: MeshShape, batch_rows: int | None) -> Iterator[int]:
    if batch_rows is not None:
        yield batch_rows
        return
    each = 1
    while each <= _MOST_ROWS_A_SHARD:
        yield each * mesh.row_shards
        each *= 2


def _simplicity(one: Plan) -> tuple[int, ...]:
    """Smaller is better."""
    mesh = one.mesh
    moves_more = is_copied(one.job.config, mesh) + one.topology.sums_whole(mesh.width_shards)
    return one.job.batch_rows, moves_more, mesh.model, mesh.replica or 1


def _why_not(
    job: Job, topology: Topology, plans: Sequence[Plan], *, batch_rows: int | None, mesh: MeshShape | None
) -> str:
    least = min(plans, key=lambda one: one.memory.total)
    usable = topology.chip.usable_bytes
    kinds = sorted(least.memory.by_kind().items(), key=lambda item: -item[1])[:3]
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in kinds)
    rows = f"{least.job.batch_rows} rows of {job.length}"
    return (
        f"A step must fit into the {usable / GIB:.2f} GiB that a chip of {topology.name} gives; {job.kind} with {rows} "
        f"needs at least {least.memory.total / GIB:.2f} ({parts}), on {least.mesh}. "
        f"What would fit: {_what_would(job, topology, batch_rows=batch_rows, mesh=mesh)}."
    )


def _what_would(job: Job, topology: Topology, *, batch_rows: int | None, mesh: MeshShape | None) -> str:
    """Changes, each alone, with which it fits."""
    found = []
    if mesh is not None and (other := _first(job, topology, batch_rows)) is not None:
        found.append(f"the mesh {other.mesh}")
    if batch_rows is not None and (other := _first(job, topology, None)) is not None:
        found.append(f"{other.job.batch_rows} rows on {other.mesh}")
    found += [name for name, lighter in _lighter(job) if _first(lighter, topology, batch_rows, mesh) is not None][:3]
    for larger in topology.larger():
        if _first(job, larger, batch_rows) is not None:
            found.append(larger.name)
            break
    return ", or ".join(found) or "nothing on this kind of chip; take one with more memory"


def _lighter(job: Job) -> Iterator[tuple[str, Job]]:
    """Jobs that need less memory, each with the name of the change."""
    if job.remat is None and not job.serves:
        yield "remat block", replace(job, remat="block")
    if job.optimizer == "adamw" and job.trains_all:
        yield "the optimizer adafactor", replace(job, optimizer="adafactor")
    if job.quantization is None and not job.trains_all:
        yield "int8 weights", replace(job, quantization=Quantization.of("int8"))
    length = job.length // 2
    while length >= _SHORTEST:
        yield f"rows of {length}", replace(job, length=length)
        length //= 2


def _first(job: Job, topology: Topology, batch_rows: int | None, mesh: MeshShape | None = None) -> Plan | None:
    for chosen in meshes(job, topology) if mesh is None else [mesh]:
        for rows in _rows(chosen, batch_rows):
            if (one := plan(job.with_rows(rows), topology, chosen)).fits:
                return one
    return None


def _divides(mesh: MeshShape, job: Job) -> bool:
    try:
        mesh.check(job.config)
    except ValueError:
        return False
    return job.quantization is None or _scales_divide(mesh, job)


def _scales_divide(mesh: MeshShape, job: Job) -> bool:
    """Whether the groups that share a scale can be split as the weights are."""
    group = job.quantization.group_size if job.quantization is not None else 0
    config = job.config
    return not group or (
        config.hidden_dim // group % mesh.width_shards == 0
        and config.feedforward_dim // group % mesh.model == 0
        and config.num_query_heads * config.head_dim // group % mesh.model == 0
    )


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]
