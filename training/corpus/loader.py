"""Batches for `model.fit` from the shards of a corpus, through Grain.

The batch of a step follows from the corpus, the seed, the size of the batch and the number of the step alone. Rows are
shuffled over the whole corpus, anew each epoch, and epochs follow each other without a gap. Every host takes its share
of each batch, so the place in the stream is one number for all of them, the rows taken so far, and a run can go on with
another number of hosts or another size of batch: every row that is left comes exactly once.
"""

import functools
import hashlib
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from absl import flags

from training.corpus.manifest import Manifest, read_manifest
from training.corpus.packing import segments_of
from training.corpus.rows import read_arrays

Batch = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]
"""Features, labels int32 [B, T] and weights float32 [B, T]."""


_FOR_EVER_ROWS = 2**48
"""Years of training; Grain's own endless repetition overflows in places."""


class CorpusLoader(Iterator[Batch]):
    """Batches of a corpus, with a place that can be saved and restored. Made by `make_loader`.

    Features are `token_ids`, `segment_ids`, `positions` (int32) and `padding_mask` (bool), all [B, T], where B is this
    host's share of the batch and T the corpus's sequence length. Labels are the next ids within each example; where an
    example ends, and in padding, label and weight are 0. The last batch of the last epoch is filled up with padding.

    Attributes:
        manifest: of the corpus.
        num_batches: of the whole run; None without an end.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        batch_size: int,
        seed: int,
        shard_index: int,
        shard_count: int,
        epochs: int | None,
        rows: range,
        workers: int,
        threads: int,
    ) -> None:
        self.manifest = manifest
        self._rows = rows
        self._paths = [str(folder / shard.name) for shard in manifest.shards]
        self._batch_size = batch_size
        self._seed = seed
        self._shard_index = shard_index
        self._shard_count = shard_count
        self._num_rows = None if epochs is None else len(rows) * epochs
        self._workers = workers
        self._threads = threads
        self._rows_taken = 0
        self._batches: Any = None

    def __next__(self) -> Batch:
        if self._num_rows is not None and self._rows_taken >= self._num_rows:
            raise StopIteration
        if self._batches is None:
            self._batches = iter(self._dataset())
        batch = next(self._batches)
        self._rows_taken += self._batch_size
        return batch

    @property
    def num_batches(self) -> int | None:
        return None if self._num_rows is None else -(-self._num_rows // self._batch_size)

    def get_state(self) -> dict[str, Any]:
        """The place after the last batch that was given out, as JSON; the same on every host."""
        whole = len(self._rows) == self.manifest.num_rows
        part = "" if whole else f"[{self._rows.start}:{self._rows.stop}]"
        return {"rows_taken": self._rows_taken, "seed": self._seed, "corpus": self.manifest.fingerprint + part}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to a place that `get_state` returned, on this or another number of hosts.

        Raises:
            ValueError: the state of another corpus or another seed, or no state.
        """
        own = self.get_state()
        if set(state) != set(own) or not isinstance(state["rows_taken"], int) or state["rows_taken"] < 0:
            raise ValueError(
                f"The state of a loader must have {sorted(own)}; got {dict(state)}. Pass what get_state gave."
            )
        for name in ("corpus", "seed"):
            if state[name] != own[name]:
                raise ValueError(
                    f"The state of a loader must be of the same corpus and seed; got {name} {state[name]!r} for "
                    f"{own[name]!r}. Open the corpus that the run began with, with its seed."
                )
        self._go_to(state["rows_taken"])

    def go_to_step(self, step: int) -> None:
        """Goes to the batch of a step, counted from 0, of a run with this size of batch from its start.

        For training loops that fetch batches ahead, as Keras does: what they have fetched is not what they have used.

        Raises:
            ValueError: a step below 0.
        """
        if step < 0:
            raise ValueError(f"A step must be 0 or more; got {step}. Count from the start of the run.")
        self._go_to(step * self._batch_size)

    def close(self) -> None:
        """Ends the threads and worker processes, if any."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _go_to(self, rows_taken: int) -> None:
        self.close()
        self._rows_taken = rows_taken

    def _dataset(self) -> grain.IterDataset:
        source: Any = grain.sources.ArrayRecordDataSource(self._paths)
        if len(source) != self.manifest.num_rows:
            raise ValueError(
                f"A corpus must have {self.manifest.num_rows} rows, as its manifest says; its shards have "
                f"{len(source)}. Build it again."
            )
        epochs = _FOR_EVER_ROWS // len(self._rows) + 1
        chosen = grain.MapDataset.source(source)[self._rows.start : self._rows.stop]
        stream = chosen.shuffle(seed=_shuffle_seed(self._seed)).repeat(epochs)
        if self._num_rows is None:
            rest = stream[self._rows_taken :]
        else:
            # Padding to a whole number of batches, so that every host has as many.
            missing = -(self._num_rows - self._rows_taken) % self._batch_size
            rest = stream[self._rows_taken : self._num_rows]
            if missing:
                rest = grain.MapDataset.concatenate([rest, grain.MapDataset.source([b""] * missing)])
        share = rest[self._shard_index :: self._shard_count]
        batches = share.batch(
            self._batch_size // self._shard_count, batch_fn=_Collate(self.manifest.sequence_length)
        ).to_iter_dataset(grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=2 * self._threads))
        if self._workers:
            if not flags.FLAGS.is_parsed():  # Grain reads its own flags, of which programs without absl know nothing
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=2)
            batches = batches.mp_prefetch(options)
        return batches


def make_loader(
    folder: str | Path,
    *,
    batch_size: int,
    seed: int,
    shard_index: int = 0,
    shard_count: int = 1,
    epochs: int | None = None,
    vocabulary_size: int | None = None,
    rows: range | None = None,
    workers: int = 0,
    threads: int = 2,
) -> CorpusLoader:
    """Opens a corpus for training.

    Args:
        folder: with a manifest.
        batch_size: rows of a batch, of all hosts together.
        seed: of the order.
        shard_index: of this host, from 0.
        shard_count: hosts.
        epochs: how often each row comes; None for ever.
        vocabulary_size: of the model, to check the corpus against.
        rows: those of the corpus that are used, in steps of 1; None for all.
        workers: processes that read and decode; 0 for none.
        threads: that do so in each process.

    Raises:
        FileNotFoundError, ValueError: no corpus, see `manifest.read_manifest`; one without rows, or with ids beyond the
            model's vocabulary; rows that it does not have; or a number that does not fit.
    """
    _check_numbers(batch_size=batch_size, shard_index=shard_index, shard_count=shard_count, epochs=epochs)
    folder = Path(folder)
    manifest = read_manifest(folder)
    empty = [shard.name for shard in manifest.shards if not shard.rows]
    if empty or not manifest.shards:
        raise ValueError(
            f"A corpus must have shards with rows; {folder} has {f'{empty} without any' if empty else 'none'}. "
            "Build it with more input."
        )
    rows = range(manifest.num_rows) if rows is None else rows
    if rows.step != 1 or not 0 <= rows.start < rows.stop <= manifest.num_rows:
        raise ValueError(
            f"The rows to use must be a part of the corpus's {manifest.num_rows}, at least one; got {rows} of "
            f"{folder}. Choose a smaller part."
        )
    highest = max(shard.max_token_id for shard in manifest.shards)
    if vocabulary_size is not None and highest >= vocabulary_size:
        raise ValueError(
            f"The ids of a corpus must lie below the model's vocabulary size {vocabulary_size}; {folder} has "
            f"{highest}. Build the corpus with the model's own tokenizer."
        )
    return CorpusLoader(
        folder,
        manifest,
        batch_size=batch_size,
        seed=seed,
        shard_index=shard_index,
        shard_count=shard_count,
        epochs=epochs,
        rows=rows,
        workers=workers,
        threads=threads,
    )


class _Collate:
    """Records to a batch; an empty record is a row of padding. A class, because worker processes are sent it."""

    def __init__(self, sequence_length: int) -> None:
        self._length = sequence_length
        self._owner = os.getpid()

    def __call__(self, records: Sequence[bytes]) -> Batch:
        if os.getpid() != self._owner:
            _end_with_parent()
        shape = (len(records), self._length)
        token_ids, segment_ids, positions = (np.zeros(shape, np.int32) for _ in range(3))
        loss_weights = np.zeros(shape, np.float32)
        for index, record in enumerate(records):
            if not record:
                continue
            arrays = read_arrays(record)
            if arrays.sequence_length != self._length:
                raise ValueError(
                    f"Rows must have {self._length} tokens, as the manifest says; got one of "
                    f"{arrays.sequence_length}. Build the corpus again."
                )
            size = len(arrays.token_ids)
            token_ids[index, :size] = arrays.token_ids
            segment_ids[index, :size], positions[index, :size] = segments_of(arrays.lengths)
            loss_weights[index, :size] = arrays.loss_weights
        # The weight of predicting a token moves to the place that predicts it, as the token does.
        labels, weights = np.zeros_like(token_ids), np.zeros_like(loss_weights)
        within = (segment_ids[:, 1:] == segment_ids[:, :-1]) & (segment_ids[:, 1:] > 0)
        np.multiply(token_ids[:, 1:], within, out=labels[:, :-1])
        np.multiply(loss_weights[:, 1:], within, out=weights[:, :-1])
        features = {
            "token_ids": token_ids,
            "padding_mask": segment_ids > 0,
            "segment_ids": segment_ids,
            "positions": positions,
        }
        return features, labels, weights


@functools.cache
def _end_with_parent() -> None:
    """In a worker: a thread that waits for the parent's end. Grain's workers outlive a parent that was killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end-with-parent").start()


def _shuffle_seed(seed: int) -> int:
    """32 bits; Grain adds the number of the epoch, so neighbouring seeds must not stay neighbours."""
    return int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=4).digest())


def _check_numbers(*, batch_size: int, shard_index: int, shard_count: int, epochs: int | None) -> None:
    if shard_count < 1 or not 0 <= shard_index < shard_count:
        raise ValueError(
            f"shard_index must lie in [0, shard_count); got {shard_index} of {shard_count}. Give each host its own."
        )
    if batch_size < 1 or batch_size % shard_count:
        raise ValueError(
            f"batch_size must be a positive multiple of shard_count, the rows of all hosts together; got {batch_size} "
            f"for {shard_count} hosts. Give, for example, {shard_count * max(1, batch_size // shard_count)}."
        )
    if epochs is not None and epochs < 1:
        raise ValueError(f"epochs must be at least 1, or None for ever; got {epochs}. Correct it.")
