"""The first steps of a training run that keeps what it frees (`heap`)."""

from typing import Any

import keras

from keras_codegemma import heap


class Settling(keras.callbacks.Callback):
    """Gives freed memory back after each of a process's first steps, while it still compiles.

    What a small program leaves in the middle of the piece that a step has freed makes the next step take another piece;
    of three, two would never be used again. A step of training in bfloat16 on two cores then leaves a process of 1.8
    GB, and with this callback one of 1.2 (`python -m tests.benchmarks.fit_speed --side ours`).

    Args:
        steps: how many.
    """

    def __init__(self, steps: int = 5) -> None:
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Waits for the step, and gives back what it has freed."""
        if self._left <= 0:
            return
        self._left -= 1
        for value in (logs or {}).values():
            float(value)
        heap.release_freed_memory()
