"""The loss and metrics that training looks at: against plain ones on logits, on middles alone, saved, and misused."""

import re

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma import token_scores
from keras_codegemma.trainer import LABELS
from tests.small_models import CONFIGS, random_backbone
from tests.tolerances import tolerance

TRIPLES = [("def f(a):\n", "\n", f"    return a + {i}\n") for i in range(3)]
TEXTS = [f"def f{i}(a):\n    return a + {i}\n" for i in range(6)]


def fresh(**options):
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    defaults = {"sequence_length": 48, "spm_rate": 0.0, "fim_layout": "psm"}
    lm.preprocessor = lm.preprocessor.replace(**{**defaults, **options})
    return lm


def random_batch(config, rows=3, length=24):
    rng = np.random.default_rng()
    ids = rng.integers(1, config.vocabulary_size, (rows, length + 1)).astype(np.int32)
    weights = rng.choice([0.0, 1.0, 3.0], (rows, length)).astype(np.float32)
    return {"token_ids": ids[:, :-1]}, ids[:, 1:], weights


def on_logits(**options):
    return {
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "weighted_metrics": [
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="nats_per_token"),
        ],
        **options,
    }


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_training_without_logits_is_training_with_them(name, dtype):
    """One epoch of two steps, and an evaluation after it."""
    batches = [random_batch(CONFIGS[name]) for _ in range(2)]
    found = []
    # Weights that differ in their last places are rounded to other bfloat16 numbers, the more the larger the step.
    rate = 0.1 if dtype == "float32" else 0.01
    for options in ({}, on_logits()):
        lm = kcg.CodeGemmaCausalLM(random_backbone(CONFIGS[name], dtype=dtype))
        lm.compile(keras.optimizers.SGD(rate), **options)
        history = lm.fit(iter(batches), steps_per_epoch=2, verbose=0).history
        after = lm.evaluate(*batches[0][:2], sample_weight=batches[0][2], verbose=0, return_dict=True)
        found.append((history, after, [np.asarray(v.value) for v in lm.trainable_variables]))
    (history, after, weights), (their_history, their_after, their_weights) = found
    assert set(history) == set(their_history) == {"accuracy", "loss", "nats_per_token"}
    for ours, theirs in ((history, their_history), (after, their_after)):
        for key in ("loss", "nats_per_token"):
            assert np.ravel(ours[key]) == pytest.approx(np.ravel(theirs[key]), rel=tolerance("loss", dtype)), key
    if dtype == "float32":
        assert history["accuracy"] == their_history["accuracy"]
        for one, other in zip(weights, their_weights, strict=True):
            assert np.abs(one - other).max() <= tolerance("trained", dtype) * np.abs(other).max()


def test_no_logits_are_made_while_training():
    lm = kcg.CodeGemmaCausalLM(random_backbone(CONFIGS["multi_query"]))
    lm.compile(keras.optimizers.SGD(0.1))
    assert lm.call({**random_batch(lm.backbone.config)[0], LABELS: np.ones((3, 24), np.int32)}).shape == (3, 24, 4)
    lm.compile(keras.optimizers.SGD(0.1), **on_logits())
    assert lm.predict(random_batch(lm.backbone.config)[0], verbose=0).shape == (3, 24, 320)


def test_z_loss_is_the_squared_log_total_times_its_weight():
    lm = fresh()
    features, labels, weights = lm.preprocessor(TEXTS)
    log_total = jax.nn.logsumexp(lm.predict(features, verbose=0), axis=-1)
    lm.compile(loss=token_scores.CrossEntropy())
    plain = lm.evaluate(features, labels, sample_weight=weights, verbose=0, return_dict=True)["loss"]
    lm.compile(loss=token_scores.CrossEntropy(z_loss=0.01))
    found = lm.evaluate(features, labels, sample_weight=weights, verbose=0, return_dict=True)["loss"]
    expected = plain + 0.01 * (log_total**2 * weights).sum() / weights.size
    assert found == pytest.approx(float(expected), rel=tolerance("rescored", "float32"))
    assert found > 1.01 * plain


def test_the_mean_can_be_over_the_weights():
    lm = fresh()
    lm.compile(loss=token_scores.CrossEntropy(reduction="mean_with_sample_weight"))
    found = lm.evaluate(TEXTS, batch_size=6, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(found["nats_per_token"], rel=tolerance("loss", "float32"))


def test_middles_are_counted_alone():
    lm = fresh()
    lm.compile(
        weighted_metrics=[
            part for kind in (token_scores.NatsPerToken, token_scores.Accuracy) for part in (kind(), kind("middle"))
        ]
    )
    middles = lm.evaluate(TRIPLES, verbose=0, return_dict=True)
    # Of a triple only the middle has weights.
    assert middles["middle_nats_per_token"] == pytest.approx(middles["nats_per_token"], rel=1e-6)
    assert middles["middle_accuracy"] == pytest.approx(middles["accuracy"], rel=1e-6)
    features, labels, _ = lm.preprocessor(TRIPLES)
    everything = features["padding_mask"].astype(np.float32)
    whole = lm.evaluate(features, labels, sample_weight=everything, verbose=0, return_dict=True)
    assert whole["middle_nats_per_token"] == pytest.approx(
        middles["nats_per_token"], rel=tolerance("rescored", "float32")
    )
    assert whole["nats_per_token"] != pytest.approx(middles["nats_per_token"], rel=0.05)
    texts = lm.evaluate(TEXTS, verbose=0, return_dict=True)
    assert (texts["middle_nats_per_token"], texts["middle_accuracy"]) == (0, 0)


def test_a_middle_ends_with_its_separator_or_with_its_segment():
    begin, separator, end = 9, 8, 7
    ids = jnp.asarray([[1, 9, 2, 3, 8, 4, 9, 5, 7, 1], [1, 2, 9, 3, 4, 5, 9, 6, 6, 6]])
    found = token_scores.labels_in_middle(ids, None, begin=begin, ends=(separator, end))
    assert found.astype(int).tolist() == [[0, 1, 1, 1, 0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]]
    segments = jnp.asarray([[1] * 10, [1, 1, 1, 1, 2, 2, 3, 3, 3, 0]])
    found = token_scores.labels_in_middle(ids, segments, begin=begin, ends=(separator, end))
    assert found.astype(int).tolist()[1] == [0, 0, 1, 1, 0, 0, 1, 1, 1, 0]


def test_a_compiled_model_is_saved_with_its_loss_and_goes_on(tmp_path):
    lm = fresh()
    lm.compile(
        keras.optimizers.SGD(1e-3),
        loss=token_scores.CrossEntropy(z_loss=1e-3),
        weighted_metrics=[token_scores.NatsPerToken(), token_scores.Accuracy("middle")],
    )
    lm.fit(TEXTS, batch_size=6, verbose=0, shuffle=False)
    lm.save(tmp_path / "lm.keras")
    loaded = keras.saving.load_model(tmp_path / "lm.keras")
    for model in (lm, loaded):
        assert model.loss.z_loss == 1e-3
    ours, theirs = (model.fit(TEXTS, batch_size=6, verbose=0, shuffle=False).history for model in (loaded, lm))
    assert set(ours) == {"loss", "middle_accuracy", "nats_per_token"}
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=tolerance("loss", "float32"))


def test_lora_over_a_quantised_model_trains_without_logits():
    lm = fresh()
    lm.quantize("int8")
    lm.enable_lora(4)
    lm.compile(keras.optimizers.Adam(1e-2))
    losses = lm.fit(TEXTS, batch_size=6, epochs=4, verbose=0).history["nats_per_token"]
    assert losses[-1] < 0.9 * losses[0]


def test_packed_scores_come_apart_again():
    parts = [jnp.asarray(np.random.default_rng().normal(size=(2, 3)), jnp.float32) for _ in range(3)]
    scores = token_scores.unpack(token_scores.pack(*parts, jnp.asarray([[True, False, True]] * 2)))
    for one, other in zip(scores[:3], parts, strict=True):
        assert np.array_equal(one, other)
    assert scores.in_middle.tolist() == [[1, 0, 1]] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": token_scores.CrossEntropy(), "metrics": ["accuracy"]}, "got ['cross_entropy'] and ['accuracy']. Use"),
        (
            {"loss": "sparse_categorical_crossentropy", "weighted_metrics": [token_scores.Accuracy("middle")]},
            "got ['middle_accuracy'] and ['sparse_categorical_crossentropy']. Use",
        ),
    ],
)
def test_scores_and_logits_are_not_mixed(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fresh().compile(**options)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="z_loss must be 0 or more; got -1"):
        token_scores.CrossEntropy(z_loss=-1)
    with pytest.raises(ValueError, match=r"must be one of \('all', 'middle'\); got 'suffix'"):
        token_scores.NatsPerToken("suffix")
    with pytest.raises(ValueError, match=r"take \[batch, length, 4\]; got \(2, 3, 320\)"):
        token_scores.CrossEntropy()(jnp.zeros((2, 3), "int32"), jnp.zeros((2, 3, 320)))
    bare = kcg.CodeGemmaCausalLM(random_backbone(CONFIGS["multi_query"]))
    with pytest.raises(ValueError, match="need a preprocessor, which knows the id"):
        bare.compile(weighted_metrics=[token_scores.Accuracy("middle")])
    bare.compile()
    with pytest.raises(ValueError, match="need labels, the next id of each; got features alone"):
        bare.fit(random_batch(CONFIGS["multi_query"])[0], verbose=0)


def test_a_metric_of_logits_makes_all_of_logits():
    lm = fresh()
    lm.compile(keras.optimizers.SGD(0.0), metrics=[keras.metrics.SparseTopKCategoricalAccuracy(k=3, name="top_3")])
    found = lm.evaluate(TEXTS, batch_size=6, verbose=0, return_dict=True)
    assert set(found) == {"loss", "accuracy", "nats_per_token", "top_3"}
    assert 0 < found["top_3"] <= 1
