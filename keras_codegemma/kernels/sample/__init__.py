"""From logits to ids drawn at random: `sample`, with temperature, top-k and top-p, without sorting the vocabulary."""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.dispatch import PLATFORMS, Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.sample import reference
from keras_codegemma.kernels.sample.cases import EXAMPLES
from keras_codegemma.kernels.sample.draw import draw
from keras_codegemma.kernels.sample.nucleus import draw_candidate, draw_nucleus
from keras_codegemma.kernels.sample.top import largest

__all__ = ["OPERATION", "sample"]


def _sample(logits: Array, keys: Array, top_p: Array | None, *, top_k: int | None) -> Int[Array, " B"]:
    if top_k is None:
        return draw(logits, keys) if top_p is None else draw_nucleus(logits, keys, top_p)
    values, ids = largest(logits, min(top_k, logits.shape[-1]))
    if top_p is not None:
        values, _ = reference.candidates(values, top_p, top_k=None)  # sorted already
    return draw_candidate(values, ids, keys)


def _reference(logits: Array, keys: Array, top_p: Array | None, *, top_k: int | None) -> Int[Array, " B"]:
    everything = jnp.asarray(jnp.inf)
    values, ids = reference.candidates(logits, everything if top_p is None else top_p, top_k=top_k)
    return draw_candidate(values, ids, keys)


OPERATION = Operation(
    "sample",
    Implementation(name="xla", platforms=PLATFORMS, supports=anything, run=_sample),
    as_reference(_reference),
    examples=lambda: {case.name: case.arguments() for case in EXAMPLES},
)


def sample(
    logits: Float[Array, "B V"],
    keys: Array,
    *,
    temperature: Float[Array, ""] | float = 1.0,
    top_k: int | None = None,
    top_p: Float[Array, ""] | float | None = None,
    implementation: str | None = None,
) -> Int[Array, " B"]:
    """An id of each row drawn from softmax(logits / temperature), cut as asked; each row with its own key alone.

    Args:
        logits: float32.
        keys: one random key a row.
        temperature: above 0; may be traced.
        top_k: only the k likeliest, of equals those with the lowest ids; all where there are fewer. Static.
        top_p: only the smallest set of likeliest ids whose probabilities, among the k, sum to at least this; in (0, 1];
            may be traced.
        implementation: "xla" or "reference", which sorts all logits and for the same key draws other ids; None for the
            best.

    Raises:
        ValueError: shapes that do not fit, or another implementation.
    """
    if logits.ndim != 2 or keys.shape[:1] != logits.shape[:1] or logits.shape[1] == 0:
        raise ValueError(
            f"There must be one random key for each row of logits [B, V]; got {keys.shape} and {logits.shape}. "
            "Split the key, or add an axis."
        )
    limit = None if top_p is None else jnp.asarray(top_p, jnp.float32)
    return OPERATION(logits / temperature, keys, limit, top_k=top_k, implementation=implementation)
