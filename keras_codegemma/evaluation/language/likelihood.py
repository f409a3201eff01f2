"""Log-likelihoods of continuations: one forward pass a batch, and logits where a continuation is predicted only.

`scoring.Scorer` gives every token of a row and no greedy choice. Here several continuations may share a row (the four
letters of MMLU differ in their one token, so their contexts run once), and the unembedding (524 million of a 2B model's
2.5 billion weights) is done for the few positions that count.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_codegemma import CodeGemmaBackbone
from keras_codegemma.axes import Array, Bool, Float, Int
from keras_codegemma.evaluation.language.answers import Answers

_LOG = logging.getLogger(__name__)

PIECE = 64  # logits of this many positions a row exist at a time: 64 MiB a row at 256,000 ids


class Pair(NamedTuple):
    """A context, beginning with <bos>, and the continuation whose likelihood is asked for, as ids."""

    context: list[int]
    continuation: list[int]


class Row(NamedTuple):
    """One row of a batch: what the model reads, and which pairs it answers."""

    token_ids: tuple[int, ...]
    pairs: list[int]


def fit(pair: Pair, context_length: int) -> tuple[Pair, int]:
    """The pair with as much of the context's beginning left out, after <bos>, as must be; and how many tokens that is.

    The last token is predicted, not read, so context and continuation together may have one more than the context
    length: the limit of the harness' own models.

    Raises:
        ValueError: an empty continuation, or one that does not fit by itself.
    """
    if not 1 <= len(pair.continuation) <= context_length:
        raise ValueError(
            f"A continuation to score must have between 1 and {context_length} tokens, the model's context; got "
            f"{len(pair.continuation)}. Leave this task out, or take a model of a longer context."
        )
    left_out = max(0, len(pair.context) + len(pair.continuation) - 1 - context_length)
    return Pair([pair.context[0], *pair.context[1 + left_out :]], pair.continuation), left_out


class Likelihoods:
    """The compiled program of one backbone.

    Args:
        backbone: of the model.
        batch_size: rows that run together.
    """

    def __init__(self, backbone: CodeGemmaBackbone, *, batch_size: int):
        self._backbone = backbone
        self._batch_size = batch_size
        self._program = jax.jit(self._run)

    def of(self, pairs: Sequence[Pair], answers: Answers) -> list[tuple[float, bool]]:
        """For each pair, the log-likelihood of its continuation in nats, and whether greedy decoding would give it.

        Args:
            pairs: that fit the model's context.
            answers: of an earlier, interrupted run, and for those of this one.
        """
        found: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
        batches = list(self._batches(pairs))
        for number, batch in enumerate(batches, start=1):
            asked = [[row.token_ids, [pairs[place].continuation for place in row.pairs]] for row in batch]
            known = answers.of(["likelihood", asked], lambda batch=batch: self._answer(batch, pairs))
            places = [place for row in batch for place in row.pairs]
            for place, (value, greedy) in zip(places, known, strict=True):
                found[place] = (value, greedy)
            _LOG.info("Likelihoods: batch %d of %d.", number, len(batches))
        return found

    def _batches(self, pairs: Sequence[Pair]) -> Iterator[list[Row]]:
        """Rows of like length, longest first, so that the first batch shows at once whether memory suffices."""
        rows: dict[tuple[int, ...], Row] = {}
        for place, pair in enumerate(pairs):
            token_ids = (*pair.context, *pair.continuation[:-1])
            rows.setdefault(token_ids, Row(token_ids, [])).pairs.append(place)
        ordered = sorted(rows.values(), key=lambda row: -len(row.token_ids))
        for start in range(0, len(ordered), self._batch_size):
            yield ordered[start : start + self._batch_size]

    def _answer(self, batch: Sequence[Row], pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        wanted = [[pairs[place].continuation for place in row.pairs] for row in batch]
        rows = 1 << (len(batch) - 1).bit_length()
        length = padded_length(max(len(row.token_ids) for row in batch))
        count = padded_count(max(sum(map(len, continuations)) for continuations in wanted))
        token_ids, mask = np.zeros((rows, length), np.int32), np.zeros((rows, length), bool)
        positions, targets = np.zeros((rows, count), np.int32), np.zeros((rows, count), np.int32)
        for index, (row, continuations) in enumerate(zip(batch, wanted, strict=True)):
            size = len(row.token_ids)
            token_ids[index, :size], mask[index, :size] = row.token_ids, True
            predicted_at = [size - len(ids) + step for ids in continuations for step in range(len(ids))]
            flat = [i for ids in continuations for i in ids]
            positions[index, : len(flat)], targets[index, : len(flat)] = predicted_at, flat
        weights = [variable.value for variable in self._backbone.variables]
        log_probs, greedy = map(np.asarray, self._program(weights, token_ids, mask, positions, targets))
        answered = []
        for index, continuations in enumerate(wanted):
            start = 0
            for ids in continuations:
                chosen = slice(start, start + len(ids))
                # Summed in float64: a long continuation would add up the roundings of float32.
                value = float(log_probs[index, chosen].sum(dtype=np.float64))
                answered.append((value, bool(greedy[index, chosen].all())))
                start += len(ids)
        return answered

    def _run(
        self,
        weights: list[Array],
        token_ids: Int[Array, "B T"],
        mask: Bool[Array, "B T"],
        positions: Int[Array, "B positions"],
        targets: Int[Array, "B positions"],
    ) -> tuple[Float[Array, "B positions"], Bool[Array, "B positions"]]:
        with keras.StatelessScope(state_mapping=list(zip(self._backbone.variables, weights, strict=True))):
            hidden = self._backbone({"token_ids": token_ids, "padding_mask": mask})  # B T D
            hidden = jnp.take_along_axis(hidden, positions[..., None], axis=1)  # B positions D
            rows, count, width = hidden.shape
            pieces = max(1, count // PIECE)
            split = (
                hidden.reshape(rows, pieces, count // pieces, width).swapaxes(0, 1),
                targets.reshape(rows, pieces, count // pieces).swapaxes(0, 1),
            )
            log_probs, greedy = jax.lax.map(self._piece, split)  # pieces B positions
        return (
            log_probs.swapaxes(0, 1).reshape(rows, count),
            greedy.swapaxes(0, 1).reshape(rows, count),
        )

    def _piece(self, piece: tuple[Array, Array]) -> tuple[Array, Array]:
        hidden, targets = piece
        logits: Any = self._backbone.token_embedding(hidden, reverse=True)
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1), jnp.argmax(logits, axis=-1) == targets


def padded_length(tokens: int) -> int:
    """The length that a batch of rows is padded to: 64, 128, 192, 256, 384, 512, 768 and so on, so that few compile.

    >>> [padded_length(tokens) for tokens in (1, 64, 65, 200, 257, 1000)]
    [64, 64, 128, 256, 384, 1024]
    """
    whole = 64 << max(0, -(-tokens // 64) - 1).bit_length()
    three_quarters = whole // 4 * 3
    return three_quarters if three_quarters % 64 == 0 and three_quarters >= tokens else whole


def padded_count(targets: int) -> int:
    """The number of predicted positions that a row is padded to: 4, 16, 64, and multiples of 64 above.

    >>> [padded_count(targets) for targets in (1, 5, 64, 65)]
    [4, 16, 64, 128]
    """
    return next((size for size in (4, 16) if targets <= size), -(-targets // PIECE) * PIECE)
