"""An id drawn from a whole vocabulary with two random numbers: first its block, then its place in it.

A random number for every id, as `jax.random.categorical` makes them, costs more than all else here.
"""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int

BLOCK = 512


def draw(logits: Float[Array, "B V"], keys: Array) -> Int[Array, " B"]:
    """An id of each row with probability softmax(logits), by inverting the distribution function.

    Args:
        logits: -inf where an id may not be drawn; not everywhere.
        keys: one random key a row.
    """
    batch, size = logits.shape
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    weights = jnp.pad(weights, ((0, 0), (0, -size % BLOCK))).reshape(batch, -1, BLOCK)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)  # in [0, 1)
    block = _invert(weights.sum(-1), uniform[:, 0])
    within = jnp.take_along_axis(weights, block[:, None, None], axis=1)[:, 0]
    return (block * BLOCK + _invert(within, uniform[:, 1])).astype(jnp.int32)


def _invert(weights: Float[Array, "B C"], uniform: Float[Array, " B"]) -> Int[Array, " B"]:
    """The first place at which the running sum exceeds that share of the whole, among those of a weight above 0.

    Running sums are made in another order at each place, so one of a weight of 0 may differ from its neighbour's.
    """
    sums = jnp.where(weights > 0, jnp.cumsum(weights, axis=-1), 0.0)
    whole = sums.max(-1)
    target = jnp.minimum(uniform * whole, jnp.nextafter(whole, 0.0))
    return jnp.argmax(sums > target[:, None], axis=-1)
