"""A deeper model that begins as the trained one it is made from, so that no step of training is lost.

Every new block is a copy of the block before it whose two outputs are zero: it adds nothing to the residual stream, and
has the gradients of a trained block's inputs from the first step on.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp

import keras_codegemma as kcg

_OUTPUTS = ("attention/attention_output/kernel", "ffw_linear/kernel")


def deepened(lm: kcg.CodeGemmaCausalLM, num_layers: int) -> kcg.CodeGemmaCausalLM:
    """The same function in more decoder blocks; new ones are spread evenly, each after the one it copies.

    Args:
        lm: with float weights and without adapters.
        num_layers: blocks of the result, at least as many as `lm` has.

    Raises:
        ValueError: fewer blocks than `lm` has.
    """
    backbone, config = lm.backbone, lm.backbone.config
    if num_layers < config.num_layers:
        raise ValueError(
            f"A model is made deeper, not shallower: num_layers must be at least {config.num_layers}; got {num_layers}."
        )
    weights = {weight.path: weight.value for weight in backbone.weights}
    deeper = kcg.CodeGemmaBackbone(
        **replace(config, num_layers=num_layers).to_dict(),
        dtype=backbone.dtype_policy,
        weight_source=_source(weights, config.num_layers, num_layers),
    )
    return kcg.CodeGemmaCausalLM(deeper, lm.preprocessor)


def _source(weights: dict[str, Any], shallow: int, deep: int) -> Callable[[str, tuple[int, ...], str], Any]:
    """Copies: a training step gives its buffers away, so no two weights may share one."""
    origins = [block * shallow // deep for block in range(deep)]

    def weight(path: str, shape: tuple[int, ...], dtype: str) -> Any:
        block, _, rest = path.partition("/")
        if not block.startswith("decoder_block_"):
            return jnp.array(weights[path])
        number = int(block.removeprefix("decoder_block_"))
        is_new = number > 0 and origins[number] == origins[number - 1]
        if is_new and rest in _OUTPUTS:
            return jnp.zeros(shape, dtype)
        return jnp.array(weights[f"decoder_block_{origins[number]}/{rest}"])

    return weight
