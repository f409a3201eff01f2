"""Preference tuning: direct preference optimisation (DPO; Rafailov et al., 2023, arXiv 2305.18290).

Of a prompt's two answers the better one is to become likelier than the worse one, in relation to a reference, which is
the model as the run begins. The reference's log-probabilities are computed once and kept in the run's folder, so memory
holds one model, and they are the same after a restart. A batch has two rows for each pair, the chosen answer's first.

    margin = beta * (log p(chosen) / reference(chosen) - log p(rejected) / reference(rejected))
    loss   = -log sigmoid(margin), the mean over pairs

The model's scores of a row are already in relation to the reference (`trainer.REFERENCE`), so that loss and metrics
need nothing but them and the weights, which are 1 on the tokens of answers.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

import keras_codegemma as kcg
from keras_codegemma import token_scores
from keras_codegemma.axes import Array, Float
from keras_codegemma.trainer import LABELS, REFERENCE
from training.config import PreferenceSettings
from training.corpus.loader import Batch
from training.shuffled import ShuffledLoader

_EXAMPLE = '{"messages": [{"role": "user", "content": "..."}], "chosen": "...", "rejected": "..."}'


# The loss, and what is logged.


def margins(y_pred: Any, sample_weight: Any, *, beta: float) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"]]:
    """The margin of each pair of rows, and 1 where a pair has weights at all, else 0.

    Args:
        y_pred: token scores [2 P, T, 4] in relation to the reference.
        sample_weight: [2 P, T], 1 on the tokens of answers.
        beta: of `PreferenceSettings`.
    """
    weights = jnp.asarray(sample_weight, jnp.float32)
    rewards = -beta * jnp.sum(weights * token_scores.unpack(y_pred).nats, axis=1)
    is_real = jnp.min(jnp.max(weights, axis=1).reshape(-1, 2), axis=1) > 0
    chosen, rejected = rewards.reshape(-1, 2).T
    return jnp.where(is_real, chosen - rejected, 0.0), is_real.astype(jnp.float32)


class PreferenceLoss(keras.losses.Loss):
    """The loss of DPO over rows of token scores, two a pair."""

    takes_token_scores = True

    def __init__(self, settings: PreferenceSettings, name: str = "preference") -> None:
        super().__init__(name=name)
        self._settings = settings

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The mean over the pairs that have weights."""
        found, is_real = margins(y_pred, sample_weight, beta=self._settings.beta)
        smoothing = self._settings.label_smoothing
        each = -(1 - smoothing) * jax.nn.log_sigmoid(found) - smoothing * jax.nn.log_sigmoid(-found)
        return jnp.sum(each * is_real) / jnp.maximum(jnp.sum(is_real), 1.0)


class _PairMean(keras.metrics.Mean):
    """A mean over pairs."""

    takes_token_scores = True

    def __init__(self, settings: PreferenceSettings, name: str) -> None:
        super().__init__(name=name)
        self._beta = settings.beta

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of pairs."""
        found, is_real = margins(y_pred, sample_weight, beta=self._beta)
        return super().update_state(self._values(found), is_real)

    def _values(self, found: Any) -> Any:
        return found


class RewardMargin(_PairMean):
    """How much better the chosen answers are, by the rewards that DPO's model implies: the mean of the margins."""

    def __init__(self, settings: PreferenceSettings, name: str = "reward_margin") -> None:
        super().__init__(settings, name)


class RewardAccuracy(_PairMean):
    """The share of pairs whose chosen answer has the higher reward; where both are equal, half."""

    def __init__(self, settings: PreferenceSettings, name: str = "reward_accuracy") -> None:
        super().__init__(settings, name)

    def _values(self, found):
        return (jnp.sign(found) + 1) / 2


# The data.


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Encoded pairs, row 2 i being the chosen answer of pair i and row 2 i + 1 the rejected one.

    Attributes:
        token_ids, labels: int32 [2 P, T].
        padding_mask: bool [2 P, T].
        weights: float32 [2 P, T], 1 on the tokens of answers.
        fingerprint: of what was encoded.
    """

    token_ids: np.ndarray
    labels: np.ndarray
    padding_mask: np.ndarray
    weights: np.ndarray
    fingerprint: str

    def __len__(self) -> int:
        return len(self.token_ids) // 2

    def first(self, count: int) -> "Pairs":
        """The first pairs alone."""
        rows = slice(2 * count)
        return replace(
            self,
            token_ids=self.token_ids[rows],
            labels=self.labels[rows],
            padding_mask=self.padding_mask[rows],
            weights=self.weights[rows],
        )

    def batch(self, chosen: Sequence[int], reference: np.ndarray) -> Batch:
        """The rows of some pairs, with what the reference says of them."""
        rows = np.asarray([row for pair in chosen for row in (2 * pair, 2 * pair + 1)])
        features = {
            "token_ids": self.token_ids[rows],
            "padding_mask": self.padding_mask[rows],
            REFERENCE: reference[rows],
        }
        return features, self.labels[rows], self.weights[rows]


class PairLoader(ShuffledLoader):
    """Pairs in a new order each epoch, without end.

    Args:
        pairs: all.
        reference: nats per answer token of each row, by the reference.
        batch_size, seed, share: as `ShuffledLoader` takes them.
    """

    def __init__(
        self, pairs: Pairs, reference: np.ndarray, *, batch_size: int, seed: int, share: tuple[int, int]
    ) -> None:
        super().__init__(len(pairs), batch_size=batch_size, seed=seed, share=share)
        self._pairs, self._reference = pairs, reference

    def batch(self, chosen: Sequence[tuple[int, int]]) -> Batch:
        """The rows of some pairs."""
        return self._pairs.batch([pair for pair, _ in chosen], self._reference)


@dataclass(frozen=True, kw_only=True)
class Preference:
    """A chat that ends with the user's turn, the better answer, the worse one, and where the line is, for messages."""

    messages: list[dict[str, str]]
    chosen: str
    rejected: str
    place: str


def read_preferences(path: Path) -> list[Preference]:
    """The lines of a JSON-lines file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is none, with its number: equal answers, empty ones, or messages that do not end with
            the user's turn; or no line at all.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            messages = [{"role": str(one["role"]), "content": str(one["content"])} for one in item["messages"]]
            chosen, rejected = item["chosen"], item["rejected"]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"Line {number} of {path} must be {_EXAMPLE}; it is not ({type(error).__name__}: {error}). Correct it."
            ) from None
        if problem := _problem(messages, chosen, rejected):
            raise ValueError(f"Line {number} of {path} must be {_EXAMPLE}; {problem}. Correct it or leave it out.")
        found.append(Preference(messages=messages, chosen=chosen, rejected=rejected, place=f"line {number} of {path}"))
    if not found:
        raise ValueError(f"A file of preferences must hold at least one; {path} has none. Check the path.")
    return found


def _problem(messages: list[dict[str, str]], chosen: Any, rejected: Any) -> str | None:
    if not (isinstance(chosen, str) and isinstance(rejected, str) and chosen.strip() and rejected.strip()):
        return "both answers must be texts that are not empty"
    if chosen.strip() == rejected.strip():  # the turn template strips them
        return "the answers are the same"
    if not messages or messages[-1]["role"] != "user":
        return "the messages must end with the user's turn"
    return None


def encode(preferences: Sequence[Preference], preprocess: Any) -> Pairs:
    """Encodes all pairs; earlier turns of the model have weight 0.

    Args:
        preferences: as read.
        preprocess: the model's preprocessor with the length of a row, and nothing cut.

    Raises:
        ValueError: an answer that does not fit a row, named; nothing is cut.
    """
    rows: list[Batch] = []
    for one in preferences:
        for answer in (one.chosen, one.rejected):
            chat = [*one.messages, {"role": "assistant", "content": answer}]
            try:
                rows.append(preprocess([chat]))
            except ValueError as error:
                raise ValueError(
                    f"Each answer with its prompt must fit a row; {one.place} does not: {error} Raise "
                    "data.sequence_length, or leave the pair out: nothing is cut."
                ) from None
    weights = np.concatenate([row[2] for row in rows])
    for row in weights:
        row[: _last_turn(row)] = 0.0
    arrays = {name: np.concatenate([row[0][name] for row in rows]) for name in ("token_ids", "padding_mask")}
    labels = np.concatenate([row[1] for row in rows])
    parts = (arrays["token_ids"], labels, weights)
    fingerprint = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    return Pairs(labels=labels, weights=weights, fingerprint=fingerprint, **arrays)


def _last_turn(weights: np.ndarray) -> int:
    """Where the last stretch of learned tokens begins."""
    is_first = np.diff(weights > 0, prepend=False) & (weights > 0)
    return int(np.flatnonzero(is_first)[-1])


# The reference.


def reference_nats(lm: kcg.CodeGemmaCausalLM, pairs: Pairs, *, batch_size: int, cache: Path) -> np.ndarray:
    """Nats per answer token of each row by the model as it is now, or as it was when the run began.

    All processes of a job come to this alike.

    Args:
        lm: the model; it is not changed.
        pairs: all of them.
        batch_size: pairs at a time.
        cache: where the values of a run are kept, with the fingerprint of its pairs.

    Returns:
        float32 [2 P].

    Raises:
        ValueError: the file belongs to other pairs.
    """
    if cache.exists():
        with np.load(cache) as kept:
            if str(kept["fingerprint"]) != pairs.fingerprint:
                raise ValueError(
                    f"{cache} must belong to this run's pairs; it is of others. The file of preferences was changed: "
                    "put it back, or begin a new --workdir."
                )
            return kept["nats"]
    found = []
    nats_of = jax.jit(lambda state, *batch: _row_nats(lm, state, *batch))
    state = [[v.value for v in part] for part in (lm.trainable_variables, lm.non_trainable_variables)]
    for first in range(0, len(pairs), batch_size):
        # The last batch is filled up with its own pairs, so that there is one shape to compile.
        chosen = [min(pair, len(pairs) - 1) for pair in range(first, first + batch_size)]
        features, labels, weights = pairs.batch(chosen, np.zeros(len(pairs.labels), np.float32))
        del features[REFERENCE]
        nats = kcg.distribution.fetch(nats_of(state, features, labels, weights))
        found.append(nats[: 2 * min(batch_size, len(pairs) - first)])
    result = np.concatenate(found).astype(np.float32)
    if kcg.distribution.is_first():
        part = cache.with_name(cache.name + ".part")
        with part.open("wb") as file:
            np.savez(file, nats=result, fingerprint=pairs.fingerprint)
            file.flush()
            os.fsync(file.fileno())
        part.replace(cache)
    return result


def _row_nats(lm: kcg.CodeGemmaCausalLM, state: Any, features: Any, labels: Any, weights: Any) -> Array:
    scores = lm.stateless_call(*state, {**features, LABELS: labels})[0]
    return jnp.sum(token_scores.unpack(scores).nats * weights, axis=1) / jnp.sum(weights, axis=1)
