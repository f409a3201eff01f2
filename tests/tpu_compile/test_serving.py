"""Serving 2B and 7B on v5e slices, compiled: it fits, the cache is read by our kernel, no weight is moved.

Eight rows with a cache of 8192 tokens each. A chip has 16 GiB, of which the compiler leaves 15.75 to programs. What
`planning` says of the bytes is compared with the compiler's.
"""

from dataclasses import replace

import pytest

from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B
from keras_codegemma.distribution import CodeGemmaParallel, MeshShape
from keras_codegemma.dry_run.abstract import abstract_model
from keras_codegemma.dry_run.compiled import read
from keras_codegemma.dry_run.slices import devices
from keras_codegemma.dry_run.steps import ServingShape, lower_decode, lower_prefill
from keras_codegemma.generation import CAPACITY_SLACK
from keras_codegemma.kernels.decode_attention import tpu
from keras_codegemma.planning import Job
from keras_codegemma.planning.chips import V5E
from keras_codegemma.planning.memory import memory

pytestmark = [pytest.mark.libtpu, pytest.mark.usefixtures("shapes_stand_for_arrays")]

SHAPE = ServingShape(batch_rows=8, capacity=8192 + CAPACITY_SLACK["accelerator"])
INTEGERS = replace(SHAPE, cache_dtype="int8")
SLICES = {
    "2b-int8-1x1": (CODE_GEMMA_2B, "v5e:1x1", "int8_from_bfloat16"),
    "2b-bfloat16-2x2": (CODE_GEMMA_2B, "v5e:2x2", "bfloat16"),
    "7b-bfloat16-2x4": (CODE_GEMMA_7B, "v5e:2x4", "bfloat16"),
}

JOBS = {
    name: Job.of(
        "serve", config, batch_rows=SHAPE.batch_rows, length=8192, quantization="int8" if "int8" in dtype else None
    )
    for name, (config, _, dtype) in SLICES.items()
}


@pytest.mark.parametrize(
    ("name", "step"),
    [
        *((name, lower_decode) for name in SLICES),
        ("2b-int8-1x1", lower_prefill),
        *(pytest.param(name, lower_prefill, marks=pytest.mark.slow) for name in ("2b-bfloat16-2x2", "7b-bfloat16-2x4")),
    ],
)
def test_serving_fits_and_moves_activations_alone(name, step, request):
    config, topology, dtype = SLICES[name]
    chips = devices(topology)
    parallel = CodeGemmaParallel(MeshShape(data=1, model=len(chips)), config, devices=chips)
    lm = abstract_model(parallel, dtype=dtype)
    found = read(step(lm, parallel, SHAPE).compile())

    print(f"\n{request.node.name}: {found.chip_bytes / 2**30:.2f} GiB a chip, {dict(found.counts())}")
    assert found.chip_bytes < V5E.usable_bytes
    modelled = memory(JOBS[name], parallel.shape, phase="decode" if step is lower_decode else "prefill")
    print(f"by the model {modelled.total / 2**30:.2f} GiB, {modelled.total / found.chip_bytes - 1:+.1%}")
    assert modelled.total == pytest.approx(found.chip_bytes, rel=0.1)
    assert found.kernels >= config.num_layers  # attention over the cache; long chunks in pieces

    if len(chips) == 1:
        assert not found.collectives
        return
    # Two sums a block, one for the embedding's rows; the decode loop's own are the ids and logits of each part of the
    # vocabulary and whether all rows are finished.
    positions = SHAPE.batch_rows * (1 if step is lower_decode else SHAPE.chunk)
    activations = positions * config.hidden_dim * 2
    counts = found.counts(at_least_bytes=activations)
    assert counts == {"all-reduce": 2 * config.num_layers + 1}
    assert all(one.result_bytes <= max(activations, 4096) for one in found.collectives)
    assert len(found.collectives) <= 2 * config.num_layers + 4


@pytest.mark.parametrize(
    ("name", "step"),
    [("7b-bfloat16-2x4", lower_decode), pytest.param("2b-int8-1x1", lower_prefill, marks=pytest.mark.slow)],
)
def test_caches_of_integers_take_half_and_are_read_by_the_kernel(name, step, request):
    config, topology, dtype = SLICES[name]
    chips = devices(topology)
    parallel = CodeGemmaParallel(MeshShape(data=1, model=len(chips)), config, devices=chips)
    found = read(step(abstract_model(parallel, dtype=dtype), parallel, INTEGERS).compile())
    print(f"\n{request.node.name}: {found.chip_bytes / 2**30:.2f} GiB a chip")
    phase = "decode" if step is lower_decode else "prefill"
    modelled = memory(replace(JOBS[name], cache_dtype="int8"), parallel.shape, phase=phase)
    assert modelled.cache < 0.51 * memory(JOBS[name], parallel.shape, phase=phase).cache
    assert modelled.total == pytest.approx(found.chip_bytes, rel=0.1)
    assert found.kernels >= config.num_layers


def test_the_kernel_runs_on_the_caches_that_generate_makes():
    """Caches of other capacities would be read by the compiler's loop instead, and nobody would notice."""
    slack = CAPACITY_SLACK["accelerator"]
    assert all(tpu.block_for(size + slack) == 256 for size in (1024, 2048, 4096, 8192))
