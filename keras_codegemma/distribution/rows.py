"""Batches of several processes: each has rows of its own, and all together must divide over the mesh.

Rows that only fill up repeat others and have weight 0. In the loss the weights of the real ones are multiplied by what
the filling adds to the number of positions, by which Keras divides. So loss, gradients and weighted metrics are those
of the real rows alone, on however many processes. In an epoch's mean of the loss each step counts as much.
"""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from jax.experimental import multihost_utils

from keras_codegemma.distribution.hosts import check_agreement
from keras_codegemma.distribution.parallel import CodeGemmaParallel

LOSS_FACTOR = "loss_factor"
"""The entry of the features, [B] float32, that multiplies weights in the loss and not in metrics."""


@dataclass(frozen=True)
class Rows:
    """How many rows each group of processes has in an epoch; processes of a group read the same ones.

    Attributes:
        counts: rows of each group.
        group: of this process.
        batch_size: rows that each takes for a step, where it has as many left.
        parts: that a group's rows of a step are split into.
    """

    counts: tuple[int, ...]
    group: int
    batch_size: int
    parts: int

    @property
    def steps(self) -> int:
        """Of an epoch, for all alike: a group without rows left takes part with filling alone."""
        return math.ceil(max(self.counts) / self.batch_size)

    @property
    def filled(self) -> int:
        """Rows of a step of each group, filling included."""
        return math.ceil(self.batch_size / self.parts) * self.parts

    def real(self, step: int) -> list[int]:
        """Rows of each group that are no filling."""
        return [min(max(count - step * self.batch_size, 0), self.batch_size) for count in self.counts]

    def factor(self, step: int) -> float:
        """All rows of a step of all groups by the real ones."""
        return self.filled * len(self.counts) / sum(self.real(step))


def agree_on_rows(parallel: CodeGemmaParallel, *, rows: int, batch_size: int) -> Rows:
    """Tells the job's other processes how many rows this one has; all must call it alike.

    Args:
        parallel: over all processes.
        rows: of this process, in an epoch.
        batch_size: rows of this process in a step.

    Raises:
        ValueError: on every process: batch sizes that differ, a group whose processes have not the same number of
            rows, or a process without any.
    """
    check_agreement({"batch_size": batch_size}, what="batches")
    group, groups = parallel.row_group
    found = np.asarray(multihost_utils.process_allgather(np.asarray([group, rows], np.int64))).reshape(-1, 2)
    counts: dict[int, set[int]] = {}
    for index, count in found.tolist():
        counts.setdefault(index, set()).add(count)
    if any(len(of_group) > 1 or 0 in of_group for of_group in counts.values()):
        shown = "; ".join(f"part {index} of {groups}: {sorted(counts[index])}" for index in sorted(counts))
        raise ValueError(
            "Each process must have at least one row, and those that read the same part of each batch "
            f"(`CodeGemmaParallel.row_group`) the same ones; got {shown}. Give each process the rows of its part."
        )
    return Rows(
        counts=tuple(counts[index].pop() for index in range(groups)),
        group=group,
        batch_size=batch_size,
        parts=parallel.shape.row_shards // groups,
    )


class FilledBatches(keras.utils.PyDataset):
    """This process's batches, filled up to the same number of rows in every step.

    Args:
        batches: (features, labels) or (features, labels, weights) of `rows.batch_size` rows, the last of an epoch of
            what is left; features are a dict.
        rows: of all processes.
    """

    def __init__(self, batches: keras.utils.PyDataset, rows: Rows):
        super().__init__()
        self._batches = batches
        self._rows = rows

    def __len__(self) -> int:
        return self._rows.steps

    def __getitem__(self, index: int):
        real = self._rows.real(index)[self._rows.group]
        # A process that has no rows left repeats some, all without weight.
        batch: list[Any] = [*self._batches[index if real else 0], None]
        features, labels, weights = batch[:3]
        if labels is None:
            raise ValueError("Arrays to train on need labels, the next id of each; got features alone. Pass y.")
        held = len(keras.tree.flatten(features)[0])
        if weights is None:
            weights = np.ones(np.shape(labels), np.float32)
        place = np.arange(self._rows.filled)
        is_real = (place < real).astype(np.float32)

        def fill(part: Any) -> np.ndarray:
            return np.asarray(part)[place % held]

        def weigh(part: Any) -> np.ndarray:
            filled = fill(part).astype(np.float32)
            return filled * is_real.reshape(-1, *[1] * (filled.ndim - 1))

        filled_features: Any = keras.tree.map_structure(fill, features)
        factor = np.full(self._rows.filled, self._rows.factor(index), np.float32)
        return (
            {**filled_features, LOSS_FACTOR: factor},
            keras.tree.map_structure(fill, labels),
            keras.tree.map_structure(weigh, weights),
        )

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch's order."""
        self._batches.on_epoch_end()
