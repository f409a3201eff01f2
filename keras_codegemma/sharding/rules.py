"""How each weight is split: one rule for each, by path, in floats and quantised, with its LoRA adapters.

| weight | axes | over |
| --- | --- | --- |
| embedding | V D | model, fsdp |
| query | N D H | model, fsdp, - |
| key, value | K D H | model where it divides, else -; fsdp, - |
| attention_output | N H D | model, -, fsdp |
| ffw_gating, ffw_gating_2 | D F | fsdp, model |
| ffw_linear | F D | model, fsdp |
| norms | D | - |

Heads, feed-forward and vocabulary are the outputs of one product and the inputs of the next, so that a block needs two
sums over "model" and no more. Norms are a few kilobytes and stay whole.

An adapter is split as the kernel it adds to: A as the kernel without its last axis, B as that last axis. A quantised
kernel is a matrix [outputs, inputs] (`quantization.py`); it and its scales are split as the axes that were joined into
its own. Optimiser slots have the path of their optimiser and the layout of their weight: Keras sees to that.
"""

import re
from typing import Literal

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.quantization import SCALE_SUFFIX, form_of, is_quantized, matrix_axes
from keras_codegemma.sharding.meshes import MeshShape

Axis = Literal["vocabulary", "heads", "kv_heads", "feedforward", "width"]

_BLOCK = r"decoder_block_\d+"
_RULES: dict[str, tuple[Axis | None, ...]] = {
    r"token_embedding/embeddings": ("vocabulary", "width"),
    rf"{_BLOCK}/attention/query/kernel": ("heads", "width", None),
    rf"{_BLOCK}/attention/(key|value)/kernel": ("kv_heads", "width", None),
    rf"{_BLOCK}/attention/attention_output/kernel": ("heads", None, "width"),
    rf"{_BLOCK}/ffw_gating(_2)?/kernel": ("width", "feedforward"),
    rf"{_BLOCK}/ffw_linear/kernel": ("feedforward", "width"),
    rf"{_BLOCK}/pre_(attention|ffw)_norm/scale": (None,),
    r"final_normalization/scale": (None,),
}
_LORA = r"lora_kernel_(a|b)"
_NAMES_OF_WEIGHTS = frozenset({"kernel", "kernel_scale", "embeddings", "embeddings_scale", "scale", "bias"})


def weight_axes(path: str, *, ndim: int, quantized: bool = False) -> tuple[Axis | None, ...]:
    """What each axis of a variable is, by the one rule that matches its path.

    Args:
        path: `variable.path`, as "decoder_block_0/attention/query/kernel".
        ndim: of the variable.
        quantized: whether it is the data of a quantised weight. Scales are known by their names.

    Raises:
        ValueError: no rule, or more than one, matches.
    """
    adapter = re.fullmatch(rf"(.*/){_LORA}", path)
    scale = is_quantized(path.removesuffix(SCALE_SUFFIX)) and path.endswith(SCALE_SUFFIX)
    weight = f"{adapter[1]}kernel" if adapter else path.removesuffix(SCALE_SUFFIX) if scale else path
    matches = [axes for pattern, axes in _RULES.items() if re.fullmatch(pattern, weight)]
    if len(matches) != 1:
        raise ValueError(
            f"Each weight must be matched by exactly one layout rule; {path} is matched by {len(matches)}. Build the "
            "backbone outside other models, so that its paths begin with token_embedding, decoder_block_N and "
            "final_normalization, or name the path in `replicated` to keep it whole on every device."
        )
    (axes,) = matches
    if adapter:
        axes = (*axes[:-1], None) if adapter[2] == "a" else (None, axes[-1])
    elif quantized or scale:
        axes = matrix_axes(form_of(weight), axes)[:ndim]
    if len(axes) != ndim:
        raise ValueError(
            f"The layout rule of {path} is for {len(axes)} axes; the weight has {ndim}. It is not one of this model's "
            "weights: name its path in `replicated` to keep it whole on every device."
        )
    return axes


def weight_spec(
    path: str, *, ndim: int, config: CodeGemmaConfig, mesh: MeshShape, quantized: bool = False
) -> tuple[str | None, ...]:
    """The mesh axis that each axis of a variable is split over, or None; errors as in `weight_axes`."""
    heads = config.num_key_value_heads
    names: dict[Axis | None, str | None] = {
        None: None,
        "vocabulary": "model",
        "heads": "model",
        "kv_heads": "model" if heads % mesh.model == 0 else None,
        "feedforward": "model",
        "width": "fsdp" if mesh.data is None else None,
    }
    return tuple(names[axis] for axis in weight_axes(path, ndim=ndim, quantized=quantized))


def belongs_to_model(path: str) -> bool:
    """Whether a variable is a weight of the model, under whatever outer name, and not an optimiser's or a metric's."""
    *layers, name = path.split("/")
    known = name in _NAMES_OF_WEIGHTS or re.fullmatch(_LORA, name) is not None
    return known or any(re.fullmatch(rf"{_BLOCK}|token_embedding|final_normalization", layer) for layer in layers)
