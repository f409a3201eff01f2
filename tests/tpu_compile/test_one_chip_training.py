"""Training of 2B on one chip, compiled for v5e: the memory of fine-tuning at the shapes that a GPU of 80 GB is used at.

Adapters must compile for a chip of 16 GB. Full fine-tuning takes more than that in any case, so it is compiled over
four chips, of which each holds a row and a quarter of the weights: what all hold together is what one would, but for
what each repeats.
"""

import pytest

from keras_codegemma.config import CODE_GEMMA_2B
from keras_codegemma.dry_run.planned import compile_plan
from keras_codegemma.planning import Job, Topology, plan
from keras_codegemma.sharding import MeshShape

pytestmark = [pytest.mark.libtpu, pytest.mark.slow, pytest.mark.usefixtures("shapes_stand_for_arrays")]

ONE, FOUR = MeshShape(fsdp=1), MeshShape(fsdp=4)


@pytest.mark.parametrize(("rows", "length"), [(4, 2048), (1, 8192)])
def test_adapters_of_2b_train_in_16_gb(rows, length):
    job = Job.of("lora", CODE_GEMMA_2B, batch_rows=rows, length=length)
    step = compile_plan(plan(job, Topology.of("v5e:1x1"), ONE))["step"]
    print(f"\nlora, {rows} x {length}: {step.chip_bytes / 1e9:.2f} GB, {step.kernels} kernels")
    assert step.chip_bytes <= 16e9
    assert step.kernels > CODE_GEMMA_2B.num_layers


def test_all_weights_of_2b_train_in_48_gb():
    job = Job.of("finetune", CODE_GEMMA_2B, batch_rows=4, length=2048)
    step = compile_plan(plan(job, Topology.of("v5e:2x2"), FOUR))["step"]
    print(f"\nfinetune, 4 x 2048 over four chips: {4 * step.chip_bytes / 1e9:.2f} GB together")
    assert 4 * step.chip_bytes <= 48e9
