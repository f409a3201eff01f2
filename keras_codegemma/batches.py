"""What users pass to `fit` and `evaluate`, as batches of arrays: lists of examples, arrays, generators, tf.data, Grain.

Examples are texts, (prefix, suffix, middle) triples or chats (lists of messages); the preprocessor turns a batch of
them into arrays. What already is arrays passes through to Keras unchanged. No data library is imported here: their
objects are recognised by what they yield.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np

DEFAULT_BATCH_SIZE = 32  # as in Keras

Preprocess = Callable[..., tuple[Any, Any, Any]]
"""(examples, sample_weight=, epoch=, indices=) to (features, labels, weights)."""


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of something with a known number of rows, in a new order each epoch if so wished.

    The order follows from `seed` and the number of the epoch alone, so a repeated run sees the same.
    """

    def __init__(self, *, batch_size: int, shuffle: bool, seed: int = 0):
        super().__init__()
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._epoch = 0
        self._order: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """Of an epoch."""
        raise NotImplementedError

    def __len__(self) -> int:
        return math.ceil(self.rows / self._batch_size)

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch's order."""
        self._epoch += 1
        self._order = None

    def _chosen(self, index: int) -> np.ndarray:
        """The rows of a batch."""
        if self._order is None:
            rng = np.random.default_rng([self._seed, self._epoch])
            self._order = rng.permutation(self.rows) if self._shuffle else np.arange(self.rows)
        return self._order[index * self._batch_size : (index + 1) * self._batch_size]


class ExampleBatches(ShuffledBatches):
    """A list of examples in batches, in a new order and with new infilling places each epoch.

    Both follow from `seed` and the number of the epoch alone, so a repeated run sees the same.

    Args:
        examples: all of them.
        preprocess: the preprocessor's call.
        batch_size: examples a batch; the last batch may be smaller.
        sample_weight: one factor per example on its loss weights, or None.
        shuffle: whether the order changes.
        seed: of the order; the infilling places have the preprocessor's seed.
    """

    def __init__(
        self,
        examples: Sequence[Any],
        preprocess: Preprocess,
        *,
        batch_size: int,
        sample_weight: Sequence[float] | None = None,
        shuffle: bool = False,
        seed: int = 0,
    ):
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed)
        self._examples = examples
        self._preprocess = preprocess
        self._weights = None if sample_weight is None else np.asarray(sample_weight, np.float32)

    @property
    def rows(self) -> int:
        """Examples of an epoch."""
        return len(self._examples)

    def __getitem__(self, index: int):
        chosen = self._chosen(index)
        return self._preprocess(
            [self._examples[i] for i in chosen],
            sample_weight=None if self._weights is None else self._weights[chosen],
            epoch=self._epoch,
            indices=[int(i) for i in chosen],
        )


class ArrayBatches(ShuffledBatches):
    """Arrays in batches: what Keras does itself where one process is alone.

    Args:
        arrays: features, labels and weights: arrays of as many rows, or dicts of them, or None.
        batch_size: rows a batch; the last batch may be smaller.
        shuffle: whether the order changes.
    """

    def __init__(self, arrays: Sequence[Any], *, batch_size: int, shuffle: bool):
        super().__init__(batch_size=batch_size, shuffle=shuffle)
        self._arrays = tuple(arrays)

    @property
    def rows(self) -> int:
        """Of an epoch.

        Raises:
            ValueError: arrays of different numbers of rows.
        """
        sizes = {len(array) for array in keras.tree.flatten(self._arrays) if array is not None}
        if len(sizes) != 1:
            raise ValueError(f"All arrays must have as many rows; got {sorted(sizes)}. Cut or extend them.")
        return sizes.pop()

    def __getitem__(self, index: int):
        chosen = self._chosen(index)
        return tuple(
            None if part is None else keras.tree.map_structure(lambda array: np.asarray(array)[chosen], part)
            for part in self._arrays
        )


def to_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    preprocess: Preprocess | None,
    batch_size: int | None,
    shuffle: bool,
) -> tuple[Any, bool]:
    """What Keras is to iterate over.

    Args:
        x: examples, arrays, or anything that yields either.
        y: labels, for arrays only.
        sample_weight: per example, for lists of examples; as Keras takes it, for arrays.
        preprocess: the preprocessor's call, or None where there is none.
        batch_size: examples a batch, where `x` does not come in batches; 32 by default.
        shuffle: whether a list of examples is reordered each epoch.

    Returns:
        The data, and whether it is already in batches of (features, labels, weights), in which case `y`,
        `sample_weight` and `batch_size` must not be passed to Keras any more.

    Raises:
        ValueError: raw examples without a preprocessor or with labels of their own, or no examples.
        TypeError: something that yields neither examples nor arrays.
    """
    if isinstance(x, (Mapping, keras.utils.PyDataset)) or _is_number_array(x):
        return x, False
    size = batch_size or DEFAULT_BATCH_SIZE
    if is_example(x):
        x = [x]
    if isinstance(x, np.ndarray):
        x = x.tolist()
    if isinstance(x, Sequence):
        preprocess = _checked(preprocess, x[0] if len(x) else None, y)
        if sample_weight is not None and len(sample_weight) != len(x):
            raise ValueError(
                f"sample_weight must have one number per example; got {len(sample_weight)} for {len(x)} examples. "
                "Pass as many."
            )
        batches = ExampleBatches(x, preprocess, batch_size=size, sample_weight=sample_weight, shuffle=shuffle)
        return batches, True
    if not isinstance(x, Iterable):
        raise TypeError(
            f"Training data must be examples, arrays or an iterable of batches; got {type(x).__name__}. "
            "Pass for example a list of strings."
        )
    return _from_iterable(x, y, sample_weight, preprocess=preprocess, batch_size=size)


def is_stream(data: Any) -> bool:
    """Whether data come in an order that Keras cannot change: all but arrays and `PyDataset`s of known length."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    return not (isinstance(data, Mapping) or _is_number_array(data))


def is_example(value: Any) -> bool:
    """Whether a value is one raw example: a text, a (prefix, suffix, middle) triple of texts, or a chat."""
    if isinstance(value, (str, bytes)):
        return True
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "OSU":
        return True
    if isinstance(value, tuple):
        return len(value) == 3 and all(isinstance(part, (str, bytes)) for part in value)
    return (
        isinstance(value, list) and bool(value) and all(isinstance(turn, Mapping) and "role" in turn for turn in value)
    )


def _from_iterable(x: Iterable[Any], y: Any, sample_weight: Any, *, preprocess: Preprocess | None, batch_size: int):
    iterator = iter(x)
    try:
        first = next(iterator)
    except StopIteration:
        raise ValueError(
            "Training data must hold at least one example; the iterable is empty. Check its source."
        ) from None
    is_batch = _is_example_batch(first)
    if not is_batch and not is_example(_plain(first)):
        # Arrays: Keras has adapters of its own. A one-shot iterator gets its first element back.
        return (_rejoined(first, iterator) if iterator is x else x), False
    preprocess = _checked(preprocess, first, y)
    if sample_weight is not None:
        raise ValueError(
            "sample_weight can only be given for a list of examples or for arrays; got it with an iterable of "
            "examples. Yield arrays of (features, labels, weights) instead."
        )
    if iterator is x:
        return _stream(_rejoined(first, iterator), preprocess, batch_size, is_batch=is_batch, epoch=0), True
    return StreamedBatches(x, preprocess, batch_size=batch_size, is_batch=is_batch), True


def _rejoined(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """A generator, since that is the one kind of iterator that Keras takes."""
    yield first
    yield from rest


class StreamedBatches(keras.utils.PyDataset):
    """A source that can be read again and again, in its own order, with new infilling places each epoch.

    Keras wants to know how long an epoch is. A source that cannot say is read once to be counted.

    Args:
        source: yields examples, or lists or arrays of them.
        preprocess: the preprocessor's call.
        batch_size: examples a batch, where the source yields single ones.
        is_batch: whether it yields batches.
    """

    def __init__(self, source: Iterable[Any], preprocess: Preprocess, *, batch_size: int, is_batch: bool):
        super().__init__()
        self._source = source
        self._preprocess = preprocess
        self._batch_size = batch_size
        self._is_batch = is_batch
        elements = _length(source)
        self._batches = elements if is_batch else -(-elements // batch_size)
        self._epoch = 0
        self._iterator: Iterator[Any] | None = None

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, index: int):
        """The next batch, whatever the index: a stream has one order."""
        if self._iterator is None:
            self._iterator = _stream(
                iter(self._source),
                self._preprocess,
                self._batch_size,
                is_batch=self._is_batch,
                epoch=self._epoch,
            )
        return next(self._iterator)

    def on_epoch_end(self) -> None:
        """Starts the source anew."""
        self._epoch += 1
        self._iterator = None


def _length(source: Any) -> int:
    if hasattr(source, "cardinality"):  # tf.data; negative where unknown or infinite
        known = int(source.cardinality())
        if known == -1:
            raise ValueError(
                "An epoch must end; the tf.data dataset repeats for ever. Use take(n), and epochs= for repetition."
            )
        if known >= 0:
            return known
    elif hasattr(source, "__len__"):
        return len(source)
    return sum(1 for _ in source)


def _stream(elements: Iterator[Any], preprocess, batch_size: int, *, is_batch: bool, epoch: int) -> Iterator[Any]:
    seen = 0
    while True:
        if is_batch:
            batch = next(elements, None)
            examples = None if batch is None else [_plain(example) for example in _as_list(batch)]
        else:
            examples = [_plain(example) for example in islice(elements, batch_size)]
        if not examples:
            return
        yield preprocess(examples, epoch=epoch, indices=range(seen, seen + len(examples)))
        seen += len(examples)


def _is_example_batch(value: Any) -> bool:
    if isinstance(value, (str, bytes)) or is_example(value):
        return False
    values = _as_list(value)
    return bool(values) and all(is_example(_plain(example)) for example in values[:2])


def _as_list(value: Any) -> list[Any]:
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind in "OSU" and value.ndim else []
    return list(value) if isinstance(value, (list, tuple)) else []


def _plain(example: Any) -> Any:
    """An example with its texts as str, whether they came as bytes, numpy or TensorFlow strings."""
    if hasattr(example, "numpy"):
        example = example.numpy()
    if isinstance(example, np.ndarray) and example.ndim == 0:
        example = example.item()
    if isinstance(example, bytes):
        return example.decode("utf-8")
    if isinstance(example, tuple):
        return tuple(_plain(part) for part in example)
    return example


def _is_number_array(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype") and np.dtype(getattr(x.dtype, "name", x.dtype)).kind in "biuf"


def _checked(preprocess: Preprocess | None, first: Any, y: Any) -> Preprocess:
    """The preprocessor's call, where raw examples can be used."""
    if first is None:
        raise ValueError("Training data must hold at least one example; got none. Check its source.")
    if preprocess is None:
        raise ValueError(
            f"Raw examples need a preprocessor; this model has none and got {type(first).__name__}. "
            "Load the model from a preset, or pass arrays of token ids."
        )
    if y is not None:
        raise ValueError(
            "Raw examples make their own labels, the next ids; got y as well. Leave y out, or pass arrays of token ids."
        )
    return preprocess
