"""Loading takes the memory of the weights as loaded and little more."""

import dataclasses
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
from keras_codegemma.convert.hugging_face import DEFAULT_SHARD_GIB, config_to_hugging_face
from keras_codegemma.convert.names import weight_names
from keras_codegemma.convert.safetensors_store import write_safetensors
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
    found = measured_with_random_shards(config, tmp_path, dtype)
    # All that the process holds, Python and JAX included, and the pages of the files that it has read.
    assert found["before_bytes"] + found["peak_bytes"] <= limit


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [4, CODE_GEMMA_7B.num_layers], ids=["four_blocks_of_7b", "7b"])
def test_loading_7b_in_shards_over_eight_devices_takes_the_memory_of_the_shards(tmp_path, num_layers):
    """7B takes 17.1 GB of disk, in the temporary folder, and of memory in the one process that holds all shards.

    Measured is the highest resident memory, which the kernel keeps without gaps between samples. It has the mapped
    pages of files in it, so it is no less than the peak of anonymous memory alone. Pages that were read and are mapped
    no more are the system's cache: it gives them up when memory is asked for, and no process is charged for them.
    """
    config = dataclasses.replace(CODE_GEMMA_7B, num_layers=num_layers)
    weights_bytes = 2 * config.parameter_count
    # So that what takes too much fails here, and is not ended by the kernel.
    skip_without(memory_bytes=1.3 * weights_bytes, disk_bytes=1.05 * weights_bytes, folder=tmp_path)
    found = measured_with_random_shards(config, tmp_path, "bfloat16", "4x2")
    assert found["weights_bytes"] >= weights_bytes
    assert found["peak_bytes"] < 1.3 * found["weights_bytes"]


def skip_without(*, memory_bytes: float, disk_bytes: float, folder: Path) -> None:
    """Skips a test on a machine that is too small for it, with what it needs and what there is."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    free = shutil.disk_usage(folder).free
    if available < memory_bytes or free < disk_bytes:
        pytest.skip(
            f"needs {memory_bytes / 1e9:.1f} GB of available memory and {disk_bytes / 1e9:.1f} GB of disk in {folder}; "
            f"there are {available / 1e9:.1f} and {free / 1e9:.1f}"
        )


def measured_with_random_shards(config: CodeGemmaConfig, tmp_path: Path, *arguments: str) -> dict[str, int]:
    """What `peak_memory` prints of a random model of this shape in bfloat16, which is written and deleted."""
    folder = tmp_path / "model"
    try:
        write_random_shards(config, folder)
        found = measured(str(folder), *arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found))
    return found


def write_random_shards(config: CodeGemmaConfig, folder: Path) -> None:
    """A folder in Hugging Face layout in bfloat16, as fast as the disk: one random block again and again."""
    # A prime length, so that rows of a weight differ.
    block = np.random.default_rng(0).normal(0, 0.02, 1_000_003).astype(ml_dtypes.bfloat16)
    shapes = {names.hugging_face_name: names.hugging_face_shape for names in weight_names(config)}
    folder.mkdir()
    write_safetensors(
        folder,
        [(name, shape, "bfloat16") for name, shape in shapes.items()],
        read=lambda name: np.resize(block, shapes[name]),
        max_shard_bytes=DEFAULT_SHARD_GIB * 1024**3,
    )
    values = config_to_hugging_face(config, dtype="bfloat16", tokenizer=None)
    (folder / "config.json").write_text(json.dumps(values))


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
