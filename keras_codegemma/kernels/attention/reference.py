"""Causal attention within segments, as in the paper: all scores at once, float32.

Memory grows with T squared; the other versions give the same numbers without it.
"""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int

# Finite, so that a row without any allowed key would give a finite, unused result instead of NaN.
_MASKED = -1e30


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"],
) -> Float[Array, "B T N H"]:
    """softmax(q k / sqrt(H)) v over the keys at or before each query that have its segment id.

    Query head n reads key-value head n // (N / K). The result is float32, whatever the operands are.
    """
    _batch, time, heads, width = query.shape
    groups = heads // key.shape[2]
    query, key, value = (x.astype(jnp.float32) for x in (query, key, value))
    key, value = (jnp.repeat(x, groups, axis=2) for x in (key, value))  # B T N H
    scores = jnp.einsum("btnh,bsnh->bnts", query, key, precision="highest") * width**-0.5
    index = jnp.arange(time)
    allowed = (index[:, None] >= index) & (segment_ids[:, :, None] == segment_ids[:, None, :])  # B T S
    weights = jax.nn.softmax(jnp.where(allowed[:, None], scores, _MASKED), axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, value, precision="highest")
