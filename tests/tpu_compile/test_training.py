"""Training compiled for v5e slices: it fits, runs our kernels, and exchanges no more than the layout implies.

2B on 16 chips with a batch of 16 rows, 7B on a pod of 256 with one of 256 rows, all of 8192 tokens, with AdamW on
float32 weights and gradients clipped together; on a mesh with a model axis, two blocks of 2B. The bytes are compared
with those of `planning`.
"""

import time
from dataclasses import replace

import pytest

from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B
from keras_codegemma.dry_run.compiled import CompiledStep
from keras_codegemma.dry_run.planned import compile_plan
from keras_codegemma.planning import Job, Plan, Topology, plan
from keras_codegemma.sharding import MeshShape

pytestmark = [pytest.mark.libtpu, pytest.mark.slow, pytest.mark.usefixtures("shapes_stand_for_arrays")]

SECONDS = 300  # of compiling on two cores
ATTENTION_KERNELS = 4  # a block: forward, again for the backward pass, and the gradients of queries and of keys
LARGE_BYTES = 2**20
CASES = {
    "2b-4x4": (CODE_GEMMA_2B, "v5e:4x4", MeshShape(replica=2, fsdp=8), 16),
    "7b-16x16": (CODE_GEMMA_7B, "v5e:16x16", MeshShape(replica=4, fsdp=64), 256),
    "2b-two-blocks-2x4": (replace(CODE_GEMMA_2B, num_layers=2), "v5e:2x4", MeshShape(fsdp=4, model=2), 8),
}


@pytest.mark.parametrize("name", CASES)
def test_training_fits_runs_our_kernels_and_exchanges_what_the_layout_implies(name):
    config, topology, mesh, rows = CASES[name]
    planned = plan(Job.of("pretrain", config, batch_rows=rows, length=8192), Topology.of(topology), mesh)
    begun = time.process_time()
    step = compile_plan(planned)["step"]
    seconds = time.process_time() - begun
    _report(name, planned, step, seconds)

    assert planned.fits
    assert step.chip_bytes < planned.topology.chip.usable_bytes
    assert planned.memory.total == pytest.approx(step.chip_bytes, rel=0.1)
    assert seconds < SECONDS * 2  # of both cores together
    assert step.kernels >= ATTENTION_KERNELS * config.num_layers + 1
    assert _exceeding(planned, step) == {}


def _report(name: str, planned: Plan, step: CompiledStep, seconds: float) -> None:
    print(
        f"\n{name}, {planned.job.batch_rows} rows: {step.chip_bytes / 2**30:.2f} GiB a chip (arguments "
        f"{step.argument_bytes / 2**30:.2f}, peak {step.peak_bytes / 2**30:.2f}, "
        f"program {step.program_bytes / 2**30:.2f}); "
        f"by the model {planned.memory.total / 2**30:.2f}, {planned.memory.total / step.chip_bytes - 1:+.1%}; "
        f"{step.kernels} kernels; {dict(step.counts(at_least_bytes=LARGE_BYTES))}; {seconds:.0f} s of processor"
    )


def _exceeding(planned: Plan, step: CompiledStep) -> dict[str, tuple[int, int]]:
    """Kinds of large collectives of which there are more than planned: (compiled, planned). Sums count together.

    A scattered sum may be made of a sum and a permute of what lies between two parts.
    """
    found: dict[str, int] = {}
    allowed: dict[str, int] = {}
    for kind, count in step.counts(at_least_bytes=LARGE_BYTES).items():
        found[_family(kind)] = found.get(_family(kind), 0) + count
    for one in planned.phases[0].traffic:
        allowed[_family(one.kind)] = allowed.get(_family(one.kind), 0) + one.count
        if one.kind == "reduce-scatter":
            allowed["collective-permute"] = one.count
    return {kind: (count, allowed.get(kind, 0)) for kind, count in found.items() if count > allowed.get(kind, 0)}


def _family(kind: str) -> str:
    return "sum" if kind in ("all-reduce", "reduce-scatter") else kind
