"""A model on its way from one form to another: what a preset folder holds, weights not yet read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert.names import weight_names
from keras_codegemma.convert.weights import ModelWeights, Weights
from keras_codegemma.quantization import Quantization


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a folder or a model in memory holds. A context manager: leaving it closes the weight files.

    Attributes:
        config: the architecture.
        dtype: name of the float dtype policy it was saved under, such as "bfloat16"; for a Hugging Face folder the
            stored type of its weights.
        quantization: how projections and embedding are quantised, or None. The weights then also have the method
            `quantized(path)`, which gives them as they are.
        weights: called with (path, shape, dtype); None where a folder was opened without its weights.
        tokenizer_model: the SentencePiece model file's bytes; None for a backbone alone.
        preprocessor_options: keywords for `CodeGemmaCausalLMPreprocessor`, as far as saved.
        special_token_ids: control piece to id as recorded when saved; empty where not recorded.
        model_card: Markdown, or None.
    """

    config: CodeGemmaConfig
    dtype: str
    weights: Weights | None
    quantization: Quantization | None = None
    tokenizer_model: bytes | None = None
    preprocessor_options: Mapping[str, Any] = field(default_factory=dict)
    special_token_ids: Mapping[str, int] = field(default_factory=dict)
    model_card: str | None = None

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.weights is not None:
            self.weights.close()

    def readable_weights(self) -> Weights:
        """The weights.

        Raises:
            ValueError: the folder was opened without them.
        """
        if self.weights is None:
            raise ValueError(
                "Writing a model needs its weights; this folder was opened with load_weights=False. Open "
                "it with its weights."
            )
        return self.weights

    def weight_dtypes(self, dtype: str | None) -> dict[str, str]:
        """From each weight's path to the type to write it in: `dtype`, or for None the stored one."""
        weights = self.readable_weights()
        return {names.path: dtype or weights.stored_dtype(names.path) for names in weight_names(self.config)}


class LanguageModel(Protocol):
    """What is read of a `CodeGemmaCausalLM`: it need not be imported here."""

    backbone: Any
    preprocessor: Any


# Keras's own fields of a preprocessor, which each format writes for itself.
_KERAS_FIELDS = ("name", "trainable", "dtype", "tokenizer", "config_file")


def checkpoint_of(lm: LanguageModel) -> Checkpoint:
    """A model in memory, ready to be written. LoRA adapters are merged into the weights as they are written.

    Args:
        lm: a `CodeGemmaCausalLM`, with or without a preprocessor.
    """
    preprocessor = lm.preprocessor
    options = {} if preprocessor is None else preprocessor.get_config()
    return Checkpoint(
        config=lm.backbone.config,
        dtype=lm.backbone.dtype_policy.name,
        quantization=lm.backbone.quantization,
        weights=ModelWeights(lm.backbone),
        tokenizer_model=None if preprocessor is None else preprocessor.tokenizer.model_bytes,
        preprocessor_options={key: value for key, value in options.items() if key not in _KERAS_FIELDS},
    )
