"""Which GPUs take the kernels, and with how much room."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from keras_codegemma.kernels import cuda
from keras_codegemma.kernels.attention import gpu as attention
from keras_codegemma.kernels.decode_attention import gpu as decode_attention
from keras_codegemma.kernels.quantized_matmul import cases
from keras_codegemma.kernels.quantized_matmul import gpu as quantized_matmul


def on_gpu(monkeypatch, **attributes) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(**attributes)])


def refusals() -> set[str | None]:
    rows = jax.ShapeDtypeStruct((1, 64, 2, 64), jnp.bfloat16)
    (x, weights), options = cases.REAL_2B[0].arguments("bfloat16")
    return {
        attention.supports(rows, rows),
        decode_attention.supports(rows, rows),
        quantized_matmul.supports(x, weights, **options),
    }


@pytest.mark.parametrize(
    ("capability", "tiles"),
    [
        ("8.0", attention.LARGE_TILES),
        ("8.6", attention.SMALL_TILES),
        ("8.9", attention.SMALL_TILES),
        ("9.0", attention.LARGE_TILES),
        ("12.0", attention.SMALL_TILES),
    ],
)
def test_from_ampere_on_kernels_run_in_tiles_that_fit(monkeypatch, capability, tiles):
    on_gpu(monkeypatch, compute_capability=capability)
    assert cuda.capability() == tuple(int(number) for number in capability.split("."))
    assert refusals() == {None}
    assert attention.tiles_for_this_gpu() is tiles


def test_older_ones_take_the_compilers_versions_and_hear_why(monkeypatch):
    on_gpu(monkeypatch, compute_capability="7.5")
    assert refusals() == {"it needs a GPU of compute capability 8.0 or newer, this one has 7.5"}


def test_without_a_gpu_or_a_number_nothing_is_refused(monkeypatch):
    assert cuda.capability() is None
    assert refusals() == {None}
    on_gpu(monkeypatch)
    assert cuda.capability() is None
    assert attention.tiles_for_this_gpu() is attention.SMALL_TILES
