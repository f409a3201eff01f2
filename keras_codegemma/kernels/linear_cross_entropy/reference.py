"""What a linear read-out says of its rows' labels, as in a textbook: all logits at once, float32."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, dequantize

Table = Float[Array, "V D"] | QuantizedWeight
"""A read-out: floats of the dtype of the hidden states, or 8 or 4 bits that nothing is learned through."""


class Statistics(NamedTuple):
    """Of each row's logits z, everything that losses and metrics need.

    Attributes:
        log_total: log sum exp z, float32, in nats.
        label_logit: z[label], float32; 0 where the label is outside [0, V), but for the reference.
        best_logit: the largest of z, float32; no gradient.
        best: its index, int32, the first of equals.
    """

    log_total: Float[Array, " M"]
    label_logit: Float[Array, " M"]
    best_logit: Float[Array, " M"]
    best: Int[Array, " M"]


def statistics(hidden: Float[Array, "M D"], table: Table, labels: Int[Array, " M"]) -> Statistics:
    """The statistics of z = hidden table^T, from [M, V] logits."""
    rows = dequantize(table) if isinstance(table, QuantizedWeight) else table.astype(jnp.float32)
    logits = jnp.einsum("md,vd->mv", hidden.astype(jnp.float32), rows, precision="highest")
    return Statistics(
        log_total=jax.nn.logsumexp(logits, axis=-1),
        label_logit=jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0],
        best_logit=jax.lax.stop_gradient(logits.max(-1)),
        best=jnp.argmax(logits, axis=-1).astype(jnp.int32),
    )
