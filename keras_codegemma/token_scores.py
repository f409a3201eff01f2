"""What training looks at of each predicted token, in place of its logits, and the loss and metrics that look at it.

A model that trains returns, for each position, four float32 numbers: `TokenScores`. Its losses and metrics take these
as `y_pred` [B, T, 4] and never see [B, T, V] logits, which for 256,000 ids and 8192 positions would be 8 GiB.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras

from keras_codegemma.axes import Array, Bool, Float, Int

WIDTH = 4
PARTS = ("all", "middle")


class TokenScores(NamedTuple):
    """What a row of scores holds.

    Attributes:
        nats: cross-entropy of the label, -log p(label).
        log_total: log sum exp of the logits, for the z-loss.
        likeliest: the id with the largest logit; exact in float32 below 2^24.
        in_middle: 1 where the label belongs to the middle of an infilling example, its end included, else 0.
    """

    nats: Float[Array, "B T"]
    log_total: Float[Array, "B T"]
    likeliest: Float[Array, "B T"]
    in_middle: Float[Array, "B T"]


def pack(nats: Array, log_total: Array, likeliest: Array, in_middle: Bool[Array, "B T"]) -> Float[Array, "B T 4"]:
    """The scores as one array, as Keras hands it to losses and metrics."""
    return jnp.stack([x.astype(jnp.float32) for x in (nats, log_total, likeliest, in_middle)], axis=-1)


def relative_to(scores: Float[Array, "B T 4"], nats: Float[Array, " B"]) -> Float[Array, "B T 4"]:
    """The scores with so many nats taken off each cross-entropy of a row."""
    return scores.at[..., 0].add(-nats[:, None].astype(scores.dtype))


def labels_in_middle(
    token_ids: Int[Array, "B T"], segment_ids: Int[Array, "B T"] | None, *, begin: int, ends: tuple[int, ...]
) -> Bool[Array, "B T"]:
    """Whether the id after each position belongs to the middle of an infilling example, its end included.

    Args:
        token_ids: rows.
        segment_ids: of packed rows; None where a row is one segment.
        begin: the id that a middle follows, `<|fim_middle|>`.
        ends: the ids that end one, `<|file_separator|>` and `<eos>`.
    """
    index = jnp.arange(token_ids.shape[1], dtype=jnp.int32)[None]
    ended = jnp.isin(token_ids, jnp.asarray(ends))
    if segment_ids is not None:
        ended |= segment_ids != jnp.pad(segment_ids, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    last_begin = jax.lax.cummax(jnp.where(token_ids == begin, index, -1), axis=1)
    last_end = jax.lax.cummax(jnp.where(ended, index, -1), axis=1)
    return (last_begin >= 0) & (last_begin >= last_end)


def unpack(y_pred: Any) -> TokenScores:
    """The scores in such an array.

    Raises:
        ValueError: logits, or another array that is not [..., 4].
    """
    if y_pred.shape[-1] != WIDTH:
        raise ValueError(
            f"Losses and metrics of token scores take [batch, length, {WIDTH}]; got {tuple(y_pred.shape)}. They are "
            "for CodeGemmaCausalLM; for logits use keras.losses.SparseCategoricalCrossentropy."
        )
    return TokenScores(*(y_pred[..., index] for index in range(WIDTH)))


@keras.saving.register_keras_serializable(package="keras_codegemma")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of the next id in nats, times its weight: the fused loss of `CodeGemmaCausalLM`.

    With the default reduction the value is the sum over tokens divided by the number of positions, padding included,
    as Keras and KerasHub do.

    Args:
        z_loss: weight of the squared log sum exp of the logits, which keeps it near 0 (Chowdhery et al., 2022, PaLM,
            section 5, with 1e-4); 0 for none.
        reduction: as `keras.losses.Loss` takes it; "mean_with_sample_weight" divides by the sum of the weights.
        name: of the loss.
    """

    def __init__(
        self, z_loss: float = 0.0, reduction: str = "sum_over_batch_size", name: str = "cross_entropy", dtype=None
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if z_loss < 0:
            raise ValueError(f"z_loss must be 0 or more; got {z_loss}. The usual weight is 1e-4.")
        self.z_loss = float(z_loss)

    def call(self, y_true, y_pred):
        """The loss of each token [B, T]; the labels are in the scores already."""
        scores = unpack(y_pred)
        return scores.nats + self.z_loss * scores.log_total**2 if self.z_loss else scores.nats

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"name": self.name, "reduction": self.reduction, "z_loss": self.z_loss}


class _TokenMean(keras.metrics.Mean):
    """A mean over predicted tokens, each by its weight.

    Args:
        part: "all" tokens, or those of infilled "middle"s alone.
        name: the kind's own by default, with "middle_" in front where it is of middles.
    """

    kind: str

    def __init__(self, part: str = "all", name: str | None = None, dtype: Any = None):
        if part not in PARTS:
            raise ValueError(f"A part must be one of {PARTS}; got {part!r}. Choose one of these.")
        prefix = "" if part == "all" else f"{part}_"
        super().__init__(name=name or prefix + self.kind, dtype=dtype)
        self.part = part

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch: labels int32 [B, T], scores [B, T, 4], weights [B, T] or none."""
        scores = unpack(y_pred)
        if self.part == "middle":
            sample_weight = scores.in_middle if sample_weight is None else scores.in_middle * sample_weight
        return super().update_state(self._values(y_true, scores), sample_weight)

    def _values(self, y_true: Any, scores: TokenScores) -> Any:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"name": self.name, "dtype": self.dtype, "part": self.part}


@keras.saving.register_keras_serializable(package="keras_codegemma")
class Accuracy(_TokenMean):
    """The share of tokens whose likeliest id is the right one; `part`, "all" or "middle", says of which."""

    kind = "accuracy"

    def _values(self, y_true, scores):
        return (jnp.asarray(y_true) == scores.likeliest.astype(jnp.int32)).astype(jnp.float32)


@keras.saving.register_keras_serializable(package="keras_codegemma")
class NatsPerToken(_TokenMean):
    """Cross-entropy per token in nats, weighted: what `-lm.score(text).mean()` gives; `part` says of which tokens."""

    kind = "nats_per_token"

    def _values(self, y_true, scores):
        return scores.nats


_METRICS = (Accuracy, NatsPerToken)


def default_metrics() -> list[keras.metrics.Metric]:
    """Accuracy and nats per token."""
    return [Accuracy(), NatsPerToken()]


def suffice(loss: Any, *metrics: Any) -> bool:
    """Whether a loss and metrics, as `compile` takes them, can do with token scores; False where they take logits.

    Args:
        loss: None where it is left open. Others than this module's take scores if their `takes_token_scores` is set.
        *metrics: likewise, each None, a metric, its name or function, or a list or dict of such.

    Raises:
        ValueError: some take scores, others logits.
    """
    takers = [taker for taker in _flat([loss, *metrics]) if taker is not None]
    by_scores = [taker for taker in takers if _takes_scores(taker)]
    by_logits = [taker for taker in takers if not _takes_scores(taker)]
    if by_scores and by_logits:
        raise ValueError(
            f"Loss and metrics must all take token scores or all take logits; got {_names(by_scores)} and "
            f"{_names(by_logits)}. Use those of keras_codegemma.token_scores, or Keras's, for all."
        )
    return not by_logits


def _takes_scores(taker: Any) -> bool:
    return isinstance(taker, (CrossEntropy, *_METRICS)) or getattr(taker, "takes_token_scores", False)


def need_middles(*metrics: Any) -> bool:
    """Whether one of these looks at middles alone."""
    return any(getattr(metric, "part", None) == "middle" for metric in _flat(list(metrics)))


def _flat(takers: Any) -> list[Any]:
    if isinstance(takers, dict):
        takers = list(takers.values())
    if not isinstance(takers, (list, tuple)):
        return [takers]
    return [one for each in takers for one in _flat(each)]


def _names(takers: list[Any]) -> list[str]:
    return [taker if isinstance(taker, str) else getattr(taker, "name", str(taker)) for taker in takers]
