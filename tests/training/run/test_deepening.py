"""A deeper model is the same function, and every block of it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma.config import CODE_GEMMA_2B
from training.config import ModelSettings
from training.deepening import deepened


@pytest.fixture(scope="module")
def lm() -> kcg.CodeGemmaCausalLM:
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")


def _hidden(lm: kcg.CodeGemmaCausalLM, ids: np.ndarray) -> np.ndarray:
    return np.asarray(lm.backbone({"token_ids": ids}))


@pytest.mark.parametrize("more", [0, 1, 3, 7])
def test_the_same_function(lm, more):
    layers = lm.backbone.config.num_layers
    deeper = deepened(lm, layers + more)
    assert deeper.backbone.config.num_layers == layers + more
    assert deeper.preprocessor is lm.preprocessor
    ids = np.random.default_rng(more).integers(500, 8000, (2, 48)).astype("int32")
    np.testing.assert_array_equal(_hidden(deeper, ids), _hidden(lm, ids))


def test_new_blocks_copy_the_one_before_but_for_their_outputs(lm):
    layers = lm.backbone.config.num_layers
    deeper = {weight.path: np.asarray(weight.value) for weight in deepened(lm, 2 * layers).backbone.weights}
    outputs = ("attention/attention_output/kernel", "ffw_linear/kernel")
    for weight in lm.backbone.weights:
        block, _, rest = weight.path.partition("/")
        if not block.startswith("decoder_block_"):
            np.testing.assert_array_equal(deeper[weight.path], weight.value)
            continue
        number = int(block.rpartition("_")[2])
        np.testing.assert_array_equal(deeper[f"decoder_block_{2 * number}/{rest}"], weight.value)
        copy = deeper[f"decoder_block_{2 * number + 1}/{rest}"]
        np.testing.assert_array_equal(copy, np.zeros_like(copy) if rest in outputs else weight.value)


def test_every_block_gets_gradients(lm):
    backbone = deepened(lm, 2 * lm.backbone.config.num_layers).backbone
    ids = np.random.default_rng(0).integers(500, 8000, (1, 32)).astype("int32")
    values = [variable.value for variable in backbone.trainable_variables]

    def loss(values):
        hidden = backbone.stateless_call(values, [], {"token_ids": ids})[0]
        return jnp.sum(jnp.sin(hidden))

    gradients = jax.grad(loss)(values)
    for variable, gradient in zip(backbone.trainable_variables, gradients, strict=True):
        if variable.path.endswith(("attention_output/kernel", "ffw_linear/kernel")):
            assert float(jnp.max(jnp.abs(gradient))) > 0, variable.path


def test_no_two_weights_share_a_buffer(lm):
    weights = [*lm.backbone.weights, *deepened(lm, lm.backbone.config.num_layers + 3).backbone.weights]
    assert len({weight.value.unsafe_buffer_pointer() for weight in weights}) == len(weights)


def test_fewer_layers_are_refused(lm):
    layers = lm.backbone.config.num_layers
    with pytest.raises(ValueError, match=f"at least {layers}; got {layers - 1}"):
        deepened(lm, layers - 1)


@pytest.mark.parametrize("other", [{"lora_rank": 4}, {"shape": CODE_GEMMA_2B}])
def test_only_a_whole_preset_is_made_deeper(other):
    with pytest.raises(ValueError, match=r"model\.num_layers=none"):
        ModelSettings(num_layers=12, **other)
