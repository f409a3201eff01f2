"""Whole steps, compiled for GPUs that are not there: what they need of their memory."""

import pytest

from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B
from keras_codegemma.distribution import CodeGemmaParallel
from keras_codegemma.dry_run import gpus as compiler
from keras_codegemma.dry_run.abstract import abstract_model
from keras_codegemma.dry_run.compiled import CompiledStep, read
from keras_codegemma.dry_run.planned import absence, compile_plan
from keras_codegemma.dry_run.steps import ServingShape, lower_decode, lower_prefill
from keras_codegemma.planning import Job, Topology, plan
from keras_codegemma.sharding import MeshShape

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("shapes_stand_for_arrays")]
LAYERS = CODE_GEMMA_2B.num_layers


def compiled(kind: str, rows: int, length: int, gpus: int = 1) -> dict[str, CompiledStep]:
    job = Job.of(kind, CODE_GEMMA_2B, batch_rows=rows, length=length)
    planned = plan(job, Topology.of(f"h100:{gpus}"), MeshShape(fsdp=gpus))
    assert absence(planned) is None
    steps = compile_plan(planned)
    for name, step in steps.items():
        print(f"\n{kind} {name}, {rows} x {length} on {gpus}: {step.chip_bytes / 1e9:.2f} GB, {step.kernels} kernels")
    return steps


@pytest.mark.parametrize(("rows", "length"), [(4, 2048), pytest.param(1, 8192, marks=pytest.mark.slow)])
def test_adapters_train_in_16_gb(rows, length):
    step = compiled("lora", rows, length)["step"]
    assert step.chip_bytes <= 16e9
    assert step.kernels == 4 * LAYERS  # attention, again in the backward pass, and the two of its gradients


@pytest.mark.slow
def test_all_weights_train_in_48_gb():
    assert compiled("finetune", 4, 2048)["step"].chip_bytes <= 48e9


def test_decoding_and_prefill_use_the_kernel():
    steps = compiled("serve", 8, 2048)
    assert steps["decode"].kernels == steps["prefill"].kernels == LAYERS
    assert steps["decode"].temporary_bytes <= 0.5e9


@pytest.mark.parametrize(
    ("config", "policy", "gigabytes"),
    [
        pytest.param(CODE_GEMMA_2B, "int4_from_bfloat16", 2, id="2b_int4"),
        pytest.param(CODE_GEMMA_2B, "int8_from_bfloat16", 3.5, id="2b_int8", marks=pytest.mark.slow),
        pytest.param(CODE_GEMMA_7B, "int4_from_bfloat16", 9, id="7b_int4", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("cache_dtype", ["bfloat16", pytest.param("int8", marks=pytest.mark.slow)])
def test_quantised_models_serve_the_whole_context_on_a_card_of_24_gb(config, policy, gigabytes, cache_dtype):
    """Every product of a decoding step is a kernel: four of a block's attention, three of its units, and the logits."""
    parallel = CodeGemmaParallel(MeshShape(fsdp=1), config, devices=compiler.devices("rtx4090:1"))
    lm = abstract_model(parallel, dtype=policy)
    shape = ServingShape(batch_rows=1, capacity=config.context_length, cache_dtype=cache_dtype)
    decode, prefill = (read(lower(lm, parallel, shape).compile()) for lower in (lower_decode, lower_prefill))
    found = f"decode {decode.chip_bytes / 1e9:.2f} GB, prefill {prefill.chip_bytes / 1e9:.2f} GB"
    print(f"\n{policy}, cache {cache_dtype}: {found}")
    assert max(decode.chip_bytes, prefill.chip_bytes) <= gigabytes * 1e9
    assert decode.kernels == config.num_layers * (1 + 7) + 1


@pytest.mark.slow
def test_a_node_of_eight_shares_weights_and_optimiser():
    one, eight = (compiled("finetune", gpus, 2048, gpus=gpus)["step"] for gpus in (1, 8))
    assert eight.argument_bytes <= one.argument_bytes / 7.5
    assert sum(eight.counts().values()) > LAYERS
