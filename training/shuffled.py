"""Examples in memory as batches without end, each following from the seed and the number of the step alone."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from training.corpus.loader import Batch


class ShuffledLoader(Iterator[Batch]):
    """Examples in a new order each epoch; epochs follow each other without a gap.

    Args:
        size: examples.
        batch_size: examples of a batch, of all hosts together.
        seed: of the order.
        share: (index, count) of this host.
    """

    def __init__(self, size: int, *, batch_size: int, seed: int, share: tuple[int, int]) -> None:
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._share = share
        self._step = 0
        # A batch may end one epoch and begin the next.
        self._order = lru_cache(maxsize=2)(self._order_of)

    @abstractmethod
    def batch(self, chosen: Sequence[tuple[int, int]]) -> Batch:
        """The rows of some examples, each given by its number and that of the epoch."""

    def __next__(self) -> Batch:
        first, self._step = self._step * self._batch_size, self._step + 1
        index, count = self._share
        return self.batch([self._at(place) for place in range(first, first + self._batch_size)[index::count]])

    def go_to_step(self, step: int) -> None:
        """Goes to the batch of a step, from 0."""
        self._step = step

    def close(self) -> None:
        """Nothing runs in the background."""

    def _at(self, place: int) -> tuple[int, int]:
        epoch, within = divmod(place, self._size)
        return int(self._order(epoch)[within]), epoch

    def _order_of(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch]).permutation(self._size)
