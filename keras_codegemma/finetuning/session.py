"""Adapters trained on one repository through `fit`, within a time that is asked for, and exact match before and after.

Measured are single lines taken out of files that were never trained on, as an editor asks for them (`stop_at="line"`,
greedy); both models are asked the same.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_codegemma.causal_lm import CodeGemmaCausalLM
from keras_codegemma.evaluation.metrics import clustered_interval, edit_similarity, exact_match
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.repository import build
from keras_codegemma.finetuning.files import SENTINEL_TOKENS, Repository, batches, pieces
from keras_codegemma.settling import Settling

ALL_TARGETS = ("query", "key", "value", "attention_output", "ffw_gating", "ffw_gating_2", "ffw_linear")

_INTERVALS, _RISE = 40, 3
_LINE_TOKENS = 64

Report = Callable[[str, int, int], None]
"""Called with what is being done, and how much of how much is."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to fine-tune.

    Attributes:
        rank: of the adapters.
        targets: layers that get them.
        rate: learning rate after a rise in the first three of 40 intervals; it falls linearly to 0.
        epochs: times that each piece comes, fewer where `minutes` does not suffice.
        minutes: of training at most, without compilation and measuring.
        batch_size: pieces of a step.
        sequence_length: tokens of a piece.
        problems: lines to measure on at most.
        context_chars: of other files that the model is shown when measured; 0 for none.
        seed: of the order, the middles and the lines to measure on.
    """

    rank: int = 64
    targets: tuple[str, ...] = ALL_TARGETS
    rate: float = 3e-3
    epochs: float = 3.0
    minutes: float = 8.0
    batch_size: int = 8
    sequence_length: int = 256
    problems: int = 300
    context_chars: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.rate, self.epochs, self.minutes) <= 0 or min(self.batch_size, self.problems) < 1:
            raise ValueError(
                "rate, epochs and minutes must be above 0, batch_size and problems at least 1; got "
                f"{self.rate}, {self.epochs}, {self.minutes}, {self.batch_size}, {self.problems}. Correct them."
            )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Rates over the problems, in [0, 1], with a 95% interval that draws whole files, and the mean edit similarity."""

    exact_match: float
    low: float
    high: float
    edit_similarity: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of it.

    Attributes:
        before, after: on the same lines.
        gained, lost: lines that only the tuned, or only the first model got.
        problems: how many lines, of how many files.
        files: held out.
        steps: trained.
        tokens: trained on, padding not counted.
        seconds: of training.
        losses: nats per token, means of equal shares of the steps.
    """

    before: Measured
    after: Measured
    gained: int
    lost: int
    problems: int
    files: int
    steps: int
    tokens: int
    seconds: float
    losses: tuple[float, ...]


def finetune(
    lm: CodeGemmaCausalLM,
    repository: Repository,
    settings: Settings,
    *,
    report: Report = lambda task, done, total: None,
) -> Result:
    """Adds adapters to a model and trains them.

    Args:
        lm: with a preprocessor; it is changed.
        repository: of `read`.
        settings: how.
        report: of progress.

    Raises:
        ValueError: nothing to train on or to take out, rows longer than the context, or what `enable_lora` refuses.
    """
    found, tokens = _pieces(lm, repository, settings)
    sources = repository.sources
    built = build(
        sources, kinds=("line",), limit=settings.problems, seed=settings.seed, context_chars=settings.context_chars
    )
    # Without the path in front, which the examples have not either.
    problems = [problem if settings.context_chars else replace(problem, path="") for problem in built.problems]
    before = _complete(lm, problems, settings, report, "Measuring before")
    steps, seconds, losses = _train(lm, found, settings, report)
    after = _complete(lm, problems, settings, report, "Measuring after")
    right = [
        [exact_match(text, one.canonical_solution) for text, one in zip(texts, problems, strict=True)]
        for texts in (before, after)
    ]
    return Result(
        before=_measured(before, problems),
        after=_measured(after, problems),
        gained=sum(now and not then for then, now in zip(*right, strict=True)),
        lost=sum(then and not now for then, now in zip(*right, strict=True)),
        problems=len(problems),
        files=len(sources.texts),
        steps=steps,
        tokens=round(tokens * steps * settings.batch_size / len(found)),
        seconds=seconds,
        losses=losses,
    )


def _pieces(lm: CodeGemmaCausalLM, repository: Repository, settings: Settings) -> tuple[list[str], int]:
    assert lm.preprocessor is not None
    context = lm.backbone.config.context_length
    if settings.sequence_length > context or settings.sequence_length <= SENTINEL_TOKENS:
        raise ValueError(
            f"A piece must have more than {SENTINEL_TOKENS} tokens and fit the context of {context}; got "
            f"sequence_length={settings.sequence_length}. Give one between."
        )
    tokenizer, room = lm.preprocessor.tokenizer, settings.sequence_length - SENTINEL_TOKENS
    found = [piece for text in repository.training.values() for piece in pieces(text, tokenizer, max_tokens=room)]
    if not found:
        raise ValueError(
            f"The files of {repository.sources.folder} must hold lines to train on; they hold none that fit "
            f"{room} tokens. Name another folder."
        )
    return found, sum(len(tokenizer.encode(piece)) for piece in found)


def _complete(
    lm: CodeGemmaCausalLM, problems: list[Problem], settings: Settings, report: Report, task: str
) -> list[str]:
    size, texts = 16, []
    for start in range(0, len(problems), size):
        report(task, start, len(problems))
        some = problems[start : start + size]
        # Each problem has context files of its own; without those, a batch has none.
        for group in [[problem] for problem in some] if settings.context_chars else [some]:
            texts += lm.infill(
                [problem.prefix for problem in group],
                [problem.suffix for problem in group],
                path=group[0].path or None,
                context_files=group[0].context,
                max_new_tokens=_LINE_TOKENS,
                stop_at="line",
            )
    return texts


def _train(
    lm: CodeGemmaCausalLM, found: list[str], settings: Settings, report: Report
) -> tuple[int, float, tuple[float, ...]]:
    assert lm.preprocessor is not None
    original = lm.preprocessor
    lm.enable_lora(settings.rank, target_names=settings.targets)
    lm.preprocessor = original.replace(
        sequence_length=settings.sequence_length, loss_on="all", truncate="right", seed=settings.seed
    )
    try:
        wanted = max(_INTERVALS, math.ceil(settings.epochs * len(found) / settings.batch_size))
        each = math.ceil(wanted / _INTERVALS)
        lm.compile(optimizer=keras.optimizers.Adam(settings.rate, beta_2=0.95, global_clipnorm=1.0))
        pace = _Pace(steps=each, seconds=60 * settings.minutes, rate=settings.rate, report=report)
        stream = batches(found, batch_size=settings.batch_size, seed=settings.seed)
        lm.fit(stream, steps_per_epoch=each, epochs=_INTERVALS, callbacks=[pace, Settling()], verbose=0)  # type: ignore[arg-type]
        return pace.done, pace.elapsed, tuple(pace.losses)
    finally:
        lm.preprocessor = original


class _Pace(keras.callbacks.Callback):
    """The learning rate, and the end where the time is over: the rate falls with whichever of both is further.

    An interval is an epoch to Keras, which takes a new rate in between only.
    """

    def __init__(self, *, steps: int, seconds: float, rate: float, report: Report) -> None:
        super().__init__()
        self._steps, self._seconds, self._rate, self._report = steps, seconds, rate, report
        self._began = 0.0
        self.elapsed = 0.0
        self.done = 0
        self.losses: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        gone = max(epoch / _INTERVALS, self.elapsed / self._seconds)
        optimizer: Any = self.model.optimizer  # type: ignore[union-attr] # Keras calls this with a model
        optimizer.learning_rate = self._rate * min(1.0, (epoch + 1) / _RISE) * (1 - gone)

    def on_train_batch_end(self, batch, logs=None):
        # The first step compiles, which is not training's time.
        self._began = self._began or time.perf_counter()
        self.done += 1
        self._report("Training", self.done, self._steps * _INTERVALS)

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(round(float((logs or {})["nats_per_token"]), 4))
        self.elapsed = time.perf_counter() - self._began
        if self.elapsed >= self._seconds:
            self.model.stop_training = True  # type: ignore[union-attr]


def _measured(texts: list[str], problems: list[Problem]) -> Measured:
    right = [float(exact_match(text, one.canonical_solution)) for text, one in zip(texts, problems, strict=True)]
    interval = clustered_interval(right, [problem.cluster for problem in problems])
    alike = [edit_similarity(text, one.canonical_solution) for text, one in zip(texts, problems, strict=True)]
    return Measured(
        exact_match=interval.value, low=interval.low, high=interval.high, edit_similarity=sum(alike) / len(alike)
    )
