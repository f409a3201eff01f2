"""Draws from the smallest set of likeliest ids whose probabilities sum to at least p, without sorting the vocabulary.

1. The 256 likeliest ids. Where they sum to p, which a trained model's nearly always do, the set is among them.
2. Rows where they do not: the smallest logit of the set is found by halving the range of float32 values, 32 times, and
   the id is drawn from all ids at or above it. Skipped where no row of the batch needs it.

Which of the two draws a row's id depends on that row alone.
"""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Bool, Float, Int
from keras_codegemma.kernels.sample.draw import draw
from keras_codegemma.kernels.sample.top import largest

CANDIDATES = 256
_LOWEST = -(2**31)


def draw_nucleus(logits: Float[Array, "B V"], keys: Array, top_p: Float[Array, ""]) -> Int[Array, " B"]:
    """An id of each row, with its own key alone."""
    values, ids = largest(logits, min(CANDIDATES, logits.shape[-1]))
    probabilities = jnp.exp(values - jax.nn.logsumexp(logits, axis=-1, keepdims=True))
    sums = jnp.cumsum(probabilities, axis=-1)
    # The first is always kept, also where rounding makes its predecessor sum positive.
    kept = (sums - probabilities < top_p).at[:, 0].set(True)
    chosen = draw_candidate(jnp.where(kept, values, -jnp.inf), ids, keys)
    if ids.shape[-1] == logits.shape[-1]:
        return chosen
    enough = sums[:, -1] >= top_p

    def from_all() -> Int[Array, " B"]:
        return jnp.where(enough, chosen, draw(jnp.where(nucleus(logits, top_p), logits, -jnp.inf), keys))

    return jax.lax.cond(jnp.all(enough), lambda: chosen, from_all)


def draw_candidate(values: Float[Array, "B C"], ids: Int[Array, "B C"], keys: Array) -> Int[Array, " B"]:
    """One of some ids a row with probability softmax(values)."""
    places = jax.vmap(jax.random.categorical)(keys, values)
    return jnp.take_along_axis(ids, places[:, None], axis=-1)[:, 0].astype(jnp.int32)


def nucleus(logits: Float[Array, "B V"], top_p: Float[Array, ""]) -> Bool[Array, "B V"]:
    """Which ids are in the set; of equals at its edge, those with the lowest ids."""
    probabilities = jax.nn.softmax(logits, axis=-1)
    ordered = _ordered(logits)

    def halve(_: Int[Array, ""], ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, without overflow
        enough = jnp.where(ordered >= middle[:, None], probabilities, 0.0).sum(-1) >= top_p
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    # Invariant: the ids at or above `low` are enough (the lowest stands for all), those at or above `high` are not.
    ends = jnp.full(logits.shape[:1], _LOWEST, jnp.int32), ordered.max(-1) + 1
    low, _ = jax.lax.fori_loop(0, 32, halve, ends)
    above, equal = ordered > low[:, None], ordered == low[:, None]
    sum_above = jnp.where(above, probabilities, 0.0).sum(-1, keepdims=True)
    before = sum_above + (jnp.cumsum(equal, axis=-1) - 1) * probabilities
    return above | (equal & (before < top_p))


def _ordered(x: Float[Array, "B V"]) -> Int[Array, "B V"]:
    """int32 in the order of float32: the bits, those of negative numbers turned round."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32) + 0.0, jnp.int32)  # + 0.0: -0.0 equals 0.0
    return bits ^ ((bits >> 31) & jnp.int32(2**31 - 1))
