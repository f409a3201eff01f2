"""Preference tuning: the loss against a plain one with logits, what it learns, and that a stop changes nothing."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma.trainer import REFERENCE
from tests.tolerances import tolerance
from tests.training.run.made_run import SHAPE
from training.config import (
    DataSettings,
    KeepSettings,
    ModelSettings,
    OptimizerSettings,
    PreferenceSettings,
    TrainingRecipe,
)
from training.data import open_data
from training.log import read
from training.preference import (
    PreferenceLoss,
    RewardAccuracy,
    RewardMargin,
    encode,
    read_preferences,
    reference_nats,
)
from training.run import train


def lines(count: int) -> list[dict]:
    return [
        {
            "messages": [{"role": "user", "content": f"What is {i} + 1?"}],
            "chosen": f"{i + 1}",
            "rejected": f"I do not know what {i} is.",
        }
        for i in range(count)
    ]


@pytest.fixture
def path(tmp_path):
    return written(tmp_path, lines(12))


def written(folder, items):
    path = folder / "preferences.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


@pytest.fixture(scope="module")
def tiny():
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")


def pairs_of(lm, path, length=64):
    return encode(read_preferences(path), lm.preprocessor.replace(sequence_length=length))


def plain_log_probabilities(lm, pairs) -> np.ndarray:
    """Of each row's answer, in float64 from whole logits."""
    logits = np.asarray(lm({"token_ids": pairs.token_ids, "padding_mask": pairs.padding_mask}), np.float64)
    log_probs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    log_probs -= logits.max(-1, keepdims=True)
    return (np.take_along_axis(log_probs, pairs.labels[..., None], -1)[..., 0] * pairs.weights).sum(1)


@pytest.mark.parametrize(("beta", "smoothing"), [(0.1, 0.0), (0.5, 0.2)])
def test_loss_and_metrics_equal_plain_ones_with_logits(tiny, path, tmp_path, beta, smoothing):
    pairs = pairs_of(tiny, path)
    other = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    rng = np.random.default_rng()
    for variable in other.trainable_variables:
        variable.assign(variable.value * (1 + 0.05 * rng.normal(size=variable.shape)))
    reference = reference_nats(other, pairs, batch_size=5, cache=tmp_path / "reference.npz")
    settings = PreferenceSettings(beta=beta, label_smoothing=smoothing)
    tiny.compile(
        optimizer=keras.optimizers.SGD(0.0),
        loss=PreferenceLoss(settings),
        weighted_metrics=[RewardMargin(settings), RewardAccuracy(settings)],
    )
    features, labels, weights = pairs.batch(range(len(pairs)), reference)
    found = tiny.evaluate(features, labels, sample_weight=weights, batch_size=len(labels), verbose=0, return_dict=True)
    rewards = beta * (plain_log_probabilities(tiny, pairs) - plain_log_probabilities(other, pairs))
    margin = rewards[0::2] - rewards[1::2]
    loss = (1 - smoothing) * np.log1p(np.exp(-margin)) + smoothing * np.log1p(np.exp(margin))
    assert found["loss"] == pytest.approx(loss.mean(), rel=tolerance("rescored", "float32"))
    assert found["reward_margin"] == pytest.approx(margin.mean(), abs=tolerance("summed_logprobs", "float32"))
    assert found["reward_accuracy"] == pytest.approx((margin > 0).mean())


def test_a_step_moves_weights_as_autodiff_of_the_plain_loss_does(path, tmp_path):
    import jax
    import jax.numpy as jnp

    preprocessor = kcg.presets.load_preprocessor("code_gemma_tiny")
    lm = kcg.CodeGemmaCausalLM(kcg.CodeGemmaBackbone(**SHAPE.to_dict(), dtype="float32"), preprocessor)
    pairs = pairs_of(lm, path)
    reference = reference_nats(lm, pairs, batch_size=4, cache=tmp_path / "reference.npz") + np.float32(0.3)
    features, labels, weights = pairs.batch(range(len(pairs)), reference)
    variables = lm.trainable_variables
    before = [np.asarray(variable.value) for variable in variables]

    def plain(values):
        inputs = {name: value for name, value in features.items() if name != REFERENCE}
        logits = lm.stateless_call(values, [], inputs)[0]
        nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0] - reference[:, None]
        rewards = -2.0 * (nats * weights).sum(1)
        return -jnp.mean(jax.nn.log_sigmoid(rewards[0::2] - rewards[1::2]))

    expected = jax.grad(plain)([jnp.asarray(value) for value in before])
    lm.compile(optimizer=keras.optimizers.SGD(1.0), loss=PreferenceLoss(PreferenceSettings(beta=2.0)))
    lm.fit(features, labels, sample_weight=weights, batch_size=len(labels), shuffle=False, verbose=0)
    for old, variable, gradient in zip(before, variables, expected, strict=True):
        moved = old - np.asarray(variable.value)
        assert np.abs(moved - gradient).max() <= 1e-5 * max(1.0, np.abs(gradient).max()), variable.path


def test_rows_without_weight_are_no_pairs():
    settings = PreferenceSettings(beta=1.0)
    scores = np.zeros((4, 3, 4), np.float32)
    scores[..., 0] = [[1.0] * 3, [3.0] * 3, [9.0] * 3, [0.0] * 3]
    weights = np.asarray([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    loss = float(PreferenceLoss(settings)(None, scores, weights))
    assert loss == pytest.approx(np.log1p(np.exp(-4.0)))
    metric = RewardMargin(settings)
    metric.update_state(None, scores, weights)
    assert float(metric.result()) == pytest.approx(4.0)


def test_earlier_turns_of_the_model_have_no_weight(tiny, tmp_path):
    turns = [("user", "One?"), ("assistant", "Yes, one."), ("user", "Two?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    path = written(tmp_path, [{"messages": messages, "chosen": "Yes, two.", "rejected": "No."}])
    pairs = pairs_of(tiny, path)
    decode = tiny.preprocessor.tokenizer.decode
    learned = [decode(labels[weights > 0]) for labels, weights in zip(pairs.labels, pairs.weights, strict=True)]
    assert learned[0].startswith("Yes, two.")
    assert learned[1].startswith("No.")


def recipe_of(path, **changes) -> TrainingRecipe:
    recipe = TrainingRecipe(
        name="test",
        steps=8,
        model=ModelSettings(lora_rank=4),
        data=DataSettings(preferences=path, batch_size=4, sequence_length=48, held_out_rows=4),
        optimizer=OptimizerSettings(peak_rate=1e-2, warmup_steps=1),
        preference=PreferenceSettings(),
        keep=KeepSettings(log_every=2, save_every=2, validate_every=4),
    )
    return replace(recipe, **changes)


def test_a_run_prefers_the_chosen_answers_and_goes_on_where_it_was_stopped(path, tmp_path):
    assert train(recipe_of(path), tmp_path / "run", report=lambda line: None)
    found = read(tmp_path / "run/metrics.jsonl")
    trained = [line for line in found if "loss" in line]
    # Before the first update the model is its own reference.
    assert trained[-1]["reward_margin"] > 1 > abs(trained[0]["reward_margin"])
    assert trained[-1]["loss"] < 0.5 * np.log(2)
    assert [line["val_reward_accuracy"] for line in found if "val_loss" in line][-1] == 1
    assert (tmp_path / "run/adapter.safetensors").exists()
    assert "loss" in (tmp_path / "run/loss.svg").read_text()

    class KilledError(Exception):
        pass

    def kill(line):
        if line["step"] == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe_of(path), tmp_path / "again", report=kill)
    assert train(recipe_of(path), tmp_path / "again", report=lambda line: None)
    names = ("step", "loss", "reward_margin", "val_loss")
    numbers = [[line.get(name) for name in names] for line in found]
    assert [[line.get(name) for name in names] for line in read(tmp_path / "again/metrics.jsonl")] == numbers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": "1"}, "Line 2 of .* the answers are the same"),
        ({"rejected": " 1\n"}, "Line 2 of .* the answers are the same"),
        ({"chosen": " "}, "both answers must be texts that are not empty"),
        ({"messages": []}, "the messages must end with the user's turn"),
        ({"chosen": None}, "both answers must be texts"),
        ({"messages": "x"}, r"it is not \(TypeError"),
        ({"chosen": "1 " * 60}, "line 2 of .* does not: .*Raise data.sequence_length, or leave the pair out"),
    ],
)
def test_bad_pairs_are_refused_before_anything_is_computed(path, tmp_path, change, message):
    items = lines(6)
    items[1] |= {"chosen": "1"} | change
    with pytest.raises(ValueError, match=message):
        train(recipe_of(written(tmp_path, items)), tmp_path / "run", report=lambda line: None)


def test_a_run_does_not_go_on_with_other_pairs(tiny, path, tmp_path):
    settings = DataSettings(preferences=path, batch_size=4, sequence_length=48)
    open_data(settings, tiny, folder=tmp_path)
    written(tmp_path, lines(11))
    with pytest.raises(ValueError, match=r"reference\.npz must belong to this run's pairs; it is of others"):
        open_data(settings, tiny, folder=tmp_path)


def test_the_loss_belongs_to_the_data(path):
    with pytest.raises(ValueError, match="Preferences need settings of their loss, and other data none"):
        recipe_of(path, preference=None).check_complete()


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"preference\.beta must be above 0; got 0"):
        PreferenceSettings(beta=0)
    with pytest.raises(ValueError, match=r"label_smoothing must be from 0 to below 0\.5; got 0\.5"):
        PreferenceSettings(label_smoothing=0.5)
