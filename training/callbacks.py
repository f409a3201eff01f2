"""What happens at the end of a logging interval, which is an epoch to Keras: log, look, validate, save, stop.

An interval as Keras's epoch makes its metrics the means of the interval, and lets Keras put the state back into the
variables there and only there, so no step waits for it.
"""

import math
import signal
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import jax
import keras
import numpy as np

import keras_codegemma as kcg
from training.checkpoint import CheckpointError, Checkpoints, finite
from training.config import TrainingRecipe
from training.data import TrainingData
from training.log import Log

_LOSSES_BEFORE = 20
"""Intervals whose median is the usual loss."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class DivergedError(RuntimeError):
    """The loss is no number, or far above the usual."""


@dataclass(kw_only=True)
class Progress:
    """Where a run is.

    Attributes:
        step: batches trained on.
        asked_to_stop: whether a signal came to this process.
        stops: whether the run stops: with several processes, once all know that one was asked.
        sums: metrics of an interval cut short.
    """

    step: int
    asked_to_stop: bool = False
    stops: bool = False
    sums: list[np.ndarray] | None = None


class _Callback(keras.callbacks.Callback):
    """One whose model is known to be there, as it is while Keras calls it."""

    @property
    def lm(self) -> kcg.CodeGemmaCausalLM:
        """The model that is trained."""
        model: Any = self.model
        return model


class Counting(_Callback):
    """Counts batches, ends the interval when a signal came, and puts back the metrics of one that was cut short."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._before: dict[int, Any] = {}

    def on_train_begin(self, logs=None):
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._asked)

    def on_epoch_begin(self, epoch, logs=None):
        sums, self._progress.sums = self._progress.sums, None
        if sums is not None:
            for variable, value in zip(self.lm.metrics_variables, sums, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        self._progress.step += 1
        # Several processes would stop at different steps: they agree at the end of the interval.
        if self._progress.asked_to_stop and jax.process_count() == 1:
            self._progress.stops = self.lm.stop_training = True

    def on_train_end(self, logs=None):
        self.restore_signals()

    def restore_signals(self) -> None:
        """Puts back who listened to the signals before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self._progress.asked_to_stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._progress.asked_to_stop = True


class Interval(_Callback):
    """The end of an interval: its line in the log, the look at its loss, validation, and a checkpoint.

    Args:
        recipe, data, progress, log, checkpoints: of the run.
        about: what checkpoints say of the run.
        rate: learning rate of a batch.
        flops_per_token: of training, for the utilisation.
        report: is given each line.
    """

    def __init__(
        self,
        *,
        recipe: TrainingRecipe,
        data: TrainingData,
        progress: Progress,
        log: Log,
        checkpoints: Checkpoints,
        about: Mapping[str, Any],
        rate: Callable[[int], float],
        flops_per_token: float,
        report: Callable[[Mapping[str, Any]], None],
    ) -> None:
        super().__init__()
        self._recipe = recipe
        self._data = data
        self._progress = progress
        self._log = log
        self._checkpoints = checkpoints
        self._about = about
        self._rate = rate
        self._flops_per_token = flops_per_token
        self._report = report
        self._began = 0.0
        self._first_step = progress.step

    def on_epoch_begin(self, epoch, logs=None):
        self._began, self._first_step = time.perf_counter(), self._progress.step

    def on_epoch_end(self, epoch, logs=None):
        step, keep = self._progress.step, self._recipe.keep
        self._checkpoints.check()
        self._progress.stops |= kcg.distribution.any_process(self._progress.asked_to_stop)
        if step % keep.log_every:  # a signal came; the rest of the interval belongs to its line
            self._save(metrics=True)
            return
        line = self._line(logs or {})
        self._look(line["loss"])
        self._write(line)
        if self._data.held_out is not None and (step % keep.validate_every == 0 or step == self._recipe.steps):
            found = self.lm.evaluate(
                self._data.held_out,
                verbose=0,  # type: ignore[arg-type] # Keras says str
                return_dict=True,
            )
            self._write({"step": step, **{f"val_{name}": float(value) for name, value in found.items()}})
        if step % keep.save_every == 0 or step == self._recipe.steps or self._progress.stops:
            self._save(metrics=False)
        if self._progress.stops:
            self.lm.stop_training = True

    def _line(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        seconds = time.perf_counter() - self._began
        step = self._progress.step
        row_tokens = self._recipe.data.batch_size * self._data.sequence_length * self._data.fill_rate
        tokens_per_second = (step - self._first_step) * row_tokens / seconds
        line = {
            "step": step,
            "tokens": round(step * row_tokens),
            **{name: float(value) for name, value in logs.items()},
            "learning_rate": self._rate(step - 1),
            "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens_per_second, 1),
        }
        peak = self._recipe.keep.peak_tflops
        if peak is not None:
            devices = self._recipe.mesh.devices
            line["utilisation"] = round(tokens_per_second * self._flops_per_token / (peak * 1e12 * devices), 4)
        return line

    def _write(self, line: dict[str, Any]) -> None:
        self._log.write(line)
        self._report(line)

    def _look(self, loss: float) -> None:
        usual = self._log.losses[-_LOSSES_BEFORE:]
        limit = self._recipe.keep.spike
        if not math.isfinite(loss):
            raise DivergedError(
                f"The loss must be a number; at step {self._progress.step} it is {loss}. {self._hint()}"
            )
        if limit is not None and len(usual) == _LOSSES_BEFORE and loss > limit * statistics.median(usual):
            raise DivergedError(
                f"The loss must stay below {limit} times its usual {statistics.median(usual):.4f}; at step "
                f"{self._progress.step} it is {loss:.4f}. {self._hint()}"
            )

    def _save(self, *, metrics: bool) -> None:
        # The loss is of the weights before the last step; they themselves are looked at now.
        if not finite(self.lm):
            raise DivergedError(
                f"Weights must be numbers; after step {self._progress.step} some are not. {self._hint()}"
            )
        self._checkpoints.save(self._progress.step, self.lm, self._about, metrics=metrics)

    def _hint(self) -> str:
        try:
            self._checkpoints.wait()
        except CheckpointError as error:
            return str(error)
        last = self._checkpoints.newest()
        good = "no checkpoint was written yet" if last is None else f"the last good one is {last}"
        return (
            f"Of the checkpoints in {self._checkpoints.folder} {good}. Lower optimizer.peak_rate in a new --workdir; "
            "the same command would come to the same place."
        )
