"""Training through `fit`: every kind of data, LoRA, overfitting, and agreement of loss, evaluate and score."""

import re

import keras
import numpy as np
import pytest

import keras_codegemma as kcg
from tests.tolerances import tolerance

TEXTS = [f"def f{i}(a):\n    return a + {i}\n" for i in range(6)]


def fresh(**options):
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    lm.preprocessor = lm.preprocessor.replace(**{"sequence_length": 48, **options})
    return lm


@pytest.fixture(scope="module")
def functions():
    """32 real functions of the standard library."""
    import difflib
    import fnmatch
    import inspect
    import shlex
    import statistics
    import textwrap

    found = []
    for module in (textwrap, shlex, fnmatch, statistics, difflib):
        for _, function in sorted(inspect.getmembers(module, inspect.isfunction)):
            source = inspect.getsource(function)
            if 80 < len(source) < 900:
                found.append(source)
    assert len(found) >= 32
    return sorted(set(found), key=len)[:32]


def losses(history):
    return history.history["loss"]


@pytest.mark.tensorflow
# Keras says this at the end of each generator whose length it does not know.
@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
def test_every_kind_of_data_gives_the_same_first_loss():
    import grain
    import tensorflow as tf

    features, labels, weights = fresh().preprocessor(TEXTS)

    def text_batches():
        yield TEXTS[:3]
        yield TEXTS[3:]

    def array_batches():
        for part in (slice(0, 3), slice(3, 6)):
            yield {key: value[part] for key, value in features.items()}, labels[part], weights[part]

    kinds = {
        "list": (TEXTS, {"batch_size": 3}),
        "arrays": (features, {"y": labels, "sample_weight": weights, "batch_size": 3}),
        "generator of text batches": (text_batches(), {}),
        "generator of texts": (iter(TEXTS), {"batch_size": 3}),
        "generator of arrays": (array_batches(), {}),
        "tf.data of text": (tf.data.Dataset.from_tensor_slices(TEXTS), {"batch_size": 3}),
        "tf.data of text batches": (tf.data.Dataset.from_tensor_slices(TEXTS).batch(3), {}),
        "tf.data of arrays": (tf.data.Dataset.from_tensor_slices((features, labels, weights)).batch(3), {}),
        "grain of text": (grain.MapDataset.source(TEXTS).to_iter_dataset(), {"batch_size": 3}),
        "grain map of text": (grain.MapDataset.source(TEXTS), {"batch_size": 3}),
    }
    results = {}
    for kind, (data, options) in kinds.items():
        lm = fresh()
        lm.compile(optimizer=keras.optimizers.SGD(0.0))
        y, weight = options.pop("y", None), options.pop("sample_weight", None)
        results[kind] = losses(
            lm.fit(data, y, sample_weight=weight, shuffle=kind not in ("list", "arrays"), verbose=0, **options)
        )[0]
    expected = results["arrays"]
    for kind, loss in results.items():
        assert loss == pytest.approx(expected, rel=tolerance("loss", "float32")), kind


def test_streams_of_arrays_validate_whole():
    lm = fresh()
    features, labels, weights = lm.preprocessor(TEXTS)
    lm.compile(optimizer=keras.optimizers.SGD(0.0))

    def stream():
        return iter(
            [(features, labels, weights), ({**features, "token_ids": features["token_ids"] * 0}, labels, weights)]
        )

    expected = [lm.evaluate(*part[:2], sample_weight=part[2], verbose=0, return_dict=True)["loss"] for part in stream()]
    history = lm.fit(stream(), steps_per_epoch=2, validation_data=stream(), validation_steps=2, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(np.mean(expected), rel=tolerance("loss", "float32"))
    assert history["loss"][0] == pytest.approx(np.mean(expected), rel=tolerance("loss", "float32"))


@pytest.mark.tensorflow
def test_streamed_data_is_read_again_each_epoch():
    import tensorflow as tf

    lm = fresh(fim_rate=1.0)
    lm.compile(optimizer=keras.optimizers.SGD(0.0))
    history = lm.fit(tf.data.Dataset.from_tensor_slices(TEXTS), batch_size=2, epochs=3, verbose=0)
    # New infilling places each epoch: three losses, all different.
    assert len(set(losses(history))) == 3


def test_triples_and_chats_train_what_counts_alone():
    lm = fresh()
    lm.compile()
    triples = [("def f(a):\n", "\n", f"    return a + {i}\n") for i in range(2)]
    chats = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]] * 2
    for data in (triples, chats, [*triples, *chats]):
        assert np.isfinite(lm.evaluate(data, verbose=0, return_dict=True)["loss"])
    lm.preprocessor = lm.preprocessor.replace(spm_rate=0.0, fim_layout="psm")
    result = lm.evaluate(triples, verbose=0, return_dict=True)
    score = np.concatenate(lm.score(triples)).mean()
    assert result["nats_per_token"] == pytest.approx(-score, rel=tolerance("rescored", "float32"))


def test_loss_evaluate_and_score_agree():
    lm = fresh()
    lm.compile(optimizer=keras.optimizers.SGD(0.0))
    trained = lm.fit(TEXTS, batch_size=6, verbose=0)
    evaluated = lm.evaluate(TEXTS, batch_size=6, verbose=0, return_dict=True)
    nats = -np.concatenate(lm.score(TEXTS)).mean()
    assert losses(trained)[0] == pytest.approx(evaluated["loss"], rel=tolerance("loss", "float32"))
    assert evaluated["nats_per_token"] == pytest.approx(nats, rel=tolerance("rescored", "float32"))
    tokens = sum(len(score) for score in lm.score(TEXTS))
    # Keras's mean counts padding: the sum over tokens divided by all positions.
    assert evaluated["loss"] == pytest.approx(nats * tokens / (6 * 48), rel=tolerance("rescored", "float32"))


def test_sample_weights_scale_each_examples_part():
    lm = fresh()
    lm.compile(optimizer=keras.optimizers.SGD(0.0))
    alone = lm.evaluate(TEXTS[:1], verbose=0, return_dict=True)["nats_per_token"]
    weighted = lm.evaluate(TEXTS, sample_weight=[1, 0, 0, 0, 0, 0], verbose=0, return_dict=True)["nats_per_token"]
    assert weighted == pytest.approx(alone, rel=tolerance("rescored", "float32"))


@pytest.mark.tensorflow
def test_the_loss_equals_kerashubs_on_the_same_weights_and_batch():
    lm = fresh()
    theirs = kcg.hub.to_keras_hub(kcg.CodeGemmaCausalLM(lm.backbone))
    features, labels, weights = lm.preprocessor(TEXTS)
    lm.compile()
    theirs.compile()
    ours = lm.evaluate(features, labels, sample_weight=weights, verbose=0, return_dict=True)["loss"]
    expected = theirs.evaluate(features, labels, sample_weight=weights, verbose=0, return_dict=True)["loss"]
    assert ours == pytest.approx(expected, rel=tolerance("loss", "float32"))


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
def test_32_real_functions_are_learned_by_heart(functions, lora):
    lm = fresh(sequence_length=384)
    if lora:
        lm.enable_lora(
            64,
            target_names=(
                "query",
                "key",
                "value",
                "attention_output",
                "ffw_gating",
                "ffw_gating_2",
                "ffw_linear",
            ),
        )
    frozen = {v.path: np.asarray(v.value).copy() for v in lm.backbone.non_trainable_variables}
    lm.compile(optimizer=keras.optimizers.Adam(3e-3 if lora else 1e-3))
    for _ in range(12):
        lm.fit(functions, batch_size=16, epochs=10, verbose=0)
        nats = lm.evaluate(functions, batch_size=16, verbose=0, return_dict=True)["nats_per_token"]
        if nats < 0.1:
            break
    assert nats < 0.1
    assert bool(frozen) is lora
    for variable in lm.backbone.non_trainable_variables:
        np.testing.assert_array_equal(np.asarray(variable.value), frozen[variable.path])


def test_a_few_steps_of_lora_lower_the_loss_and_move_nothing_frozen():
    lm = fresh()
    lm.enable_lora(4)
    frozen = {v.path: np.asarray(v.value).copy() for v in lm.backbone.non_trainable_variables}
    lm.compile(optimizer=keras.optimizers.Adam(1e-2))
    trained = losses(lm.fit(TEXTS, batch_size=6, epochs=6, verbose=0))
    assert trained[-1] < 0.8 * trained[0]
    assert len(frozen) == len(lm.backbone.config.weight_shapes())
    for variable in lm.backbone.non_trainable_variables:
        np.testing.assert_array_equal(np.asarray(variable.value), frozen[variable.path])


def test_a_saved_adapter_loads_into_a_fresh_preset(tmp_path):
    lm = fresh()
    lm.enable_lora(4, alpha=8)
    lm.compile(optimizer=keras.optimizers.Adam(1e-2))
    lm.fit(TEXTS, batch_size=6, epochs=2, verbose=0)
    lm.save_lora_weights(tmp_path / "adapter.safetensors")
    other = fresh()
    before = other.score(TEXTS[0])
    other.load_lora_weights(tmp_path / "adapter.safetensors")
    np.testing.assert_allclose(other.score(TEXTS[0]), lm.score(TEXTS[0]), atol=tolerance("logprob", "float32"))
    assert np.abs(other.score(TEXTS[0]) - before).max() > 1e-2


def test_generation_follows_the_weights_that_fit_changed():
    lm = fresh()
    before = lm.generate(TEXTS[0][:10], max_new_tokens=12)
    lm.compile(optimizer=keras.optimizers.Adam(5e-3))
    lm.fit(TEXTS[:1] * 4, batch_size=4, epochs=20, verbose=0)
    after = lm.generate(TEXTS[0][:10], max_new_tokens=12)
    assert after != before
    assert TEXTS[0].startswith(after[:20])


def test_validation_data_may_be_examples():
    lm = fresh()
    lm.compile()
    history = lm.fit(TEXTS[:3], batch_size=3, validation_data=TEXTS[3:], verbose=0)
    assert history.history["val_loss"][0] == pytest.approx(
        lm.evaluate(TEXTS[3:], verbose=0)[0], rel=tolerance("rescored", "float32")
    )


def test_infilling_places_follow_from_seed_and_epoch_alone():
    def run(seed):
        lm = fresh(fim_rate=1.0, seed=seed)
        lm.compile(optimizer=keras.optimizers.SGD(0.0))
        return losses(lm.fit(TEXTS, batch_size=3, epochs=2, verbose=0))

    first = run(1)
    assert first[0] != first[1]
    assert run(1) == pytest.approx(first, rel=1e-6)
    assert run(2) != pytest.approx(first, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda lm: lm.fit([]), ValueError, "Training data must hold at least one example; got none."),
        (lambda lm: lm.fit(iter([])), ValueError, "the iterable is empty. Check its source."),
        (lambda lm: lm.fit(TEXTS, TEXTS), ValueError, "Raw examples make their own labels"),
        (lambda lm: lm.fit(5), TypeError, "got int. Pass for example a list of strings."),
        (lambda lm: lm.fit(TEXTS, sample_weight=[1.0]), ValueError, "got 1 for 6 examples. Pass as many."),
        (lambda lm: lm.fit(iter(TEXTS), sample_weight=[1.0] * 6), ValueError, "can only be given for a list"),
        (
            lambda lm: lm.fit(TEXTS, validation_split=0.5),
            ValueError,
            "validation_split works on arrays of one process only; got 0.5",
        ),
        (lambda lm: lm.fit(["x = 1\n" * 500]), ValueError, "sequence_length"),
    ],
)
def test_bad_training_data_is_refused(call, error, message):
    lm = fresh()
    lm.compile()
    with pytest.raises(error, match=re.escape(message)):
        call(lm)


def test_raw_examples_need_a_preprocessor():
    lm = kcg.CodeGemmaCausalLM(fresh().backbone)
    lm.compile()
    with pytest.raises(ValueError, match="Raw examples need a preprocessor; this model has none"):
        lm.fit(TEXTS)


def test_an_adapter_file_must_fit(tmp_path):
    lm = fresh()
    with pytest.raises(ValueError, match=r"this one has none\. Call enable_lora"):
        lm.save_lora_weights(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"must end in \.safetensors; got 'a\.h5'"):
        lm.save_lora_weights(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError, match=r"does not\. Check the path"):
        lm.load_lora_weights(tmp_path / "missing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot be read: .* Copy it again"):
        lm.load_lora_weights(tmp_path / "broken.safetensors")
    lm.enable_lora(2)
    lm.save_lora_weights(tmp_path / "two.safetensors")
    other = fresh()
    other.enable_lora(3)
    with pytest.raises(ValueError, match=r"query/lora_kernel_a is \(4, 256, 2\) in the file and \(4, 256, 3\)"):
        other.load_lora_weights(tmp_path / "two.safetensors")
