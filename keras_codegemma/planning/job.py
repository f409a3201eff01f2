"""What is to be run: which model, pre-training, fine-tuning, adapters or serving, how many rows of how many tokens."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.quantization import Quantization

Kind = Literal["pretrain", "finetune", "lora", "serve"]
Optimizer = Literal["adamw", "adafactor"]
CacheDtype = Literal["bfloat16", "int8"]

LENGTHS: dict[Kind, int] = {"pretrain": 8192, "finetune": 2048, "lora": 2048, "serve": 8192}
"""Tokens of a row, unless told otherwise."""

_SLACK_SLOTS = 256
"""Of a cache beyond its tokens: `generation.CAPACITY_SLACK` of accelerators."""

FLOAT_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, on any number of chips.

    Attributes:
        kind: "pretrain" and "finetune" train every weight, "lora" adapters, "serve" generates.
        config: of the model.
        batch_rows: of a step, of all chips together; when serving, rows decoded together.
        length: tokens of a row; when serving, of prompt and result together.
        weight_dtype: of the stored weights.
        quantization: of frozen weights, or None.
        optimizer: of Keras; not used when serving.
        lora_rank: of adapters on query and value, for "lora".
        remat: "block" computes decoder blocks again in the backward pass; None keeps their activations.
        chunk: prompt ids of a prefill step.
        cache_dtype: of keys and values, when serving; "int8" with a float32 scale for each token and head.

    Raises:
        ValueError: a number out of range, or settings that do not go together.
    """

    kind: Kind
    config: CodeGemmaConfig
    batch_rows: int
    length: int
    weight_dtype: str
    quantization: Quantization | None = None
    optimizer: Optimizer = "adamw"
    lora_rank: int = 8
    remat: str | None = "block"
    chunk: int = 1024
    cache_dtype: CacheDtype = "bfloat16"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"A job is one of {', '.join(get_args(Kind))}; got {self.kind!r}. Choose one.")
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(
                f"The optimizer is one of {', '.join(get_args(Optimizer))}; got {self.optimizer!r}. Choose one."
            )
        if self.cache_dtype not in get_args(CacheDtype):
            raise ValueError(
                f"The cache's dtype is one of {', '.join(get_args(CacheDtype))}; got {self.cache_dtype!r}. Choose one."
            )
        if min(self.batch_rows, self.length, self.lora_rank) < 1:
            raise ValueError(
                "Rows, length and rank must be at least 1; got "
                f"{self.batch_rows}, {self.length} and {self.lora_rank}. Correct them."
            )
        if self.length > self.config.context_length:
            raise ValueError(
                f"The length may be at most the model's context of {self.config.context_length} tokens; got "
                f"{self.length}. Choose a shorter one."
            )
        if self.weight_dtype not in FLOAT_BYTES:
            raise ValueError(f"Weights are stored in float32 or bfloat16; got {self.weight_dtype!r}. Choose one.")
        if self.quantization is not None and self.trains_all:
            raise ValueError(
                f"Quantised weights cannot be trained; got {self.quantization.mode} for the job {self.kind}. Choose "
                "lora or serve, or leave quantisation out."
            )

    @classmethod
    def of(
        cls,
        kind: Kind,
        config: CodeGemmaConfig,
        *,
        batch_rows: int,
        length: int | None = None,
        weight_dtype: str | None = None,
        quantization: str | None = None,
        **others,
    ) -> "Job":
        """A job with the usual settings where none are given.

        Weights that are trained are float32 and multiplied in bfloat16; all others are bfloat16.
        """
        usual = "float32" if kind in ("pretrain", "finetune") else "bfloat16"
        return cls(
            kind=kind,
            config=config,
            batch_rows=batch_rows,
            length=min(LENGTHS.get(kind, config.context_length), config.context_length) if length is None else length,
            weight_dtype=usual if weight_dtype is None else weight_dtype,
            quantization=None if quantization is None else Quantization.of(quantization),
            **others,
        )

    @property
    def trains_all(self) -> bool:
        """Whether every weight is trained."""
        return self.kind in ("pretrain", "finetune")

    @property
    def serves(self) -> bool:
        """Whether nothing is trained."""
        return self.kind == "serve"

    @property
    def slots(self) -> int:
        """Of each row's cache, as `generate` makes it."""
        return self.length + _SLACK_SLOTS

    @property
    def dtype(self) -> str:
        """The Keras dtype policy: products are in bfloat16 in any case."""
        name = "mixed_bfloat16" if self.weight_dtype == "float32" else "bfloat16"
        return name if self.quantization is None else self.quantization.policy_name(name)

    def with_rows(self, batch_rows: int) -> "Job":
        """The same with another batch."""
        return replace(self, batch_rows=batch_rows)
