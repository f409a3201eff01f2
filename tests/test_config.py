"""Architecture numbers and their checks."""

import dataclasses
import re

import pytest

from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B, CodeGemmaConfig


def test_published_parameter_counts():
    assert CODE_GEMMA_2B.parameter_count == 2_506_172_416
    assert CODE_GEMMA_7B.parameter_count == 8_537_680_896


def test_published_tensor_counts():
    assert len(CODE_GEMMA_2B.weight_shapes()) == 164
    assert len(CODE_GEMMA_7B.weight_shapes()) == 254


def test_weight_shapes_use_the_real_feedforward_width_and_heads_first():
    shapes = CODE_GEMMA_7B.weight_shapes()
    assert shapes["decoder_block_27/ffw_gating/kernel"] == (3072, 24576)
    assert shapes["decoder_block_0/attention/query/kernel"] == (16, 3072, 256)
    assert shapes["decoder_block_0/attention/attention_output/kernel"] == (16, 256, 3072)
    assert CODE_GEMMA_2B.weight_shapes()["decoder_block_0/attention/key/kernel"] == (1, 2048, 256)


def test_a_config_survives_its_dict():
    assert CodeGemmaConfig.from_dict(CODE_GEMMA_2B.to_dict()) == CODE_GEMMA_2B


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CODE_GEMMA_2B.num_layers = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"num_layers": 0},
            ValueError,
            "num_layers must be positive and finite; got 0. Pass a positive number.",
        ),
        (
            {"num_layers": 2.0},
            TypeError,
            "num_layers must be an integer; got 2.0 of type float. Pass an integer.",
        ),
        (
            {"hidden_dim": True},
            TypeError,
            "hidden_dim must be an integer; got True of type bool. Pass an integer.",
        ),
        ({"layer_norm_epsilon": "1"}, TypeError, "layer_norm_epsilon must be a number; got '1' of type str."),
        (
            {"rope_max_wavelength": float("inf")},
            ValueError,
            "rope_max_wavelength must be positive and finite; got inf.",
        ),
        (
            {"num_key_value_heads": 3},
            ValueError,
            "got 8 query heads and 3 key-value heads. Choose a key-value head",
        ),
        ({"head_dim": 255}, ValueError, "head_dim must be even, because rotary embedding turns pairs"),
        ({"layers": 3}, ValueError, "got unknown ['layers']. Remove or rename them."),
    ],
)
def test_a_bad_number_is_refused_with_what_must_hold(change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        CodeGemmaConfig.from_dict({**CODE_GEMMA_2B.to_dict(), **change})


def test_a_missing_number_is_named():
    values = CODE_GEMMA_2B.to_dict()
    del values["head_dim"]
    with pytest.raises(ValueError, match=r"needs every field without a default.*head_dim"):
        CodeGemmaConfig.from_dict(values)
