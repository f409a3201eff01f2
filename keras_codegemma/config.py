"""Every architecture number of CodeGemma, frozen and validated.

The two published shapes are `CODE_GEMMA_2B` and `CODE_GEMMA_7B`; all numbers are from Google's `gemma_pytorch`
(`gemma/config.py`) and the Hugging Face converter `convert_gemma_weights_to_hf.py`, which agree.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

_POSITIVE_INTEGERS = (
    "vocabulary_size",
    "num_layers",
    "num_query_heads",
    "num_key_value_heads",
    "hidden_dim",
    "feedforward_dim",
    "head_dim",
    "context_length",
)
_POSITIVE_FLOATS = ("layer_norm_epsilon", "rope_max_wavelength")


@dataclass(frozen=True, kw_only=True)
class CodeGemmaConfig:
    """The shape of one Gemma 1 decoder.

    Attributes:
        vocabulary_size: rows V of the embedding, tied with the output projection.
        num_layers: decoder blocks L.
        num_query_heads: N.
        num_key_value_heads: K; divides N. 1 is multi-query attention, N is ordinary multi-head attention.
        hidden_dim: model width D.
        feedforward_dim: width F really used by each of the two GeGLU branches (Hugging Face's
            `intermediate_size`; KerasHub's `intermediate_dim` is twice this).
        head_dim: head width H, even, because rotary embedding turns pairs. N * H need not equal D (7B: 4096, 3072).
        layer_norm_epsilon: added to the mean square in every RMSNorm.
        rope_max_wavelength: base of the rotary angles.
        context_length: the longest sequence, in tokens, the model was trained on.

    Raises:
        TypeError: a number of the wrong type.
        ValueError: a number out of range, heads that do not divide, or an odd head width.
    """

    vocabulary_size: int
    num_layers: int
    num_query_heads: int
    num_key_value_heads: int
    hidden_dim: int
    feedforward_dim: int
    head_dim: int
    layer_norm_epsilon: float = 1e-6
    rope_max_wavelength: float = 10_000.0
    context_length: int = 8192

    def __post_init__(self) -> None:
        for name in _POSITIVE_INTEGERS:
            _check_positive(name, getattr(self, name), int)
        for name in _POSITIVE_FLOATS:
            _check_positive(name, getattr(self, name), (int, float))
        if self.num_query_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_query_heads must be a multiple of num_key_value_heads; got {self.num_query_heads} query heads "
                f"and {self.num_key_value_heads} key-value heads. Choose a key-value head count that divides."
            )
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim must be even, because rotary embedding turns pairs of features; got {self.head_dim}. "
                "Choose an even head width."
            )

    @property
    def parameter_count(self) -> int:
        """Weights in the model; the tied embedding counts once."""
        return sum(math.prod(shape) for shape in self.weight_shapes().values())

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight's Keras `variable.path` and shape, in the order the model creates them.

        9 tensors a layer and 2 more: 164 for 2B, 254 for 7B. Paths and layouts are KerasHub's, so layout maps and
        preset files written for its Gemma fit ours.
        """
        n, k, d, f, h = (
            self.num_query_heads,
            self.num_key_value_heads,
            self.hidden_dim,
            self.feedforward_dim,
            self.head_dim,
        )
        shapes: dict[str, tuple[int, ...]] = {"token_embedding/embeddings": (self.vocabulary_size, d)}
        for layer in range(self.num_layers):
            block = f"decoder_block_{layer}"
            shapes[f"{block}/pre_attention_norm/scale"] = (d,)
            shapes[f"{block}/attention/query/kernel"] = (n, d, h)
            shapes[f"{block}/attention/key/kernel"] = (k, d, h)
            shapes[f"{block}/attention/value/kernel"] = (k, d, h)
            shapes[f"{block}/attention/attention_output/kernel"] = (n, h, d)
            shapes[f"{block}/pre_ffw_norm/scale"] = (d,)
            shapes[f"{block}/ffw_gating/kernel"] = (d, f)
            shapes[f"{block}/ffw_gating_2/kernel"] = (d, f)
            shapes[f"{block}/ffw_linear/kernel"] = (f, d)
        shapes["final_normalization/scale"] = (d,)
        return shapes

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as `from_dict` takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CodeGemmaConfig":
        """Builds a config from its fields by name.

        Raises:
            ValueError: a name that is no field, or a field without default that is missing.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(
                f"A CodeGemmaConfig takes the fields {sorted(known)}; got unknown {unknown}. Remove or rename them."
            )
        try:
            return cls(**values)
        except TypeError as error:
            if "required" not in str(error):
                raise
            raise ValueError(f"A CodeGemmaConfig needs every field without a default: {error}. Add them.") from error


def _check_positive(name: str, value: Any, kind: type | tuple[type, ...]) -> None:
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = "an integer" if kind is int else "a number"
        raise TypeError(f"{name} must be {wanted}; got {value!r} of type {type(value).__name__}. Pass {wanted}.")
    if not value > 0 or not math.isfinite(value):
        raise ValueError(f"{name} must be positive and finite; got {value!r}. Pass a positive number.")


CODE_GEMMA_2B = CodeGemmaConfig(
    vocabulary_size=256_000,
    num_layers=18,
    num_query_heads=8,
    num_key_value_heads=1,
    hidden_dim=2048,
    feedforward_dim=16_384,
    head_dim=256,
)
CODE_GEMMA_7B = CodeGemmaConfig(
    vocabulary_size=256_000,
    num_layers=28,
    num_query_heads=16,
    num_key_value_heads=16,
    hidden_dim=3072,
    feedforward_dim=24_576,
    head_dim=256,
)
