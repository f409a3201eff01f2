"""Every recipe fits its model and its mesh; chats teach the model's turns alone."""

import json

import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma.distribution import MeshShape
from keras_codegemma.planning.work import training_flops_per_token
from tests.training.run.made_run import small_recipe
from training import recipes
from training.config import DataSettings, KeepSettings, ModelSettings, OptimizerSettings, TrainingRecipe
from training.data import open_data
from training.log import read
from training.optimizer import make_optimizer, make_schedule
from training.run import train
from training.settings import as_json, with_settings

NAMES = recipes.names(TrainingRecipe)
CHATS = [
    [{"role": "user", "content": f"What is {i} + 1?"}, {"role": "assistant", "content": f"It is {i + 1}."}]
    for i in range(12)
]


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in CHATS))
    return path


def test_the_recipes_are_those_of_the_readme():
    names = ["continued_2b", "continued_7b", "full_repository", "instruct_7b", "lora_repository"]
    names += ["preference_7b", "tiny", "tiny_finish"]
    assert names == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_fits_its_model_and_mesh_and_is_json(name):
    recipe = recipes.find(name, TrainingRecipe)
    source = {"instruct_7b": "chats", "preference_7b": "preferences"}.get(name, "corpus")
    recipe = with_settings(recipe, [f"data.{source}=a"])
    recipe.check_complete()
    assert recipe.name == name
    assert json.loads(json.dumps(as_json(recipe))) == as_json(recipe)
    mesh = MeshShape(replica=recipe.mesh.replica, fsdp=recipe.mesh.fsdp, model=recipe.mesh.model)
    config = recipe.model.shape or kcg.presets.find(recipe.model.preset).config
    mesh.check(config)
    assert recipe.data.batch_size % mesh.row_shards == 0
    assert recipe.data.sequence_length <= config.context_length
    make_optimizer(recipe.optimizer, steps=recipe.steps)


def test_the_tiny_recipe_has_at_most_12_million_parameters():
    assert recipes.find("tiny", TrainingRecipe).model.shape.parameter_count == 6_622_464


def test_settings_from_the_command_line_reach_into_a_recipe():
    recipe = with_settings(
        recipes.find("lora_repository", TrainingRecipe),
        ["model.lora_targets=query,value,ffw_linear", "optimizer.clip_norm=none", "data.corpus=a/b", "steps=2_000"],
    )
    assert recipe.model.lora_targets == ("query", "value", "ffw_linear")
    assert (recipe.optimizer.clip_norm, recipe.steps, str(recipe.data.corpus)) == (None, 2000, "a/b")


def test_the_rate_rises_and_falls_and_norms_and_embedding_do_not_decay():
    settings = OptimizerSettings(peak_rate=1.0, warmup_steps=10, final_rate=0.1)
    rates = [float(make_schedule(settings, 110)(step)) for step in (0, 5, 10, 60, 110)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1], abs=1e-6)
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    for name in ("adamw", "adafactor", "muon"):
        optimizer = make_optimizer(OptimizerSettings(name=name, accumulation=2), steps=200)
        optimizer.build(lm.trainable_variables)
        decaying = {v.path for v in lm.trainable_variables if optimizer._use_weight_decay(v)}
        assert decaying == {v.path for v in lm.trainable_variables if v.path.endswith("/kernel")}
    by_adam = {v.path for v in lm.trainable_variables if optimizer._should_use_adamw(v)}
    assert by_adam == {v.path for v in lm.trainable_variables if not v.path.endswith("/kernel")}


def test_chats_teach_the_models_turns_and_every_chat_comes_each_epoch(chats):
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    settings = DataSettings(chats=chats, batch_size=4, sequence_length=64, held_out_rows=4)
    data = open_data(settings, lm)
    assert len(data.held_out) == 1
    seen = []
    for _ in range(2):
        features, labels, weights = next(data.loader)
        for ids, row, weight in zip(features["token_ids"], labels, weights, strict=True):
            assert lm.preprocessor.tokenizer.decode(row[weight > 0]).startswith("It is")
            seen.append(bytes(ids))
    assert len(set(seen)) == 8
    third = next(data.loader)
    data.loader.go_to_step(2)
    np.testing.assert_array_equal(next(data.loader)[0]["token_ids"], third[0]["token_ids"])


def test_a_run_on_chats_learns_and_validates(chats, tmp_path):
    recipe = small_recipe(
        chats,
        steps=10,
        model=ModelSettings(lora_rank=8),
        data=DataSettings(chats=chats, batch_size=4, sequence_length=48, held_out_rows=4),
        optimizer=OptimizerSettings(peak_rate=1e-2, warmup_steps=2, accumulation=2),
        keep=KeepSettings(log_every=2, save_every=6, validate_every=10, tensorboard=True),
    )
    assert train(recipe, tmp_path / "run", report=lambda line: None)
    lines = read(tmp_path / "run/metrics.jsonl")
    assert lines[-2]["nats_per_token"] < lines[0]["nats_per_token"]
    assert "val_nats_per_token" in lines[-1]
    assert (tmp_path / "run/adapter.safetensors").exists()
    (events,) = (tmp_path / "run/tensorboard").iterdir()
    assert events.read_bytes().count(b"val_nats_per_token") == 1


def test_flops_are_six_a_weight_and_the_causal_half_of_attention():
    config = kcg.presets.find("code_gemma_2b_en").config
    expected = 6 * config.parameter_count + 6 * 18 * 2048 * 8192
    assert training_flops_per_token(config, 8192) == expected
