"""What `fit` computes, against implementations that are not ours and against itself in another form."""

import json

import jax
import keras
import numpy as np
import pytest

import keras_codegemma as kcg
from tests.conftest import ROOT
from tests.small_models import CONFIGS, random_backbone
from tests.tolerances import tolerance
from tests.training.run import plain_gemma
from tests.training.run.made_run import real_corpus, small_recipe
from training.config import ModelSettings, OptimizerSettings
from training.log import read
from training.run import train

RATE = 1e3
"""Of plain descent: so large that a weight's step, not the weight, has the digits."""


@pytest.fixture(scope="module")
def tiny() -> kcg.CodeGemmaCausalLM:
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    lm.compile(optimizer=keras.optimizers.SGD(0.0))
    return lm


def test_the_loss_equals_that_of_transformers_on_the_same_weights_and_rows(tiny):
    """Its values are in tests/data/tiny_golden.json, with versions; from all its log-probabilities follows its loss."""
    cases = json.loads((ROOT / "tests/data/tiny_golden.json").read_text())["cases"]
    length = max(len(case["prompt_ids"]) for case in cases)
    ids, labels, weights = (np.zeros((len(cases), length), kind) for kind in (np.int32, np.int32, np.float32))
    for row, case in enumerate(cases):
        count = len(case["prompt_ids"])
        ids[row, :count] = case["prompt_ids"]
        labels[row, : count - 1], weights[row, : count - 1] = case["prompt_ids"][1:], 1
    found = tiny.evaluate(
        {"token_ids": ids, "padding_mask": ids > 0}, labels, sample_weight=weights, verbose=0, return_dict=True
    )
    expected = -np.concatenate([case["prompt_log_probs"] for case in cases])
    assert found["nats_per_token"] == pytest.approx(expected.mean(), rel=tolerance("loss", "float32"))
    assert found["loss"] == pytest.approx(expected.sum() / ids.size, rel=tolerance("loss", "float32"))


def gradients(backbone, batch) -> dict[str, np.ndarray]:
    """What one step of `fit` moves each weight by."""
    lm = kcg.CodeGemmaCausalLM(backbone)
    before = {v.path: np.asarray(v.value, np.float64) for v in lm.trainable_variables}
    lm.compile(optimizer=keras.optimizers.SGD(RATE))
    lm.fit(batch[0], batch[1], sample_weight=batch[2], batch_size=len(batch[1]), shuffle=False, verbose=0)
    return {v.path: (before[v.path] - np.asarray(v.value)) / RATE for v in lm.trainable_variables}


def batch_of(config, rows: int, length: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, config.vocabulary_size, (rows, length + 1)).astype(np.int32)
    weights = rng.choice([0.0, 1.0, 3.0], (rows, length)).astype(np.float32)
    return {"token_ids": ids[:, :-1]}, ids[:, 1:], weights


@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_of_every_weight_equals_autodiff_of_a_plain_implementation(name):
    config = CONFIGS[name]
    backbone = random_backbone(config)
    features, labels, sample_weight = batch_of(config, 2, 24)
    with jax.enable_x64(True):
        weights = {v.path: jax.numpy.asarray(np.asarray(v.value, np.float64)) for v in backbone.variables}
        plain = jax.grad(lambda w: plain_gemma.loss(w, config, features["token_ids"], labels, sample_weight))
        expected = {path: np.asarray(value) for path, value in jax.jit(plain)(weights).items()}
    found = gradients(backbone, (features, labels, sample_weight))
    assert found.keys() == expected.keys() == config.weight_shapes().keys()
    for path, value in found.items():
        wanted = expected[path]
        assert wanted.dtype == np.float64
        largest = np.abs(wanted).max()
        assert largest > 0, path
        assert np.abs(value - wanted).max() <= tolerance("model_gradient", "float32") * largest, path


def test_packed_documents_train_as_the_same_documents_apart():
    config = CONFIGS["grouped_query"]
    lengths, width = (9, 14, 6), 32
    documents = [batch_of(config, 1, length, seed=length) for length in lengths]

    def empty(rows):
        return {name: np.zeros((rows, width), np.int32) for name in ("token_ids", "segment_ids", "positions")}

    packed, apart = empty(1), empty(len(lengths))
    targets = {rows: (np.zeros((rows, width), np.int32), np.zeros((rows, width), np.float32)) for rows in (1, 3)}
    at = 0
    for index, (features, labels, weights) in enumerate(documents):
        length = lengths[index]
        for arrays, (y, weight), row, start in ((packed, targets[1], 0, at), (apart, targets[3], index, 0)):
            place = (row, slice(start, start + length))
            arrays["token_ids"][place] = features["token_ids"][0]
            arrays["segment_ids"][place] = index + 1
            arrays["positions"][place] = np.arange(length)
            y[place], weight[place] = labels[0], weights[0]
        at += length
    for arrays in (packed, apart):
        arrays["padding_mask"] = arrays["segment_ids"] > 0
    together = gradients(random_backbone(config), (packed, *targets[1]))
    alone = gradients(random_backbone(config), (apart, *targets[3]))
    for path, value in together.items():
        # Keras divides by all positions, of which three rows have three times as many.
        wanted = alone[path] * len(lengths)
        assert np.abs(value - wanted).max() <= tolerance("model_gradient", "float32") * np.abs(wanted).max(), path


def test_adapters_are_trained_saved_carried_on_from_and_merged(tmp_path):
    corpus = real_corpus(tmp_path / "corpus", files=1)
    recipe = small_recipe(
        corpus,
        steps=16,
        model=ModelSettings(lora_rank=4, lora_targets=("query", "value", "ffw_linear")),
        optimizer=OptimizerSettings(peak_rate=5e-3, warmup_steps=2),
    )
    assert train(recipe, tmp_path / "first", report=lambda line: None)
    adapter = tmp_path / "first" / "adapter.safetensors"
    carried = small_recipe(
        corpus,
        steps=8,
        model=ModelSettings(adapter=adapter, quantization="int8"),
        optimizer=OptimizerSettings(peak_rate=5e-3, warmup_steps=2),
    )
    assert train(carried, tmp_path / "second", report=lambda line: None)
    first, second = (
        [line["nats_per_token"] for line in read(tmp_path / name / "metrics.jsonl") if "loss" in line]
        for name in ("first", "second")
    )
    # On the very batches that the first run began with, the second one begins with what the first one learned.
    assert second[0] < first[0] - 0.05
    plain, adapted = (kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32") for _ in range(2))
    adapted.load_lora_weights(adapter)
    adapted.save_to_preset(tmp_path / "merged")
    merged = kcg.CodeGemmaCausalLM.from_preset(tmp_path / "merged", dtype="float32")
    text = "def add(a, b):\n    return a + b\n"
    np.testing.assert_allclose(merged.score(text), adapted.score(text), atol=tolerance("logprob", "float32"))
    assert np.abs(plain.score(text) - adapted.score(text)).max() > 1e-2
    for before, after in zip(plain.backbone.variables, adapted.backbone.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(np.asarray(before.value), np.asarray(after.value))
