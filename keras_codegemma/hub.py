"""To and from KerasHub's Gemma objects in memory: the only module that imports keras_hub.

Weights move variable by variable under the paths that both sides share. Nothing is registered under KerasHub's
classes: a second task on its GemmaBackbone would make `keras_hub.models.CausalLM.from_preset` choose at random.
KerasHub is an extra: pip install 'keras-codegemma[hub]'. It brings TensorFlow.
"""

from typing import Any

import numpy as np

from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.causal_lm import CodeGemmaCausalLM
from keras_codegemma.convert import ModelWeights, keras_objects
from keras_codegemma.preprocessor import CodeGemmaCausalLMPreprocessor
from keras_codegemma.tokenizer import CodeGemmaTokenizer

try:
    import keras
    import keras_hub
except ImportError as error:
    raise ImportError(
        f"keras_codegemma.hub needs KerasHub, which is not installed here ({error}). Install it: "
        "pip install keras-hub, or pip install 'keras-codegemma[hub]'."
    ) from error

_PREPROCESSOR_OPTIONS = ("sequence_length", "add_start_token", "add_end_token")


def to_keras_hub(lm: CodeGemmaCausalLM) -> Any:
    """A `keras_hub.models.GemmaCausalLM` with the weights of `lm`; LoRA adapters are merged into them.

    KerasHub has no infilling, no segments and other stops: what it does with the weights is its own. Memory:
    the weights twice, once in each model.

    Args:
        lm: the model; without a preprocessor, KerasHub's has none either.

    Returns:
        A GemmaCausalLM under the same dtype policy.
    """
    config = lm.backbone.config
    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=config.vocabulary_size,
        num_layers=config.num_layers,
        num_query_heads=config.num_query_heads,
        num_key_value_heads=config.num_key_value_heads,
        hidden_dim=config.hidden_dim,
        intermediate_dim=2 * config.feedforward_dim,
        head_dim=config.head_dim,
        layer_norm_epsilon=config.layer_norm_epsilon,
        dtype=lm.backbone.dtype_policy,
    )
    weights = ModelWeights(lm.backbone)
    for variable in backbone.variables:
        variable.assign(weights(variable.path, tuple(variable.shape)))
    return keras_hub.models.GemmaCausalLM(backbone, preprocessor=_preprocessor_of(lm))


def _preprocessor_of(lm: CodeGemmaCausalLM) -> Any:
    if lm.preprocessor is None:
        return None
    options = lm.preprocessor.get_config()
    return keras_hub.models.GemmaCausalLMPreprocessor(
        keras_hub.models.GemmaTokenizer(proto=lm.preprocessor.tokenizer.model_bytes),
        **{name: options[name] for name in _PREPROCESSOR_OPTIONS if name in options},
    )


def from_keras_hub(theirs: Any) -> CodeGemmaCausalLM:
    """A `CodeGemmaCausalLM` with the weights of a `keras_hub.models.GemmaCausalLM`.

    Args:
        theirs: a Gemma 1 model; LoRA adapters are merged into the weights.

    Raises:
        TypeError: no GemmaCausalLM.
        ValueError: Gemma 2, quantised weights, or a tokenizer without CodeGemma's pieces.
    """
    if not isinstance(theirs, keras_hub.models.GemmaCausalLM):
        raise TypeError(
            f"from_keras_hub takes a keras_hub.models.GemmaCausalLM; got {type(theirs).__name__}. Load it "
            "with keras_hub.models.GemmaCausalLM.from_preset."
        )
    serialized: Any = keras.saving.serialize_keras_object(theirs.backbone)
    config, dtype = keras_objects.read_backbone(serialized, source="the KerasHub model")
    weights = _weights_of(theirs.backbone)
    backbone = CodeGemmaBackbone(
        **config.to_dict(), dtype=dtype, weight_source=lambda path, shape, dtype: weights[path]
    )
    preprocessor = None
    if theirs.preprocessor is not None:
        options = {name: getattr(theirs.preprocessor, name) for name in _PREPROCESSOR_OPTIONS}
        tokenizer = CodeGemmaTokenizer(theirs.preprocessor.tokenizer.proto)
        preprocessor = CodeGemmaCausalLMPreprocessor(tokenizer, **options)
    return CodeGemmaCausalLM(backbone, preprocessor)


def _weights_of(backbone: Any) -> dict[str, np.ndarray]:
    """Every weight by path; a kernel with LoRA as its layer uses it."""
    weights = {variable.path: np.asarray(variable.value) for variable in backbone.variables}
    for layer in backbone._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            weights[layer._kernel.path] = np.asarray(layer.kernel)
    return weights
