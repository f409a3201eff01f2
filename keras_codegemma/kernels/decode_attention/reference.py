"""Attention of a few new tokens over a cache, as in the paper: all scores at once, float32."""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int

_MASKED = -1e30


def decode_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    lengths: Int[Array, " B"],
    key_scale: Float[Array, "B S K"] | None = None,
    value_scale: Float[Array, "B S K"] | None = None,
) -> Float[Array, "B T N H"]:
    """Query t of row b stands at position lengths[b] + t and sees the slots up to it; its own key is in the cache.

    Args:
        query: not yet scaled.
        key: cached keys; with a scale, integers that it multiplies.
        value: likewise.
        lengths: tokens of each row before these; lengths + T <= S.
        key_scale: float32, one for each slot and head, of an int8 cache.
        value_scale: likewise.

    Returns:
        float32, whatever the operands are. Slots beyond lengths + T do not matter, whatever they hold.
    """
    _, time, heads, width = query.shape
    slots, groups = key.shape[1], heads // key.shape[2]
    position = lengths[:, None] + jnp.arange(time)  # B T
    allowed = jnp.arange(slots) <= position[:, :, None]  # B T S
    key, value = (_scaled(x, scale) for x, scale in ((key, key_scale), (value, value_scale)))
    written = (jnp.arange(slots) < lengths[:, None] + time)[:, :, None, None]
    key, value = (jnp.repeat(jnp.where(written, x, 0.0), groups, axis=2) for x in (key, value))
    scores = jnp.einsum("btnh,bsnh->bnts", query.astype(jnp.float32), key, precision="highest") * width**-0.5
    weights = jax.nn.softmax(jnp.where(allowed[:, None], scores, _MASKED), axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, value, precision="highest")


def _scaled(x: Array, scale: Array | None) -> Float[Array, "B S K H"]:
    wide = x.astype(jnp.float32)
    return wide if scale is None else wide * scale[..., None]
