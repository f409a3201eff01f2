"""Loading takes the memory of the weights as loaded and little more."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from keras_codegemma import convert
from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B, CodeGemmaConfig
from tests.parity.recipe import random_weight

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("layout", ["keras_hub", "hugging_face"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_peaks_at_most_at_1_3_times_the_weights(large_models, layout, dtype):
    check_peak(str(large_models[layout]), dtype)


def test_so_does_loading_in_shards_over_eight_devices(large_models):
    check_peak(str(large_models["hugging_face"]), "bfloat16", "4x2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "dtype", "limit"),
    [(CODE_GEMMA_2B, "int8_from_bfloat16", 3.5e9), (CODE_GEMMA_7B, "int4_from_bfloat16", 8e9)],
    ids=["2b_int8", "7b_int4"],
)
def test_quantising_while_loading_needs_no_room_for_the_floats(tmp_path, config, dtype, limit):
    """The published shapes, from bfloat16 shards of 5 and 17 GB, which lie in the temporary folder meanwhile."""
    tile = np.random.default_rng(0).normal(0, 0.02, 1 << 20).astype(ml_dtypes.bfloat16)

    class Weights:
        def __call__(self, path, shape, dtype=None):
            return np.resize(tile, shape)

        def stored_dtype(self, path):
            return "bfloat16"

        def close(self):
            pass

    folder = tmp_path / "model"
    try:
        convert.write_hugging_face(convert.Checkpoint(config=config, dtype="bfloat16", weights=Weights()), folder)
        found = measured(str(folder), dtype)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found))
    # All that the process holds, Python and JAX included, and the pages of the files that it has read.
    assert found["before_bytes"] + found["peak_bytes"] <= limit


def check_peak(*arguments: str) -> None:
    found = measured(*arguments)
    assert found["weights_bytes"] > 200e6
    assert found["peak_bytes"] <= 1.3 * found["weights_bytes"]


def measured(*arguments: str) -> dict[str, int]:
    """What `peak_memory` prints."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.presets.peak_memory", *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def large_models(tmp_path_factory) -> dict[str, Path]:
    """A random float32 model of 438 MB in both layouts."""
    config = CodeGemmaConfig(
        vocabulary_size=32_000,
        num_layers=8,
        num_query_heads=8,
        num_key_value_heads=1,
        hidden_dim=768,
        feedforward_dim=3840,
        head_dim=128,
    )

    class Weights:
        def __call__(self, path, shape, dtype=None):
            return random_weight(path, shape, seed=0)

        def stored_dtype(self, path):
            return "float32"

        def close(self):
            pass

    folder = tmp_path_factory.mktemp("large")
    checkpoint = convert.Checkpoint(config=config, dtype="float32", weights=Weights())
    convert.write_keras_hub(checkpoint, folder / "keras_hub")
    convert.write_hugging_face(checkpoint, folder / "hugging_face")
    return {layout: folder / layout for layout in ("keras_hub", "hugging_face")}
