"""Quantised models: through Keras's interface, while loading, saved, trained with adapters."""

import gc
import re
import weakref

import jax.numpy as jnp
import keras
import numpy as np
import pytest

from keras_codegemma import presets
from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.causal_lm import CodeGemmaCausalLM
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert import open_folder
from keras_codegemma.kernels import dispatch
from keras_codegemma.quantization import Quantization, as_kernel, as_matrix, is_quantized, split_policy_name
from tests.tolerances import tolerance

CONFIG = CodeGemmaConfig(
    vocabulary_size=320,
    num_layers=2,
    num_query_heads=4,
    num_key_value_heads=2,
    hidden_dim=128,
    feedforward_dim=256,
    head_dim=32,
    context_length=512,
)
MODES = ["int8", "int4/32", "int4"]
IDS = {"token_ids": np.arange(3, 21)[None], "padding_mask": np.ones((1, 18), bool)}


def source(path: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(list(path.encode()))
    return rng.normal(0, shape[-1] ** -0.5, shape).astype(jnp.dtype(dtype))


def model(policy: str) -> CodeGemmaCausalLM:
    return CodeGemmaCausalLM(CodeGemmaBackbone(**CONFIG.to_dict(), dtype=policy, weight_source=source))


def config_of(mode: str) -> dict:
    if mode != "int4/32":
        return {"mode": mode}
    return {"config": keras.quantizers.Int4QuantizationConfig(block_size=32)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", MODES)
def test_quantising_in_place_and_while_building_give_the_same_model(mode, dtype):
    floats, built = model(dtype), model(f"{mode}_from_{dtype}")
    expected = np.asarray(model("float32")(IDS))  # not those of bfloat16, whose own rounding is no error of quantising
    floats.quantize(**config_of(mode))
    assert floats.backbone.quantization == built.backbone.quantization == Quantization.of(mode)
    result = np.asarray(built(IDS))
    np.testing.assert_array_equal(np.asarray(floats(IDS)), result)
    assert 0 < np.abs(result - expected).max() < (0.05 if mode == "int8" else 0.6) * np.abs(expected).max()
    paths = {variable.path: str(variable.dtype) for variable in built.backbone.variables}
    assert paths["decoder_block_1/ffw_linear/kernel"] == ("int8" if mode == "int8" else "uint8")
    assert paths["token_embedding/embeddings_scale"] == ("float32" if mode == "int8" else "bfloat16")
    assert paths["final_normalization/scale"] == dtype


def test_quantising_frees_the_floats_at_once_and_looks_for_no_garbage(monkeypatch):
    """Keras collects garbage for each deleted variable: minutes of a large process."""
    lm = model("float32")
    floats = [weakref.ref(layer.kernel.value) for layer in lm.backbone.projections().values()]
    floats.append(weakref.ref(lm.backbone.token_embedding.embeddings.value))
    collected = []
    monkeypatch.setattr(gc, "collect", lambda *_: collected.append(1))
    gc.disable()
    try:
        lm.quantize("int8")
        assert [one() for one in floats] == [None] * len(floats)
    finally:
        gc.enable()
    assert not collected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", MODES)
def test_kernels_give_what_the_reference_gives(mode, dtype):
    lm = model(f"{mode}_from_{dtype}")
    best = np.asarray(lm(IDS))
    with dispatch.using("reference"):
        plain = np.asarray(lm(IDS))
    assert np.abs(best - plain).max() <= tolerance("quantized_logits", dtype) * np.abs(plain).max()


@pytest.mark.parametrize("mode", MODES)
def test_a_quantised_model_generates_what_its_logits_say(mode):
    lm = model(f"{mode}_from_float32")
    result = lm.generate(IDS, max_new_tokens=3, stop_token_ids=None)["token_ids"][0]
    for place in range(18, 21):
        ids = result[None, :place]
        logits = np.asarray(lm({"token_ids": ids, "padding_mask": np.ones(ids.shape, bool)}))[0, -1]
        assert result[place] == logits.argmax()


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantised_preset_saves_and_loads_bit_for_bit(tmp_path, mode):
    lm = model(f"{mode}_from_bfloat16")
    lm.save_to_preset(tmp_path / "preset", max_shard_size=0.0001)
    again = presets.load_backbone(tmp_path / "preset", dtype="bfloat16")
    assert again.quantization == lm.backbone.quantization
    for ours, theirs in zip(lm.backbone.variables, again.variables, strict=True):
        assert ours.path == theirs.path
        np.testing.assert_array_equal(np.asarray(ours.value), np.asarray(theirs.value))


def test_a_float_preset_is_quantised_while_loading(tmp_path):
    floats = model("bfloat16")
    floats.save_to_preset(tmp_path / "preset")
    seen = []
    loaded = presets.load_backbone(
        tmp_path / "preset", dtype="bfloat16", quantization="int8", progress=lambda *step: seen.append(step)
    )
    floats.quantize("int8")
    assert [variable.path for variable in loaded.variables] == [v.path for v in floats.backbone.variables]
    for ours, theirs in zip(loaded.variables, floats.backbone.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(ours.value), np.asarray(theirs.value))
    assert seen[-1] == (len(CONFIG.weight_shapes()), len(CONFIG.weight_shapes()))


def test_a_quantised_preset_can_be_read_as_floats(tmp_path):
    lm = model("int8_from_bfloat16")
    lm.save_to_preset(tmp_path / "preset")
    with open_folder(tmp_path / "preset") as checkpoint:
        path, shape = "decoder_block_0/attention/query/kernel", (4, 128, 32)
        weight = checkpoint.readable_weights()(path, shape, "float32")
    original = source(path, shape, "float32")
    assert np.abs(weight - original).max() <= np.abs(original).max() / 127


def test_a_preset_with_minus_128_is_refused(tmp_path):
    import h5py

    model("int8_from_bfloat16").save_to_preset(tmp_path / "preset")
    with h5py.File(tmp_path / "preset" / "model.weights.h5", "r+") as file:
        dataset = file["layers/reversible_embedding/vars/0"]
        assert isinstance(dataset, h5py.Dataset)
        dataset[0, 0] = -128
    with pytest.raises(ValueError, match=r"int8 weights must lie in -127 \.\. 127; token_embedding/embeddings"):
        presets.load_backbone(tmp_path / "preset", dtype="bfloat16", verify_hashes=False)


def test_adapters_train_over_quantised_weights_and_are_merged_when_saved(tmp_path):
    keras.utils.set_random_seed(0)
    lm = model("int8_from_float32")
    before = [np.asarray(variable.value) for variable in lm.backbone.variables]
    lm.backbone.enable_lora(2)
    lm.compile(optimizer=keras.optimizers.Adam(1e-2))
    ids = np.random.default_rng(0).integers(3, 300, (4, 12))
    lm.fit({"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}, np.roll(ids, -1, 1), epochs=8, verbose=0)
    frozen = [variable for variable in lm.backbone.variables if "lora" not in variable.path]
    for old, variable in zip(before, frozen, strict=True):
        np.testing.assert_array_equal(old, np.asarray(variable.value))
    adapted = np.asarray(lm(IDS))
    lm.save_to_preset(tmp_path / "preset")
    merged = CodeGemmaCausalLM(presets.load_backbone(tmp_path / "preset", dtype="float32"))
    assert merged.backbone.quantization == Quantization.of("int8")
    base = np.asarray(model("int8_from_float32")(IDS))
    # Rounding the merged kernels anew moves the logits too, by a tenth of what the adapters do.
    change = np.linalg.norm(adapted - base)
    assert change > 0.1
    assert np.linalg.norm(np.asarray(merged(IDS)) - adapted) < 0.3 * change


@pytest.mark.parametrize("form", ["outputs_first", "inputs_first", "heads_first", "join_heads"])
def test_a_matrix_becomes_its_kernel_again(form):
    kernel = np.arange(24).reshape((2, 3, 4) if "heads" in form else (6, 4))
    np.testing.assert_array_equal(as_kernel(form, as_matrix(form, kernel), kernel.shape), kernel)


def test_every_weight_but_norms_is_quantised():
    left = [path for path in CONFIG.weight_shapes() if not is_quantized(path)]
    assert {path.rpartition("/")[2] for path in left} == {"scale"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "float8"}, "Weights are quantised to 'int8' or 'int4'; got 'float8'"),
        ({"config": keras.quantizers.Int4QuantizationConfig(block_size=64)}, None),
        ({"config": keras.quantizers.Int4QuantizationConfig(block_size=48)}, "must have one of (32, 64, 128) inputs"),
        (
            {"config": keras.quantizers.Int8QuantizationConfig(weight_quantizer=keras.quantizers.AbsMaxQuantizer(0))},
            "Weights alone are quantised, and always in the same way",
        ),
    ],
)
def test_what_cannot_be_done_is_named_and_changes_nothing(arguments, message):
    lm = model("float32")
    if message is None:
        lm.quantize(**arguments)
        assert lm.backbone.quantization == Quantization(mode="int4", group_size=64)
        with pytest.raises(ValueError, match="is already quantized"):
            lm.quantize("int8")
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        lm.quantize(**arguments)
    assert lm.backbone.quantization is None


def test_quantising_after_adapters_is_refused():
    lm = model("float32")
    lm.enable_lora(2)
    with pytest.raises(ValueError, match="must be quantised before it gets LoRA adapters"):
        lm.quantize("int8")


def test_dtype_and_quantization_must_agree(tmp_path):
    model("float32").save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match="got 'int8_from_float32' and 'int4'"):
        presets.load_backbone(tmp_path / "preset", dtype="int8_from_float32", quantization="int4")


def test_policy_names_are_read_as_they_are_written():
    for mode in MODES:
        quantization = Quantization.of(mode)
        assert split_policy_name(quantization.policy_name("bfloat16")) == (quantization, "bfloat16")
    assert split_policy_name("mixed_bfloat16") == (None, "mixed_bfloat16")


def test_symbolic_building_runs_no_product(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a product was traced")

    backbone = model("int8_from_float32").backbone
    monkeypatch.setattr(dispatch.Operation, "__call__", fail)
    spec = CodeGemmaCausalLM(backbone).output
    assert spec.shape == (None, None, 320)
    assert isinstance(spec, keras.KerasTensor)
