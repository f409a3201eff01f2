"""From logits to the next ids: samplers as small values that compiled programs take as arguments.

Temperatures and probabilities are traced, so changing them compiles nothing; the kind of sampler and its `k` are not.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.sample import sample
from keras_codegemma.kernels.xla_cpu import first_true


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class GreedySampler:
    """The likeliest id; of equals, the lowest."""

    name: ClassVar[str] = "greedy"

    def __call__(self, logits: Float[Array, "B V"], keys: Array) -> Int[Array, " B"]:
        """logits: float32 [B, V]. keys: one random key a row, unused. Returns int32 [B]."""
        # As argmax, NaN included.
        return first_true((logits == logits.max(axis=-1, keepdims=True)) | jnp.isnan(logits))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class RandomSampler:
    """An id drawn from softmax(logits / temperature)."""

    name: ClassVar[str] = "random"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)

    def __call__(self, logits: Float[Array, "B V"], keys: Array) -> Int[Array, " B"]:
        """As in `GreedySampler`; each row is drawn with its own key alone."""
        return sample(logits, keys, temperature=self.temperature)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TopKSampler:
    """An id drawn from the k likeliest (all of them, where there are fewer)."""

    name: ClassVar[str] = "top_k"
    k: int = field(default=5, metadata={"static": True})
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        _check_count("k", self.k)

    def __call__(self, logits: Float[Array, "B V"], keys: Array) -> Int[Array, " B"]:
        """As in `GreedySampler`; each row is drawn with its own key alone."""
        return sample(logits, keys, temperature=self.temperature, top_k=self.k)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TopPSampler:
    """An id drawn from the smallest set of likeliest ids whose probabilities sum to at least p.

    The probabilities are those after division by the temperature (Holtzman et al., 2020). With `k`, only the k
    likeliest are considered.
    """

    name: ClassVar[str] = "top_p"
    p: float = 0.95
    k: int | None = field(default=None, metadata={"static": True})
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        if isinstance(self.p, (int, float)) and not 0.0 < self.p <= 1.0:
            raise ValueError(f"p must lie in (0, 1]; got {self.p!r}. 0.95 is usual; 1 keeps every id.")
        if self.k is not None:
            _check_count("k", self.k)

    def __call__(self, logits: Float[Array, "B V"], keys: Array) -> Int[Array, " B"]:
        """As in `GreedySampler`; each row is drawn with its own key alone."""
        return sample(logits, keys, temperature=self.temperature, top_k=self.k, top_p=self.p)


@dataclass(frozen=True, kw_only=True)
class BeamSampler:
    """The likeliest sequence that a beam search of this width finds; scores are sums of log-probabilities."""

    name: ClassVar[str] = "beam"
    num_beams: int = 5

    def __post_init__(self) -> None:
        _check_count("num_beams", self.num_beams)


StepSampler = GreedySampler | RandomSampler | TopKSampler | TopPSampler
Sampler = StepSampler | BeamSampler

_BY_NAME: dict[str, type] = {
    kind.name: kind for kind in (GreedySampler, RandomSampler, TopKSampler, TopPSampler, BeamSampler)
}


def get(sampler: str | Sampler | None) -> Sampler:
    """A sampler by KerasHub's name for it, with the defaults above; None is greedy, as the model card's examples are.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a sampler.
    """
    if sampler is None:
        return GreedySampler()
    if isinstance(sampler, str):
        if sampler not in _BY_NAME:
            raise ValueError(f"A sampler name must be one of {sorted(_BY_NAME)}; got {sampler!r}. Choose one of these.")
        return _BY_NAME[sampler]()
    if not isinstance(sampler, tuple(_BY_NAME.values())):
        raise TypeError(
            f"A sampler must be a name among {sorted(_BY_NAME)} or an object of keras_codegemma.samplers; "
            f"got {type(sampler).__name__}. Pass for example samplers.TopPSampler(p=0.9)."
        )
    return sampler


def _check_temperature(value: object) -> None:
    # Inside a compiled program the field is a tracer, checked when the sampler was made.
    if isinstance(value, (int, float)) and not value > 0.0:
        raise ValueError(f"The temperature must be above 0; got {value!r}. For greedy choice use GreedySampler().")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}. Pass 1 or more.")
