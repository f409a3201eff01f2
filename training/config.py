"""What a training run is, as one frozen value: model, data, optimiser, length, and what is kept of it.

A recipe in `training/recipes/` returns one; `--set optimizer.peak_rate=0.002` changes it. Everything is checked when it
is built, so a run that starts has settings that fit each other. Plain Python: Keras comes in when the run begins.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from keras_codegemma.config import CodeGemmaConfig


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model to train.

    Attributes:
        preset: a name, handle or folder; of a fresh model the tokenizer alone is read from it.
        shape: of a fresh model with random weights, whose vocabulary size must be the tokenizer's; None trains the
            preset's weights on.
        num_layers: of a deeper model than the preset's, which begins as the same function; see `deepening.py`. None
            keeps its depth.
        dtype: policy; "mixed_bfloat16" multiplies in bfloat16 and keeps float32 weights, "bfloat16" keeps no float32
            ones: right for a frozen base, too coarse for weights that take small steps.
        quantization: "int8", "int4" or "int4/32" of a frozen base under adapters; None keeps floats.
        remat: "block" recomputes each decoder block in the backward pass; None keeps its activations.
        lora_rank: of adapters, the rest being frozen; None trains every weight.
        lora_alpha: adapters are scaled by alpha / rank; None for the rank.
        lora_targets: names of the layers that get adapters.
        adapter: a file of adapters to carry on from; it brings rank and targets, which must be left unset.
    """

    preset: str = "code_gemma_tiny"
    shape: CodeGemmaConfig | None = None
    num_layers: int | None = None
    dtype: str = "float32"
    quantization: str | None = None
    remat: str | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_targets: tuple[str, ...] = ("query", "value")
    adapter: Path | None = None

    @property
    def has_adapters(self) -> bool:
        """Whether adapters alone are trained."""
        return self.lora_rank is not None or self.adapter is not None

    def __post_init__(self) -> None:
        if self.adapter is not None and self.lora_rank is not None:
            raise ValueError(
                f"model.adapter brings its own rank; got lora_rank={self.lora_rank} too. Set model.lora_rank=none."
            )
        if self.quantization is not None and not self.has_adapters:
            raise ValueError(
                f"Quantised weights cannot be trained; got quantization={self.quantization!r} without adapters. Set "
                "model.lora_rank, or model.quantization=none."
            )
        if self.shape is not None and self.has_adapters:
            raise ValueError("Adapters need trained weights below them; got a fresh shape too. Set model.shape=none.")
        if self.num_layers is not None and (self.shape is not None or self.has_adapters):
            raise ValueError(
                f"A preset is made deeper when all of it is trained; got num_layers={self.num_layers} with a fresh "
                "shape or adapters. Set model.num_layers=none."
            )


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What is trained on, in which order.

    Attributes:
        corpus: folder of packed rows with a manifest; None where chats or preferences are given.
        chats: a JSON-lines file of `{"messages": [{"role": ..., "content": ...}, ...]}`; the model's turns count.
        preferences: a JSON-lines file of `{"messages": [...], "chosen": "...", "rejected": "..."}`, for DPO.
        batch_size: rows of a step, of all hosts together; of preferences, pairs of rows.
        sequence_length: of chats, which are cut at their end, and of answers to choose from, which are not cut: all
            must fit. A corpus has its own length.
        held_out_rows: rows at the corpus's end, or chats or pairs at the file's end, that are kept for validation;
            files are in the order of their repositories, so these are of the last ones.
        held_out: a corpus or file of its own for validation, instead of `held_out_rows`.
        seed: of the order.
        workers: processes that read; 0 for none. The order is the same with any number.
        threads: that read, in each process.
    """

    corpus: Path | None = None
    chats: Path | None = None
    preferences: Path | None = None
    batch_size: int = 8
    sequence_length: int = 1024
    held_out_rows: int = 0
    held_out: Path | None = None
    seed: int = 0
    workers: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.sequence_length < 2 or self.workers < 0 or self.threads < 1:
            raise ValueError(
                "batch_size and threads must be at least 1, sequence_length 2, workers 0; got "
                f"{self.batch_size}, {self.threads}, {self.sequence_length}, {self.workers}. Correct them."
            )
        if self.held_out_rows < 0:
            raise ValueError(f"held_out_rows must be 0 or more; got {self.held_out_rows}. Give a number of rows.")
        if self.held_out_rows and self.held_out is not None:
            raise ValueError(
                f"Validation is either the last rows or a folder of its own; got held_out_rows={self.held_out_rows} "
                f"and held_out={self.held_out}. Set one of them."
            )

    @property
    def has_validation(self) -> bool:
        """Whether anything is held out."""
        return bool(self.held_out_rows) or self.held_out is not None


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """The optimiser of Keras and its rate; see `optimizer.py` for what decays.

    Attributes:
        name: which; "muon" takes Adam for the embedding and all vectors.
        peak_rate: learning rate after warm-up.
        warmup_steps: of a linear rise from 0.
        final_rate: what the cosine falls to at the last step, as a part of the peak.
        weight_decay: of matrices; neither norms nor the embedding decay.
        beta_1, beta_2: of Adam's means.
        clip_norm: of all gradients together; None does not clip.
        accumulation: steps whose gradients are averaged for one update.
    """

    name: Literal["adamw", "adafactor", "muon"] = "adamw"
    peak_rate: float = 1e-3
    warmup_steps: int = 100
    final_rate: float = 0.1
    weight_decay: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.95
    clip_norm: float | None = 1.0
    accumulation: int = 1

    def __post_init__(self) -> None:
        if self.peak_rate <= 0 or self.warmup_steps < 0 or self.accumulation < 1 or self.weight_decay < 0:
            raise ValueError(
                "peak_rate must be above 0, warmup_steps and weight_decay 0 or more, accumulation at least 1; got "
                f"{self.peak_rate}, {self.warmup_steps}, {self.weight_decay}, {self.accumulation}. Correct them."
            )
        if not 0 <= self.final_rate <= 1:
            raise ValueError(f"final_rate is a part of the peak, from 0 to 1; got {self.final_rate}. Correct it.")


@dataclass(frozen=True, kw_only=True)
class PreferenceSettings:
    """The loss of direct preference optimisation; see `preference.py`.

    Attributes:
        beta: how closely the model is held to the reference; 0.1 in the paper.
        label_smoothing: share of pairs that are taken to be the wrong way round; 0 is the paper's loss, more is
            "conservative DPO" (Mitchell, 2023).
    """

    beta: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"preference.beta must be above 0; got {self.beta}. The paper has 0.1.")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(
                f"preference.label_smoothing must be from 0 to below 0.5; got {self.label_smoothing}. Lower it."
            )


@dataclass(frozen=True, kw_only=True)
class KeepSettings:
    """What a run writes, and when it stops by itself. Steps are batches.

    Attributes:
        log_every: steps that one line of the log is the mean of.
        save_every: steps from checkpoint to checkpoint; a multiple of `log_every`.
        checkpoints: how many of the newest are kept.
        validate_every: steps from validation to validation; a multiple of `log_every`. One always comes at the end.
        spike: stops where a logged loss is above so many times the median of the 20 before it; None never does.
        tensorboard: whether the same numbers go into event files too, in RUN/tensorboard.
        peak_tflops: of the device in the dtype of the products; None leaves the utilisation out.
    """

    log_every: int = 10
    save_every: int = 100
    checkpoints: int = 3
    validate_every: int = 100
    spike: float | None = 1.5
    tensorboard: bool = False
    peak_tflops: float | None = None

    def __post_init__(self) -> None:
        if min(self.log_every, self.save_every, self.validate_every, self.checkpoints) < 1:
            raise ValueError(
                "log_every, save_every, validate_every and checkpoints must be at least 1; got "
                f"{self.log_every}, {self.save_every}, {self.validate_every}, {self.checkpoints}. Correct them."
            )
        if self.spike is not None and self.spike <= 1:
            raise ValueError(f"keep.spike is a multiple of the usual loss, above 1; got {self.spike}. Try 1.5.")


@dataclass(frozen=True, kw_only=True)
class MeshSettings:
    """How devices share the work; `keras_codegemma.distribution.MeshShape` has the meaning. One of each: no mesh.

    Attributes:
        replica: groups of devices that each hold the model once and share the rows.
        fsdp: devices that weights, optimiser state and rows are split over.
        model: devices that heads, feed-forward and vocabulary are split over.
    """

    replica: int = 1
    fsdp: int = 1
    model: int = 1

    @property
    def devices(self) -> int:
        """In the mesh."""
        return self.replica * self.fsdp * self.model


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """A run.

    Attributes:
        name: of the recipe.
        steps: batches to train on; a multiple of `keep.log_every`.
        model, data, optimizer, keep, mesh: see there.
        preference: the loss where the data are preferences; None elsewhere.
        seed: of a fresh model's weights and of adapters.
    """

    name: str
    steps: int
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    preference: PreferenceSettings | None = None
    keep: KeepSettings = field(default_factory=KeepSettings)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1; got {self.steps}. Give a number of batches.")

    def check_complete(self) -> None:
        """Raises ValueError where the recipe cannot run yet, or its parts do not fit each other.

        Not when it is built, because `--set` changes one part after the other.
        """
        every = self.keep.log_every
        numbers = {"steps": self.steps, "keep.save_every": self.keep.save_every}
        for name, value in (numbers | {"keep.validate_every": self.keep.validate_every}).items():
            if value % every:
                raise ValueError(
                    f"{name} must be a multiple of keep.log_every={every}; got {value}. Give, for example, "
                    f"{every * (value // every + 1)}."
                )
        data = self.data
        if sum(path is not None for path in (data.corpus, data.chats, data.preferences)) != 1:
            raise ValueError(
                f"A run trains on a corpus, chats or preferences; got corpus={data.corpus}, chats={data.chats} and "
                f"preferences={data.preferences}. Pass one of --set data.corpus=FOLDER, data.chats=FILE and "
                "data.preferences=FILE."
            )
        if (data.preferences is None) != (self.preference is None):
            raise ValueError(
                f"Preferences need settings of their loss, and other data none; got preferences={data.preferences} and "
                f"preference={self.preference}. Begin with the recipe preference_7b."
            )
        if self.optimizer.warmup_steps >= self.steps:
            raise ValueError(
                f"The warm-up must end before the run; got warmup_steps={self.optimizer.warmup_steps} of {self.steps} "
                "steps. Set optimizer.warmup_steps lower."
            )
