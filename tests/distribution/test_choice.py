"""`distribution.auto`: a mesh for the devices there are, with the reason."""

import jax
import keras
import pytest

from keras_codegemma import distribution
from keras_codegemma.config import CODE_GEMMA_2B
from keras_codegemma.distribution.choice import topology_of
from keras_codegemma.sharding import MeshShape
from tests.small_models import CONFIGS, random_backbone


class FakeChip:
    """A device of a kind that this machine does not have."""

    process_index = 0
    platform = "tpu"

    def __init__(self, kind: str, coords: tuple[int, int, int] | None = None):
        self.device_kind = kind
        self.coords = coords


def test_auto_chooses_a_mesh_that_works_and_says_why(caplog):
    config = CONFIGS["multi_query"]
    with caplog.at_level("INFO"):
        parallel = distribution.auto(config, job="finetune", batch_rows=8, length=16)
    assert parallel.shape.devices == len(jax.devices())
    assert str(parallel.shape) in parallel.reason
    assert "tokens a second by the model" in parallel.reason
    assert "The speed of cpu devices is not known" in parallel.reason
    assert parallel.reason in caplog.text
    with parallel.scope():
        assert random_backbone(config).partition is not None
    assert distribution.auto(config, job="serve").shape.data is not None
    assert distribution.CodeGemmaParallel(MeshShape(fsdp=8), config).reason == "given"
    assert keras.distribution.distribution() is None


def test_auto_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="context of"):
        distribution.auto(CODE_GEMMA_2B, job="serve", length=10_000)


def test_devices_are_known_by_kind_and_place():
    slice_of_8 = [FakeChip("TPU v5 lite", (x, y, 0)) for x in range(2) for y in range(4)]
    topology, caveat = topology_of(slice_of_8)
    assert (topology.chip.name, topology.sides, caveat) == ("v5e", (2, 4), "")
    topology, caveat = topology_of([FakeChip("NVIDIA H100 80GB HBM3")] * 4)
    assert (topology.chip.name, topology.sides, caveat) == ("h100", (4,), "")
