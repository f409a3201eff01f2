"""A model on eight devices does what it does on one: logits, loss, gradients, an AdamW step, greedy generation."""

import dataclasses
import functools
from contextlib import nullcontext

import jax
import keras
import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma.distribution import CodeGemmaParallel, MeshShape
from tests.small_models import CONFIGS, random_backbone
from tests.tolerances import tolerance

MESHES = {
    "8x1": MeshShape(data=8),
    "4x2": MeshShape(data=4, model=2),
    "2x4": MeshShape(data=2, model=4),
    "1x8": MeshShape(data=1, model=8),
    "2x2x2": MeshShape(replica=2, fsdp=2, model=2),
    "1x8x1": MeshShape(fsdp=8),
}
KV_HEADS = {"multi_query": 1, "multi_head": 8, "grouped_query": 2}
# Compiling takes about 8 s a mesh: by default each kind of mesh and of model has its turn.
QUICK = {("multi_query", "2x4"), ("multi_query", "2x2x2"), ("multi_head", "1x8"), ("multi_head", "2x2x2")}
CASES = [
    pytest.param(name, mesh, marks=() if (name, mesh) in QUICK else pytest.mark.slow, id=f"{name}-{mesh}")
    for name in KV_HEADS
    for mesh in MESHES
]
IDS = np.random.default_rng(0).integers(1, 320, (8, 32)).astype("int32")


def config_of(name: str) -> kcg.CodeGemmaConfig:
    """Eight query heads, as 2B has, and sizes that eight devices divide."""
    return dataclasses.replace(
        CONFIGS[name], num_query_heads=8, num_key_value_heads=KV_HEADS[name], hidden_dim=64, feedforward_dim=128
    )


def outcome(config: kcg.CodeGemmaConfig, parallel: CodeGemmaParallel | None = None) -> dict:
    """What the model computes, on a mesh or on one device. Three prompts, so that rows are padded."""
    keras.distribution.set_distribution(parallel)
    try:
        lm = kcg.CodeGemmaCausalLM(random_backbone(config))
        prompts = {"token_ids": IDS[:3, :20], "padding_mask": np.arange(20) < [[20], [11], [3]]}
        ids = lm.generate(prompts, max_length=40, stop_token_ids=None)["token_ids"]
        lm.compile(optimizer=keras.optimizers.AdamW(1e-4), weighted_metrics=[])
        lm._symbolic_build(data_batch=({"token_ids": IDS}, IDS, None))
        return {"generated": ids, **step(lm)}
    finally:
        keras.distribution.set_distribution(None)


def step(lm: kcg.CodeGemmaCausalLM) -> dict:
    """Logits, scores, loss and gradients of one batch, and the weights after one step, as `fit` computes them."""
    data = (
        IDS
        if (parallel := kcg.distribution.active()) is None
        else jax.device_put(IDS, parallel.get_data_layout(IDS.shape).backend_layout)
    )

    def compute(trainable, optimizer, ids):
        (loss, aux), gradients = jax.value_and_grad(lm.compute_loss_and_updates, has_aux=True)(
            trainable,
            [],
            [v.value for v in lm.metrics_variables],
            {"token_ids": ids},
            ids,
            None,
            training=True,
            optimizer_variables=optimizer,
        )
        weights, _ = lm.optimizer.stateless_apply(optimizer, gradients, trainable)
        logits = lm.stateless_call(trainable, [], {"token_ids": ids})[0]
        return {"loss": loss, "scores": aux[1], "logits": logits, "gradients": gradients, "weights": weights}

    state = [v.value for v in lm.trainable_variables], [v.value for v in lm.optimizer.variables]
    return jax.tree.map(np.asarray, jax.jit(compute)(*state, data))


@functools.cache
def on_one_device(name: str) -> dict:
    return outcome(config_of(name))


@pytest.mark.parametrize(("name", "mesh"), CASES)
def test_sharded_equals_unsharded(name, mesh):
    config = config_of(name)
    theirs = on_one_device(name)
    ours = outcome(config, CodeGemmaParallel(MESHES[mesh], config))
    assert np.array_equal(ours.pop("generated"), theirs["generated"])
    for kind, found in ours.items():
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(theirs[kind]), strict=True):
            assert np.abs(one - other).max() <= tolerance("sharded", "float32") * np.abs(other).max(), kind


def test_fit_score_and_beams_run_sharded():
    plain = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    text = "def add(a, b):\n    return"
    expected = plain.score(text), plain.generate(text, max_new_tokens=8, sampler=kcg.samplers.BeamSampler(num_beams=2))
    parallel = CodeGemmaParallel(MeshShape(replica=1, fsdp=4, model=2), plain.backbone.config)
    with parallel.scope():
        lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
        assert np.abs(lm.score(text) - expected[0]).max() <= tolerance("logprob", "float32")
        assert lm.generate(text, max_new_tokens=8, sampler=kcg.samplers.BeamSampler(num_beams=2)) == expected[1]
        plain.cache_dtype = lm.cache_dtype = "int8"
        assert lm.generate([text] * 4, max_new_tokens=8) == plain.generate([text] * 4, max_new_tokens=8)
        lm.enable_lora(4)
        lm.preprocessor = lm.preprocessor.replace(sequence_length=48)
        lm.compile(optimizer=keras.optimizers.AdamW(1e-3))
        losses = lm.fit([text] * 8, batch_size=8, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    assert lm.optimizer.variables[2].value.sharding.spec == lm.trainable_variables[0].value.sharding.spec


@pytest.mark.parametrize(
    "loss",
    [
        "auto",
        pytest.param(keras.losses.SparseCategoricalCrossentropy(from_logits=True), marks=pytest.mark.slow, id="logits"),
    ],
)
def test_a_batch_that_does_not_divide_trains_as_on_one_device(loss):
    config = dataclasses.replace(config_of("multi_query"), num_layers=1)
    ids = IDS[:7]  # batches of 5 and 2 over 4 parts
    weights = np.linspace(0, 1, ids.size, dtype="float32").reshape(ids.shape)

    def trained(parallel):
        with nullcontext() if parallel is None else parallel.scope():
            lm = kcg.CodeGemmaCausalLM(random_backbone(config))
            lm.compile(optimizer=keras.optimizers.SGD(1e-1), loss=loss)
            arrays = {"x": {"token_ids": ids}, "y": ids, "sample_weight": weights}
            history = lm.fit(**arrays, batch_size=5, epochs=2, shuffle=False, verbose=0).history
            measured = lm.evaluate(**arrays, batch_size=7, verbose=0, return_dict=True)
            return history, measured, [np.asarray(v.value) for v in lm.trainable_variables]

    history, measured, found = trained(None)
    ours = trained(CodeGemmaParallel(MeshShape(replica=2, fsdp=2, model=2), config))
    within = tolerance("sharded", "float32")
    for name, values in history.items():
        assert ours[0][name] == pytest.approx(values, rel=within), name
    assert ours[1] == pytest.approx(measured, rel=within)
    for one, other in zip(ours[2], found, strict=True):
        assert np.abs(one - other).max() <= within * np.abs(other).max()


def test_quantised_weights_give_the_same_logits_on_a_mesh():
    config = config_of("multi_query")
    plain = random_backbone(config, dtype="int8_from_float32")
    expected = plain.predict({"token_ids": IDS}, batch_size=8, verbose=0)
    with CodeGemmaParallel(MeshShape(data=2, model=4), config).scope():
        backbone = random_backbone(config, dtype="int8_from_float32")
        found = backbone.predict({"token_ids": IDS}, batch_size=8, verbose=0)
    assert np.abs(found - expected).max() <= tolerance("quantized_logits", "float32") * np.abs(expected).max()


def test_remat_changes_no_gradient():
    config = config_of("multi_query")
    lm = kcg.CodeGemmaCausalLM(random_backbone(config))
    with pytest.raises(ValueError, match=r"must be one of \(None, 'block'\); got 'all'"):
        lm.backbone.remat = "all"
    lm.backbone.remat = "block"
    lm.compile(optimizer=keras.optimizers.AdamW(1e-4), weighted_metrics=[])
    lm._symbolic_build(data_batch=({"token_ids": IDS}, IDS, None))
    found, expected = step(lm), on_one_device("multi_query")
    for one, other in zip(found["gradients"], expected["gradients"], strict=True):
        assert np.abs(one - other).max() <= tolerance("sharded", "float32") * np.abs(other).max()
