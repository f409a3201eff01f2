"""Presets to and from KerasHub, on disk and in memory: the same logits, loss and file layout."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import keras_hub
import numpy as np
import pytest

from keras_codegemma import CodeGemmaBackbone, CodeGemmaCausalLM, CodeGemmaCausalLMPreprocessor, convert, hub
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.presets import load_tokenizer
from tests.parity.cases import small
from tests.parity.recipe import random_ids, random_weight
from tests.tolerances import tolerance

pytestmark = [
    pytest.mark.tensorflow,
    # What KerasHub and Keras do while saving and loading: a variable given to h5py, a file left to be closed.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file .*vocabulary.spm:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. .*vocabulary.spm:pytest.PytestUnraisableExceptionWarning"),
]

SHAPES = {
    "like_2b": small(vocabulary_size=8192, num_query_heads=2, hidden_dim=32, feedforward_dim=48),
    "like_7b": small(vocabulary_size=8192, num_key_value_heads=4, hidden_dim=24, feedforward_dim=40),
}
SHARD_GIB = {name: 1.01 * 8192 * config.hidden_dim * 4 / 1024**3 for name, config in SHAPES.items()}
each_shape = pytest.mark.parametrize("name", SHAPES)


def weight_source(path, shape, dtype):
    return random_weight(path, tuple(shape), seed=7)


def our_model(config: CodeGemmaConfig, dtype: str = "float32") -> CodeGemmaCausalLM:
    backbone = CodeGemmaBackbone(**config.to_dict(), dtype=dtype, weight_source=weight_source)
    tokenizer = load_tokenizer("code_gemma_tiny")
    return CodeGemmaCausalLM(backbone, CodeGemmaCausalLMPreprocessor(tokenizer, sequence_length=96))


def keras_hub_model(config: CodeGemmaConfig, dtype: str = "float32") -> Any:
    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=config.vocabulary_size,
        num_layers=config.num_layers,
        num_query_heads=config.num_query_heads,
        num_key_value_heads=config.num_key_value_heads,
        hidden_dim=config.hidden_dim,
        intermediate_dim=2 * config.feedforward_dim,
        head_dim=config.head_dim,
        dtype=dtype,
    )
    for variable in backbone.variables:
        variable.assign(weight_source(variable.path, variable.shape, dtype))
    tokenizer = keras_hub.models.GemmaTokenizer(proto=load_tokenizer("code_gemma_tiny").model_bytes)
    preprocessor = keras_hub.models.GemmaCausalLMPreprocessor(tokenizer, sequence_length=96)
    return keras_hub.models.GemmaCausalLM(backbone, preprocessor)


def batch() -> dict[str, np.ndarray]:
    ids = random_ids("exchange", shape=(2, 13), vocabulary_size=8192, seed=7)
    return {"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}


def logits_of(lm) -> np.ndarray:
    return np.asarray(keras.ops.cast(lm(batch()), "float32"))


def assert_same_logits(found: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference <= tolerance("logits", "float32")


# On disk


@each_shape
@pytest.mark.parametrize("is_sharded", [False, True], ids=["one_file", "shards"])
def test_a_preset_saved_by_keras_hub_loads_here(tmp_path, name, is_sharded):
    theirs = keras_hub_model(SHAPES[name])
    folder = tmp_path / "theirs"
    theirs.save_to_preset(str(folder), max_shard_size=SHARD_GIB[name] if is_sharded else 10)
    assert (folder / "model.weights.json").exists() == is_sharded
    ours = CodeGemmaCausalLM.from_preset(folder, dtype="float32")
    assert ours.backbone.config == SHAPES[name]
    assert_same_logits(logits_of(ours), logits_of(theirs))
    assert ours.preprocessor is not None
    assert ours.preprocessor.sequence_length == 96


def test_a_bfloat16_preset_saved_by_keras_hub_loads_bit_for_bit(tmp_path):
    theirs = keras_hub_model(SHAPES["like_7b"], "bfloat16")
    theirs.save_to_preset(str(tmp_path / "theirs"))
    ours = CodeGemmaCausalLM.from_preset(tmp_path / "theirs", dtype="bfloat16")
    weights = {variable.path: variable.value for variable in theirs.backbone.variables}
    assert len(ours.backbone.variables) == len(weights)
    for variable in ours.backbone.variables:
        assert variable.dtype == "bfloat16"
        assert bool((variable.value == weights[variable.path]).all())


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")  # norms stay
def test_a_quantised_preset_saved_by_keras_hub_is_refused(tmp_path):
    theirs = keras_hub_model(SHAPES["like_2b"])
    theirs.backbone.quantize("int8")
    theirs.backbone.save_to_preset(str(tmp_path / "theirs"))
    with pytest.raises(ValueError, match="Quantised presets of others are not loaded"):
        CodeGemmaCausalLM.from_preset(tmp_path / "theirs")


@pytest.mark.parametrize("options", [{"use_post_ffw_norm": True, "use_post_attention_norm": True}])
def test_gemma_2_saved_by_keras_hub_is_refused(tmp_path, options):
    config = SHAPES["like_2b"]
    gemma_2 = keras_hub.models.GemmaBackbone(
        vocabulary_size=8192,
        num_layers=2,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=config.hidden_dim,
        intermediate_dim=2 * config.feedforward_dim,
        head_dim=config.head_dim,
        **options,
    )
    gemma_2.save_to_preset(str(tmp_path / "gemma_2"))
    with pytest.raises(ValueError, match="This is Gemma 2 or another relative"):
        CodeGemmaCausalLM.from_preset(tmp_path / "gemma_2")


PLAIN_KERAS_HUB = """
import importlib.abc, json, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "keras_codegemma":
            raise ImportError("keras_codegemma is not to be used here")

sys.meta_path.insert(0, Blocker())
import keras_hub, numpy as np

folders, batch, output = sys.argv[1:]
batch = dict(np.load(batch))
results = {}
for name, folder in json.loads(folders).items():
    lm = keras_hub.models.CausalLM.from_preset(folder, dtype="float32")
    assert type(lm) is keras_hub.models.GemmaCausalLM, type(lm)
    assert type(lm.preprocessor) is keras_hub.models.GemmaCausalLMPreprocessor
    assert lm.preprocessor.sequence_length == 96
    assert lm.preprocessor.tokenizer.token_to_id("<|fim_middle|>") == 68
    assert isinstance(lm.generate("def add(a, b):", max_length=12), str)
    results[name] = np.asarray(lm(batch))
    for kind in ("Backbone", "Tokenizer", "CausalLMPreprocessor"):
        getattr(keras_hub.models, kind).from_preset(folder)
assert "keras_codegemma" not in sys.modules
np.savez(output, **results)
"""


def test_plain_keras_hub_opens_our_presets_without_this_package(tmp_path):
    arrays: Any = batch()
    np.savez(tmp_path / "batch.npz", **arrays)
    folders, expected = {}, {}
    for name, config in SHAPES.items():
        ours = our_model(config)
        expected[name] = logits_of(ours)
        for kind, size in (("one_file", 10.0), ("shards", SHARD_GIB[name])):
            folder = tmp_path / f"{name}-{kind}"
            ours.save_to_preset(folder, max_shard_size=size)
            folders[folder.name] = str(folder)
    subprocess.run(
        [
            sys.executable,
            "-c",
            PLAIN_KERAS_HUB,
            json.dumps(folders),
            tmp_path / "batch.npz",
            tmp_path / "out.npz",
        ],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": ""},
    )
    found = np.load(tmp_path / "out.npz")
    assert set(found) == set(folders)
    for name in found:
        assert_same_logits(found[name], expected[name.split("-")[0]])


def test_keras_hub_opens_the_tiny_preset_with_the_same_logits(tmp_path):
    ours = CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    folder = Path(__file__).parents[1] / "presets" / "code_gemma_tiny"
    theirs = keras_hub.models.GemmaCausalLM.from_preset(str(folder), dtype="float32")
    assert_same_logits(logits_of(theirs), logits_of(ours))


@each_shape
def test_files_of_both_hold_the_same_tensors_under_the_same_keys(tmp_path, name):
    our_model(SHAPES[name], "bfloat16").save_to_preset(tmp_path / "ours")
    keras_hub_model(SHAPES[name], "bfloat16").save_to_preset(str(tmp_path / "theirs"))

    def tensors(folder: str) -> dict[str, tuple]:
        found = {}
        with h5py.File(tmp_path / folder / "model.weights.h5") as file:
            file.visititems(
                lambda key, item: (
                    found.update({key: (item.shape, item.dtype, dict(item.attrs), item[()].tobytes())})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
        return found

    assert tensors("ours") == tensors("theirs")
    assert set(tensors("ours")) == {row["keras_hub_key"] for row in convert.dry_run(SHAPES[name])}


@each_shape
def test_json_files_of_both_describe_the_same_objects(tmp_path, name):
    our_model(SHAPES[name]).save_to_preset(tmp_path / "ours")
    keras_hub_model(SHAPES[name]).save_to_preset(str(tmp_path / "theirs"))
    names = {path.name for path in (tmp_path / "theirs").glob("*.json")}
    assert names <= {path.name for path in (tmp_path / "ours").glob("*.json")}

    def plain(value):
        """Without our own keys, and without the counters that Keras appends to names."""
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key != "keras_codegemma"}
        return re.sub(r"_\d+$", "", value) if isinstance(value, str) else value

    for name in names - {"metadata.json"}:
        ours, theirs = (json.loads((tmp_path / side / name).read_text()) for side in ("ours", "theirs"))
        assert plain(ours) == plain(theirs), name


def test_importing_us_leaves_keras_hubs_choice_of_classes_alone(tmp_path):
    our_model(SHAPES["like_2b"]).save_to_preset(tmp_path / "ours")
    opened = keras_hub.models.CausalLM.from_preset(str(tmp_path / "ours"))
    assert type(opened) is keras_hub.models.GemmaCausalLM
    registered = keras.saving.get_custom_objects()
    ours = {name: cls for name, cls in registered.items() if cls.__module__.startswith("keras_codegemma")}
    assert all(name.startswith("keras_codegemma>") for name in ours)
    theirs = (keras_hub.models.Task, keras_hub.models.Backbone, keras_hub.tokenizers.Tokenizer)
    assert not [name for name, cls in ours.items() if isinstance(cls, type) and issubclass(cls, theirs)]


# In memory


@each_shape
def test_to_keras_hub_and_back_keeps_logits_and_weights(name):
    ours = our_model(SHAPES[name])
    theirs: Any = hub.to_keras_hub(ours)
    assert type(theirs).__name__ == "GemmaCausalLM"
    assert_same_logits(logits_of(theirs), logits_of(ours))
    assert theirs.preprocessor.sequence_length == 96
    back = hub.from_keras_hub(theirs)
    assert back.backbone.config == SHAPES[name]
    assert back.preprocessor is not None
    assert back.preprocessor.tokenizer.model_bytes == theirs.preprocessor.tokenizer.proto
    for mine, other in zip(ours.backbone.variables, back.backbone.variables, strict=True):
        assert (mine.path, mine.dtype) == (other.path, other.dtype)
        np.testing.assert_array_equal(mine.value, other.value)


def test_the_bridge_keeps_the_dtype_policy_and_works_without_a_preprocessor():
    backbone = our_model(SHAPES["like_7b"], "bfloat16").backbone
    theirs: Any = hub.to_keras_hub(CodeGemmaCausalLM(backbone))
    assert theirs.backbone.dtype_policy.name == "bfloat16"
    assert theirs.preprocessor is None
    back = hub.from_keras_hub(theirs)
    assert back.preprocessor is None
    assert back.backbone.dtype_policy.name == "bfloat16"


def test_the_bridge_merges_adapters_on_both_sides():
    ours = our_model(SHAPES["like_2b"])
    ours.enable_lora(2)
    theirs = keras_hub_model(SHAPES["like_2b"])
    theirs.backbone.enable_lora(2)
    for backbone in (ours.backbone, theirs.backbone):
        for variable in backbone.variables:
            if variable.path.endswith("lora_kernel_b"):
                variable.assign(weight_source(variable.path, variable.shape, "float32"))
    assert_same_logits(logits_of(hub.to_keras_hub(ours)), logits_of(ours))
    assert_same_logits(logits_of(hub.from_keras_hub(theirs)), logits_of(theirs))


def test_the_bridge_takes_nothing_but_gemma():
    with pytest.raises(TypeError, match=r"takes a keras_hub\.models\.GemmaCausalLM; got CodeGemmaCausalLM"):
        hub.from_keras_hub(our_model(SHAPES["like_2b"]))


def test_the_bridge_says_what_to_install_without_keras_hub():
    code = "import sys; sys.modules['keras_hub'] = None; import keras_codegemma.hub"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert run.returncode == 1
    assert "keras_codegemma.hub needs KerasHub, which is not installed here" in run.stderr
    assert "pip install 'keras-codegemma[hub]'" in run.stderr


# Training


@each_shape
def test_training_loss_equals_keras_hubs_with_the_defaults_of_compile(name):
    features = batch()
    features["padding_mask"][1, 9:] = False
    features["token_ids"][1, 9:] = 0
    labels = np.roll(features["token_ids"], -1, axis=1)
    weights = np.roll(features["padding_mask"], -1, axis=1).astype("float32")
    weights[:, -1] = 0
    ours = our_model(SHAPES[name])
    theirs: Any = hub.to_keras_hub(CodeGemmaCausalLM(ours.backbone))
    models: tuple[Any, Any] = (ours, theirs)
    losses = []
    for lm in models:
        lm.compile()
        evaluated = lm.evaluate(x=features, y=labels, sample_weight=weights, batch_size=2, verbose=0)
        history = lm.fit(x=features, y=labels, sample_weight=weights, batch_size=2, epochs=2, shuffle=False, verbose=0)
        losses.append([evaluated[0], *history.history["loss"]])
    np.testing.assert_allclose(losses[0], losses[1], rtol=tolerance("loss", "float32"))
    assert losses[0][0] == pytest.approx(losses[0][1], rel=1e-5)


def test_keras_hub_proto_is_bytes_or_base64():
    """What `from_keras_hub` relies on: a tokenizer keeps its SentencePiece file as bytes."""
    proto = load_tokenizer("code_gemma_tiny").model_bytes
    for given in (proto, base64.b64encode(proto).decode()):
        assert keras_hub.models.GemmaTokenizer(proto=given).proto == proto
