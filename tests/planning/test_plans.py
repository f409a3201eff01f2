"""Plans: bytes, products and exchanges against sums made by hand, and what a search recommends."""

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest

from keras_codegemma.cache import bytes_per_token
from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B
from keras_codegemma.planning import GIB, Job, Topology, meshes, picture, plan, recommend
from keras_codegemma.sharding import MeshShape

POD = Topology.of("v5e:16x16")
PRETRAIN = Job.of("pretrain", CODE_GEMMA_7B, batch_rows=256)
PRESETS = {"2b": CODE_GEMMA_2B, "7b": CODE_GEMMA_7B}


def test_what_training_holds_is_twelve_bytes_a_weight_over_its_chips():
    found = plan(PRETRAIN, POD, MeshShape(replica=4, fsdp=64)).memory
    norms = 57 * 3072  # whole on each chip
    per_chip = (CODE_GEMMA_7B.parameter_count - norms) / 64 + norms
    assert found.weights == 4 * per_chip
    assert found.optimizer == 8 * per_chip
    assert found.activations == 28 * 8192 * 3072 * 2
    # On a square slice the compiler sums whole gradients, which are then all there at once.
    whole = plan(PRETRAIN, POD, MeshShape(fsdp=256))
    assert whole.memory.gradients == pytest.approx(2 * CODE_GEMMA_7B.parameter_count, rel=1e-3)
    assert not whole.fits
    padded = plan(PRETRAIN, POD, MeshShape(fsdp=256)).memory.weights  # 12 of the width's 3072, padded to 16
    assert padded == pytest.approx(4 * (CODE_GEMMA_7B.parameter_count / 256) * 16 / 12, rel=0.01)


def test_serving_holds_weights_and_cache_split_by_heads():
    job = Job.of("serve", CODE_GEMMA_2B, batch_rows=8)
    found = plan(job, Topology.of("v5e:2x2"), MeshShape(data=1, model=4)).memory
    assert found.cache == 8 * 8448 * 18_432  # one key-value head, whole on each chip
    job = Job.of("serve", CODE_GEMMA_7B, batch_rows=8)
    found = plan(job, Topology.of("v5e:2x4"), MeshShape(data=1, model=8)).memory
    assert found.cache == 8 * 8448 * 458_752 / 8
    integers = plan(dataclasses.replace(job, cache_dtype="int8"), Topology.of("v5e:2x4"), MeshShape(data=1, model=8))
    assert integers.memory.cache == 8 * 8448 * bytes_per_token(CODE_GEMMA_7B, "int8") / 8
    light = plan(
        dataclasses.replace(
            job, quantization=Job.of("serve", CODE_GEMMA_7B, batch_rows=1, quantization="int8").quantization
        ),
        Topology.of("v5e:2x4"),
        MeshShape(data=1, model=8),
    ).memory
    assert light.weights == pytest.approx(found.weights / 2, rel=0.01)


def test_model_flops_are_six_a_weight_and_token_and_remat_costs_time_alone():
    mesh = MeshShape(replica=4, fsdp=64)
    step = plan(PRETRAIN, POD, mesh).phases[0]
    attention = 6 * 28 * 16 * 256 * 8192
    assert step.work.model_flops == 256 * 8192 * (6 * CODE_GEMMA_7B.parameter_count + attention)
    kept = plan(dataclasses.replace(PRETRAIN, remat=None), POD, mesh)
    assert kept.phases[0].work.model_flops == step.work.model_flops
    assert kept.phases[0].work.chip_flops < 0.8 * step.work.chip_flops
    assert kept.memory.activations > 10 * plan(PRETRAIN, POD, mesh).memory.activations
    adapters = plan(Job.of("lora", CODE_GEMMA_7B, batch_rows=256, length=8192), POD, mesh).phases[0]
    assert adapters.work.model_flops == 256 * 8192 * (4 * CODE_GEMMA_7B.parameter_count + attention)


def test_exchanges_are_those_of_the_layout():
    def exchanges(job, name, mesh):
        return {
            (one.what, one.axis): (one.kind, one.count) for one in plan(job, Topology.of(name), mesh).phases[0].traffic
        }

    assert exchanges(PRETRAIN, "v5e:16x16", MeshShape(replica=4, fsdp=64)) == {
        ("kernels", "fsdp"): ("all-gather", 2 * 7 * 28),
        ("embedding", "fsdp"): ("all-gather", 1),
        ("ids", "fsdp"): ("all-gather", 1),
        ("embedded rows", "fsdp"): ("all-to-all", 2),
        ("gradients", "fsdp"): ("reduce-scatter", 7 * 28 + 1),
        ("gradients", "replica"): ("all-reduce", 9 * 28 + 2),
    }
    assert exchanges(PRETRAIN, "v5e:2x2", MeshShape(data=1, model=4)) == {
        ("sums of activations", "model"): ("all-reduce", 5 * 28 + 1)
    }
    serve = Job.of("serve", CODE_GEMMA_7B, batch_rows=8)
    assert exchanges(serve, "v5e:2x4", MeshShape(data=1, model=8)) == {
        ("sums of activations", "model"): ("all-reduce", 57)
    }
    assert exchanges(serve, "v5e:1x1", MeshShape(data=1)) == {}


def test_the_seven_billion_model_on_a_pod_may_reach_the_published_utilisation():
    found = recommend(Job.of("pretrain", CODE_GEMMA_7B, batch_rows=1), POD)
    step = found.best.phases[0]
    print(f"\n{found.reason} {step.utilisation:.1%}")
    assert step.utilisation >= 0.55
    assert step.bound_by == "products"
    assert found.best.mesh == MeshShape(replica=4, fsdp=64)
    small = recommend(Job.of("pretrain", CODE_GEMMA_2B, batch_rows=1), Topology.of("v5e:4x4")).best
    assert (small.mesh, small.job.batch_rows) == (MeshShape(replica=2, fsdp=8), 16)


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "lora", "serve"])
@pytest.mark.parametrize("name", ["v5e:2x2", "v5e:2x4", "v5e:4x8", "v5e:16x16", "v6e:2x4", "h100:1", "h100:16"])
@pytest.mark.parametrize("preset", ["2b", "7b"])
def test_a_recommended_mesh_fits_or_the_message_says_what_would(kind, name, preset):
    job, topology = Job.of(kind, PRESETS[preset], batch_rows=1), Topology.of(name)
    if not any(plan(job.with_rows(mesh.row_shards), topology, mesh).fits for mesh in meshes(job, topology)):
        with pytest.raises(ValueError, match=r"needs at least .* What would fit: "):
            recommend(job, topology)
        return
    found = recommend(job, topology)
    assert found.best.fits
    assert found.best.memory.total <= topology.chip.usable_bytes
    assert found.best.tokens_per_second >= 0.98 * max(one.tokens_per_second for one in found.plans if one.fits)


def test_too_little_memory_names_the_numbers_and_what_would_fit():
    job = Job.of("pretrain", CODE_GEMMA_7B, batch_rows=1)
    with pytest.raises(ValueError, match=r"15\.75 GiB .* needs at least 16\.\d+ \(optimizer .*adafactor, .* v5e:4x4"):
        recommend(job, Topology.of("v5e:2x4"))
    with pytest.raises(ValueError, match="What would fit: int8 weights, or v5e:2x2"):
        recommend(Job.of("serve", CODE_GEMMA_7B, batch_rows=1), Topology.of("v5e:1x1"))
    with pytest.raises(ValueError, match=r"What would fit: the mesh replica \d+ x fsdp \d+ x model \d+"):
        recommend(job, Topology.of("v5e:4x4"), mesh=MeshShape(replica=16, fsdp=1))
    with pytest.raises(ValueError, match=r"What would fit: \d+ rows on replica"):
        recommend(job, Topology.of("v5e:4x4"), batch_rows=4096)


def test_bad_jobs_are_refused():
    for settings, message in (
        ({"kind": "dream"}, "one of pretrain, finetune, lora, serve; got 'dream'"),
        ({"length": 9000}, "context of 8192 tokens; got 9000"),
        ({"batch_rows": 0}, "must be at least 1; got 0"),
        ({"quantization": "int8"}, "cannot be trained; got int8 for the job pretrain"),
        ({"optimizer": "sgd"}, "one of adamw, adafactor; got 'sgd'"),
        ({"weight_dtype": "int8"}, "float32 or bfloat16; got 'int8'"),
    ):
        with pytest.raises(ValueError, match=message):
            Job.of(**{"kind": "pretrain", "config": CODE_GEMMA_2B, "batch_rows": 8, **settings})
    with pytest.raises(ValueError, match="is 4 and there are 256"):
        plan(PRETRAIN, POD, MeshShape(fsdp=4))


def test_the_picture_shows_each_plan_and_the_limit():
    found = recommend(Job.of("pretrain", CODE_GEMMA_7B, batch_rows=1), POD)
    svg = picture(found.plans[:3], title="7B & <v5e>")
    texts = [node.text for node in ElementTree.fromstring(svg).iter() if node.text]
    assert "7B & <v5e>" in texts
    assert "15.75 GiB a chip" in texts
    assert f"{found.plans[0].memory.total / GIB:.2f} GiB" in texts
