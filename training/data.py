"""The batches of a run, each following from the data, the seed and the number of the step, and what is held out.

A run goes on at step s by asking for the batch of step s; nothing else about the place has to be remembered, whatever
has been fetched ahead, by however many workers.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import keras
import numpy as np

import keras_codegemma as kcg
from training.config import DataSettings
from training.corpus.loader import Batch, make_loader
from training.corpus.manifest import read_manifest
from training.preference import PairLoader, encode, read_preferences, reference_nats
from training.shuffled import ShuffledLoader


class Loader(Protocol):
    """Batches with a place."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def go_to_step(self, step: int) -> None:
        """Goes to the batch of a step, from 0."""
        ...

    def close(self) -> None:
        """Ends what runs in the background."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a run reads.

    Attributes:
        loader: of training batches, without end.
        held_out: batches to validate on; None where nothing is held out.
        identity: what the data are, as JSON: equal where the same steps give the same batches.
        sequence_length: T.
        fill_rate: tokens that are not padding, of batch size times sequence length.
    """

    loader: Loader
    held_out: "HeldOut | None"
    identity: dict[str, Any]
    sequence_length: int
    fill_rate: float


class HeldOut(keras.utils.PyDataset):
    """Batches in memory, the same in each validation."""

    def __init__(self, batches: Sequence[Batch]):
        super().__init__()
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        return self._batches[index]


def open_data(settings: DataSettings, lm: kcg.CodeGemmaCausalLM, *, folder: Path | None = None) -> TrainingData:
    """Opens what settings name, for this model.

    Args:
        settings: of the data.
        lm: the model that a run begins with; of preferences, the reference too.
        folder: of the run, where the reference's values are kept; needed for preferences.

    Raises:
        FileNotFoundError, ValueError: no such data, none left to train on, ids beyond the model's vocabulary, rows
            longer than its context, or anything else that a step could not be made of.
    """
    if settings.preferences is not None:
        assert folder is not None
        return _open_preferences(settings, lm, folder)
    return _open_chats(settings, lm) if settings.chats is not None else _open_corpus(settings, lm)


class ChatLoader(ShuffledLoader):
    """Conversations in a new order each epoch, without end.

    Args:
        conversations: lists of messages.
        preprocess: the model's preprocessor, called as `fit` calls it.
        batch_size, seed, share: as `ShuffledLoader` takes them.
    """

    def __init__(
        self, conversations: Sequence[Any], preprocess: Any, *, batch_size: int, seed: int, share: tuple[int, int]
    ):
        super().__init__(len(conversations), batch_size=batch_size, seed=seed, share=share)
        self._conversations = conversations
        self._preprocess = preprocess

    def batch(self, chosen: Sequence[tuple[int, int]]) -> Batch:
        """The rows of some conversations."""
        rows = [self._preprocess([self._conversations[i]], epoch=epoch, indices=[i]) for i, epoch in chosen]
        features = {name: np.concatenate([row[0][name] for row in rows]) for name in rows[0][0]}
        return features, np.concatenate([row[1] for row in rows]), np.concatenate([row[2] for row in rows])


def _open_corpus(settings: DataSettings, lm: kcg.CodeGemmaCausalLM) -> TrainingData:
    assert settings.corpus is not None
    manifest = read_manifest(settings.corpus)
    config = lm.backbone.config
    if manifest.sequence_length > config.context_length:
        raise ValueError(
            f"The rows of a corpus must fit the model's context of {config.context_length}; {settings.corpus} has rows "
            f"of {manifest.sequence_length}. Build it with a lower fitting.sequence_length."
        )
    kept = manifest.num_rows - settings.held_out_rows
    if kept < 1:
        raise ValueError(
            f"Some rows must be left to train on; {settings.corpus} has {manifest.num_rows} and held_out_rows is "
            f"{settings.held_out_rows}. Hold out fewer."
        )
    index, count = _share()
    loader = make_loader(
        settings.corpus,
        batch_size=settings.batch_size,
        seed=settings.seed,
        shard_index=index,
        shard_count=count,
        vocabulary_size=config.vocabulary_size,
        rows=range(kept),
        workers=settings.workers,
        threads=settings.threads,
    )
    held_out = None
    if settings.held_out_rows:
        held_out = _rows(settings.corpus, range(kept, manifest.num_rows), settings, lm)
    elif settings.held_out is not None:
        held_out = _rows(settings.held_out, None, settings, lm)
    return TrainingData(
        loader=loader,
        held_out=held_out,
        identity={"corpus": manifest.fingerprint, "rows": kept, "seed": settings.seed, "batch": settings.batch_size},
        sequence_length=manifest.sequence_length,
        fill_rate=manifest.num_tokens / (manifest.num_rows * manifest.sequence_length),
    )


def _rows(folder: Path, rows: range | None, settings: DataSettings, lm: kcg.CodeGemmaCausalLM) -> HeldOut:
    index, count = _share()
    loader = make_loader(
        folder,
        batch_size=settings.batch_size,
        seed=0,
        shard_index=index,
        shard_count=count,
        epochs=1,
        vocabulary_size=lm.backbone.config.vocabulary_size,
        rows=rows,
    )
    batches = list(loader)
    loader.close()
    return HeldOut(batches)


def _open_chats(settings: DataSettings, lm: kcg.CodeGemmaCausalLM) -> TrainingData:
    assert settings.chats is not None
    preprocess = _preprocess(settings, lm, truncate="right")
    found = read_chats(settings.chats)
    trained = found[: len(found) - settings.held_out_rows]
    if not trained:
        raise ValueError(
            f"Some chats must be left to train on; {settings.chats} has {len(found)} and held_out_rows is "
            f"{settings.held_out_rows}. Hold out fewer."
        )
    kept = found[len(trained) :] if settings.held_out is None else read_chats(settings.held_out)
    # Every chat once: one that cannot be a turn of the model is an error now, not in an hour.
    lengths = [int(preprocess([chat])[0]["padding_mask"].sum()) for chat in [*trained, *kept]]
    size = settings.batch_size
    return TrainingData(
        loader=ChatLoader(trained, preprocess, batch_size=size, seed=settings.seed, share=_share()),
        held_out=HeldOut([preprocess(kept[at : at + size]) for at in range(0, len(kept), size)]) if kept else None,
        identity={
            "chats": hashlib.sha256(json.dumps(trained).encode()).hexdigest(),
            "seed": settings.seed,
            "batch": size,
        },
        sequence_length=settings.sequence_length,
        fill_rate=sum(lengths) / (len(lengths) * settings.sequence_length),
    )


def _open_preferences(settings: DataSettings, lm: kcg.CodeGemmaCausalLM, folder: Path) -> TrainingData:
    assert settings.preferences is not None
    preprocess = _preprocess(settings, lm, truncate=None)
    found = read_preferences(settings.preferences)
    trained = len(found) - settings.held_out_rows
    if trained < 1:
        raise ValueError(
            f"Some pairs must be left to train on; {settings.preferences} has {len(found)} and held_out_rows is "
            f"{settings.held_out_rows}. Hold out fewer."
        )
    if settings.held_out is not None:
        found = [*found, *read_preferences(settings.held_out)]
    pairs = encode(found, preprocess)
    size = settings.batch_size
    reference = reference_nats(lm, pairs, batch_size=size, cache=folder / "reference.npz")
    index, count = _share()
    kept = [range(at, min(at + size, len(found)))[index::count] for at in range(trained, len(found), size)]
    return TrainingData(
        loader=PairLoader(pairs.first(trained), reference, batch_size=size, seed=settings.seed, share=(index, count)),
        held_out=HeldOut([pairs.batch(chosen, reference) for chosen in kept]) if kept else None,
        identity={"preferences": pairs.fingerprint, "trained": trained, "seed": settings.seed, "batch": size},
        sequence_length=settings.sequence_length,
        # A pair has two rows.
        fill_rate=2 * float(pairs.padding_mask.mean()),
    )


def _preprocess(settings: DataSettings, lm: kcg.CodeGemmaCausalLM, *, truncate: str | None) -> Any:
    """The model's preprocessor for rows of the settings' length."""
    assert lm.preprocessor is not None
    config = lm.backbone.config
    if settings.sequence_length > config.context_length:
        raise ValueError(
            f"Chats must fit the model's context of {config.context_length}; got sequence_length="
            f"{settings.sequence_length}. Lower data.sequence_length."
        )
    return lm.preprocessor.replace(sequence_length=settings.sequence_length, truncate=truncate)


def read_chats(path: Path) -> list[list[dict[str, str]]]:
    """Conversations of a JSON-lines file of `{"messages": [...]}`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no conversation, with its number, or none at all.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            messages = json.loads(line)["messages"]
            found.append([{"role": str(one["role"]), "content": str(one["content"])} for one in messages])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f'Line {number} of {path} must be {{"messages": [{{"role": ..., "content": ...}}, ...]}}; it is not '
                f"({type(error).__name__}: {error}). Correct it."
            ) from None
    if not found:
        raise ValueError(f"A file of chats must hold at least one; {path} has none. Check the path.")
    return found


def _share() -> tuple[int, int]:
    """(index, count) of this host among those that read different rows."""
    parallel = kcg.distribution.active()
    return (0, 1) if parallel is None or jax.process_count() == 1 else parallel.row_group
