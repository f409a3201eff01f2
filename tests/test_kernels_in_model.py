"""A model with kernels does what it does with the plain references: trained, saved, loaded, quantised."""

import random

import keras
import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma.kernels import dispatch
from tests.small_models import CONFIGS, random_backbone
from tests.tolerances import tolerance

STEPS = 2


def trained(
    config, *, lora: bool = False, quantization: str | None = None
) -> tuple[kcg.CodeGemmaCausalLM, list[float]]:
    """A random model after two steps of descent on random packed rows, and the losses."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, config.vocabulary_size, (STEPS * 2, 41)).astype(np.int32)
    segments = np.repeat([[1, 2]], 20, axis=1).repeat(STEPS * 2, axis=0).astype(np.int32)
    positions = np.tile(np.arange(20, dtype=np.int32), (STEPS * 2, 2))
    features = {"token_ids": ids[:, :-1], "segment_ids": segments, "positions": positions}
    lm = kcg.CodeGemmaCausalLM(random_backbone(config))
    if quantization is not None:
        lm.quantize(quantization)
    if lora:
        random.seed(0)  # Keras's initialisers take their seeds from it
        lm.enable_lora(4)
    lm.compile(keras.optimizers.SGD(0.1))
    history = lm.fit(features, ids[:, 1:], batch_size=2, epochs=2, shuffle=False, verbose=0).history
    return lm, history["loss"]


def assert_same(ours: kcg.CodeGemmaCausalLM, theirs: kcg.CodeGemmaCausalLM) -> None:
    for one, other in zip(ours.backbone.variables, theirs.backbone.variables, strict=True):
        wanted = np.asarray(other.value, np.float32)
        difference = np.abs(np.asarray(one.value, np.float32) - wanted).max()
        assert difference <= tolerance("trained", "float32") * np.abs(wanted).max(), one.path


@pytest.mark.parametrize("name", CONFIGS)
def test_fit_with_kernels_is_fit_without(name):
    ours, losses = trained(CONFIGS[name])
    with dispatch.using("reference"):
        theirs, expected = trained(CONFIGS[name])
    assert losses == pytest.approx(expected, rel=tolerance("loss", "float32"))
    assert losses[1] < losses[0]
    assert_same(ours, theirs)


def test_a_trained_model_is_saved_and_loaded(tmp_path):
    ours, _ = trained(CONFIGS["multi_query"])
    ours.save(tmp_path / "lm.keras")
    loaded = keras.saving.load_model(tmp_path / "lm.keras")
    ids = {"token_ids": np.arange(1, 25, dtype=np.int32)[None]}
    with dispatch.using("reference"):
        expected = loaded.predict(ids, verbose=0)
    found = ours.predict(ids, verbose=0)
    assert np.abs(found - expected).max() <= tolerance("logits", "float32") * np.abs(expected).max()


def test_adapters_over_quantised_weights_learn_as_with_references():
    config = CONFIGS["multi_query"]
    ours, losses = trained(config, lora=True, quantization="int8")
    with dispatch.using("reference"):
        theirs, expected = trained(config, lora=True, quantization="int8")
    assert losses == pytest.approx(expected, rel=tolerance("quantized_logits", "float32"))
    assert_same(ours, theirs)
