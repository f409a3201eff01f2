"""Which ids may be drawn, as in the definitions: the whole vocabulary sorted."""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int


def candidates(
    logits: Float[Array, "B V"], top_p: Float[Array, ""], *, top_k: int | None
) -> tuple[Float[Array, "B C"], Int[Array, "B C"]]:
    """The k likeliest ids, or all, likeliest first, with the logit of each or -inf where it may not be drawn.

    With `top_p` (Holtzman et al., 2020) the smallest set of likeliest ids whose probabilities, among the k, sum to at
    least it may be drawn; the first always.
    """
    size = logits.shape[-1]
    values, ids = jax.lax.top_k(logits, size if top_k is None else min(top_k, size))
    probabilities = jax.nn.softmax(values, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    return jnp.where((before < top_p).at[:, 0].set(True), values, -jnp.inf), ids
