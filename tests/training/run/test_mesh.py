"""A run over eight devices has the losses of one, and goes on from its sharded checkpoints."""

import os
import signal
from dataclasses import replace

import keras
import pytest

from tests.tolerances import tolerance
from tests.training.run.made_run import real_corpus, small_recipe
from training.config import MeshSettings
from training.log import read
from training.run import train


@pytest.fixture
def no_distribution_after():
    yield
    keras.distribution.set_distribution(None)


def losses(folder):
    return [line["loss"] for line in read(folder / "metrics.jsonl") if "loss" in line]


def test_a_run_over_a_mesh_stops_goes_on_and_has_the_losses_of_one_device(tmp_path, no_distribution_after):
    def stop(line):
        if line["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = small_recipe(real_corpus(tmp_path / "corpus", files=1), steps=10)
    recipe = replace(recipe, data=replace(recipe.data, batch_size=8))
    assert train(recipe, tmp_path / "one", report=lambda line: None)
    sharded = replace(recipe, mesh=MeshSettings(fsdp=8))
    assert not train(sharded, tmp_path / "eight", report=stop)
    assert train(sharded, tmp_path / "eight", report=lambda line: None)
    assert losses(tmp_path / "eight") == pytest.approx(losses(tmp_path / "one"), rel=tolerance("rescored", "float32"))
