"""The forward pass: inputs, packing, padding, names, and the config round trip."""

import re

import jax
import keras
import numpy as np
import pytest

from keras_codegemma.backbone import CodeGemmaBackbone
from tests.small_models import CONFIGS, random_backbone, random_ids
from tests.tolerances import tolerance


@pytest.fixture(scope="module", params=CONFIGS)
def backbone(request):
    return random_backbone(CONFIGS[request.param])


def test_weights_have_the_paths_and_shapes_that_the_config_promises(backbone):
    got = {variable.path: tuple(variable.shape) for variable in backbone.variables}
    assert got == backbone.config.weight_shapes()
    assert list(got) == list(backbone.config.weight_shapes())


def test_leaving_out_optional_inputs_equals_giving_their_defaults(backbone):
    ids = np.asarray([random_ids(np.random.default_rng(0), backbone.config, 9)], "int32")
    plain = backbone({"token_ids": ids})
    full = backbone(
        {
            "token_ids": ids,
            "padding_mask": np.ones((1, 9), bool),
            "segment_ids": np.ones((1, 9), "int32"),
            "positions": np.arange(9, dtype="int32")[None],
        }
    )
    np.testing.assert_array_equal(np.asarray(plain), np.asarray(full))


def test_packed_documents_equal_the_same_documents_apart(backbone):
    rng = np.random.default_rng(1)
    first, second = random_ids(rng, backbone.config, 7), random_ids(rng, backbone.config, 11)
    packed = backbone(
        {
            "token_ids": np.asarray([first + second + [0, 0]], "int32"),
            "segment_ids": np.asarray([[1] * 7 + [2] * 11 + [0, 0]], "int32"),
        }
    )
    packed = np.asarray(packed)[0]
    for part, ids in ((packed[:7], first), (packed[7:18], second)):
        alone = np.asarray(backbone({"token_ids": np.asarray([ids], "int32")}))[0]
        np.testing.assert_allclose(
            part, alone, rtol=tolerance("hidden", "float32"), atol=tolerance("hidden", "float32")
        )


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(backbone, side):
    ids = random_ids(np.random.default_rng(2), backbone.config, 6)
    row, mask = (ids + [0] * 3, [1] * 6 + [0] * 3) if side == "right" else ([0] * 3 + ids, [0] * 3 + [1] * 6)
    padded = backbone({"token_ids": np.asarray([row], "int32"), "padding_mask": np.asarray([mask], bool)})
    alone = backbone({"token_ids": np.asarray([ids], "int32")})
    np.testing.assert_allclose(
        np.asarray(padded)[0][np.asarray(mask, bool)],
        np.asarray(alone)[0],
        rtol=tolerance("hidden", "float32"),
        atol=tolerance("hidden", "float32"),
    )


def test_a_token_changes_nothing_before_it(backbone):
    ids = random_ids(np.random.default_rng(3), backbone.config, 8)
    other = [*ids[:5], (ids[5] + 1) % 300 + 1, *ids[6:]]
    a, b = (np.asarray(backbone({"token_ids": np.asarray([row], "int32")}))[0] for row in (ids, other))
    np.testing.assert_array_equal(a[:5], b[:5])
    assert np.abs(a[5:] - b[5:]).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
def test_a_config_builds_the_same_model_again(dtype):
    backbone = random_backbone(CONFIGS["grouped_query"], dtype=dtype)
    again = CodeGemmaBackbone.from_config(backbone.get_config())
    for new, old in zip(again.variables, backbone.variables, strict=True):
        new.assign(old.value)
    ids = np.asarray([[5, 6, 7]], "int32")
    assert again.dtype_policy == backbone.dtype_policy
    assert again.variables[0].dtype == backbone.variables[0].dtype == keras.DTypePolicy(dtype).variable_dtype
    np.testing.assert_array_equal(
        np.asarray(again({"token_ids": ids}), "float32"), np.asarray(backbone({"token_ids": ids}), "float32")
    )


def test_building_runs_no_computation(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a symbolic call must not trace a product")

    monkeypatch.setattr("keras_codegemma.layers.projection.einsum_accumulating_in_float32", refuse)
    random_backbone(CONFIGS["multi_query"])


def test_lora_trains_its_own_weights_alone():
    backbone = random_backbone(CONFIGS["multi_query"])
    backbone.enable_lora(3, target_names=("query", "ffw_linear"))
    paths = {variable.path for variable in backbone.trainable_variables}
    assert paths == {
        f"decoder_block_{i}/{layer}/lora_kernel_{side}"
        for i in range(2)
        for layer in ("attention/query", "ffw_linear")
        for side in "ab"
    }


def test_lora_refuses_what_it_cannot_do():
    backbone = random_backbone(CONFIGS["multi_query"])
    with pytest.raises(ValueError, match=r"The LoRA rank must be a positive integer; got 0\. Try 4, 8 or 16\."):
        backbone.enable_lora(0)
    with pytest.raises(ValueError, match=re.escape("got unknown ['qery']. Correct the names.")):
        backbone.enable_lora(2, target_names=("qery",))
    backbone.enable_lora(2)
    with pytest.raises(ValueError, match="LoRA is already enabled on this model"):
        backbone.enable_lora(2)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (np.ones((1, 3)), TypeError, "got ndarray. Wrap the ids: {'token_ids': ids}."),
        (
            {"padding_mask": np.ones((1, 3))},
            ValueError,
            "got ['padding_mask']. Add, remove or rename entries.",
        ),
        ({"token_ids": np.ones((1, 3)), "mask": None}, ValueError, "got ['mask', 'token_ids']."),
    ],
)
def test_wrong_inputs_are_named(backbone, inputs, error, message):
    with pytest.raises(error, match=re.escape(message)):
        backbone(inputs)


def test_a_dtype_policy_that_is_no_float_is_refused():
    with pytest.raises(ValueError, match="Weights are quantised to 'int8' or 'int4'; got 'float8'"):
        random_backbone(CONFIGS["multi_query"], dtype="float8_from_float32")


def test_a_weight_of_another_shape_is_named():
    def source(path, shape, dtype):
        return np.zeros((2, 2), "float32") if path.endswith("ffw_linear/kernel") else np.zeros(shape, "float32")

    with pytest.raises(ValueError, match=r"The weight decoder_block_0/ffw_linear/kernel must have shape \(96, 64\)"):
        CodeGemmaBackbone(**CONFIGS["multi_query"].to_dict(), weight_source=source)


def test_each_weight_is_asked_for_once_and_cast_to_the_policy():
    asked = []

    def source(path, shape, dtype):
        asked.append((path, dtype))
        return np.zeros(shape, "float32")

    backbone = CodeGemmaBackbone(**CONFIGS["multi_query"].to_dict(), dtype="bfloat16", weight_source=source)
    assert asked == [(path, "bfloat16") for path in backbone.config.weight_shapes()]
    assert {variable.value.dtype for variable in backbone.variables} == {jax.numpy.bfloat16.dtype}
