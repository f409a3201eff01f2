"""A plan: one job on one mesh of one topology, with its bytes, products, exchanges and the time that they bound.

It is a model, not a measurement: an upper limit of speed by the chips' stated peaks (`ASSUMPTIONS`).
"""

from dataclasses import dataclass

from keras_codegemma.planning.chips import Topology
from keras_codegemma.planning.exchange import Traffic, serving_traffic, training_traffic
from keras_codegemma.planning.job import Job
from keras_codegemma.planning.memory import Memory, memory
from keras_codegemma.planning.work import Work, decode_work, prefill_work, training_work
from keras_codegemma.sharding import MeshShape

ASSUMPTIONS = (
    "A model, not a measurement: products run at the chip's stated bfloat16 peak, memory and links at their stated "
    "rates. Published runs reach less: MaxText on 256 v6e chips 45% model-FLOP utilisation for an 8-billion model in "
    "rows of 8192, on v5p up to 65% (maxtext.readthedocs.io, page Optimized models tiering).",
    "A step takes the longest of products, memory and exchanges that can run beside products (gathering kernels, "
    "scattering and summing gradients), and on top the sums of activations over the model axis, which cannot.",
    "Model FLOPs are 6 a weight and token (4 where only adapters train), and 6 a head, its width and a position, half "
    "of all positions being causal; what remat computes again counts as time, not as model FLOPs.",
    "Sides of 16 chips of a TPU slice are rings, shorter ones lines. On a square slice the TPU compiler sums whole "
    "gradients where their parts would do (seen with libtpu 0.0.42).",
    "Documents within packed rows are attended to as if each row were one.",
)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What repeats: a training step, the decoding of one token a row, or the reading of all prompts.

    Attributes:
        name: "step", "decode" or "prefill".
        work: products and bytes.
        traffic: exchanges.
        seconds_by: time of products, memory, exchanges beside products ("links") and exchanges that products wait for
            ("waiting").
        utilisation: model FLOPs a second, as a part of all chips' peak.
    """

    name: str
    work: Work
    traffic: tuple[Traffic, ...]
    seconds_by: dict[str, float]
    utilisation: float

    @property
    def seconds(self) -> float:
        """At least, for one."""
        return _seconds(self.seconds_by)

    @property
    def bound_by(self) -> str:
        """What takes longest: "products", "memory", "links" or "waiting"."""
        return max(self.seconds_by, key=lambda name: self.seconds_by[name])

    @property
    def tokens_per_second(self) -> float:
        """Of all chips together."""
        return self.work.tokens / self.seconds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job on a mesh.

    Attributes:
        job, topology, mesh: of what.
        memory: bytes on each chip.
        phases: "step" of training; "decode" and "prefill" of serving.
    """

    job: Job
    topology: Topology
    mesh: MeshShape
    memory: Memory
    phases: tuple[Phase, ...]

    @property
    def fits(self) -> bool:
        """Whether a chip gives as much memory as a step needs."""
        return self.memory.total <= self.topology.chip.usable_bytes

    @property
    def tokens_per_second(self) -> float:
        """Trained on, or written."""
        return self.phases[0].tokens_per_second


def plan(job: Job, topology: Topology, mesh: MeshShape) -> Plan:
    """The plan of a job; a batch that does not divide is padded with empty rows, which take time.

    Raises:
        ValueError: a mesh that does not take every chip or does not divide the model.
    """
    mesh.check_devices(topology.chips)
    mesh.check(job.config)
    return Plan(
        job=job,
        topology=topology,
        mesh=mesh,
        memory=memory(job, mesh, topology=topology),
        phases=_phases(job, topology, mesh),
    )


def _phases(job: Job, topology: Topology, mesh: MeshShape) -> tuple[Phase, ...]:
    if not job.serves:
        return (_phase("step", training_work(job, mesh), training_traffic(job, mesh, topology), topology),)
    chunks = -(-job.length // job.chunk)
    prompts = serving_traffic(job, mesh, topology, positions=job.chunk, passes=chunks)
    return (
        _phase("decode", decode_work(job, mesh), serving_traffic(job, mesh, topology, positions=1), topology),
        _phase("prefill", prefill_work(job, mesh), prompts, topology),
    )


def _phase(name: str, work: Work, traffic: list[Traffic], topology: Topology) -> Phase:
    chip = topology.chip
    seconds = {
        "products": work.chip_flops / chip.peak_flops,
        "memory": work.chip_bytes / chip.memory_bandwidth,
        "links": sum(one.seconds for one in traffic if one.hidden),
        "waiting": sum(one.seconds for one in traffic if not one.hidden),
    }
    peak = chip.peak_flops * topology.chips
    return Phase(
        name=name,
        work=work,
        traffic=tuple(traffic),
        seconds_by=seconds,
        utilisation=work.model_flops / (_seconds(seconds) * peak),
    )


def _seconds(by: dict[str, float]) -> float:
    return max(by["products"], by["memory"], by["links"]) + by["waiting"]
