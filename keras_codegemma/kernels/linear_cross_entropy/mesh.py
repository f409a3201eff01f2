"""Statistics of a linear read-out on a mesh: rows split over the batch axes, the vocabulary over the model axis.

Each device takes its own rows and its own part of the vocabulary, and three numbers a row are exchanged, no logit:

    log_total    log sum over parts of exp        label_logit  sum: 0 where the label is in another part
    best         the first part's with the largest best_logit

A table whose width is stored in parts is gathered inside, so that the transposed program gives each device the part of
the gradient that it stores.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.linear_cross_entropy.reference import Statistics, Table
from keras_codegemma.kernels.partition import Storage
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight

_NO_ENTRY = 2**31 - 1


def over_mesh(
    statistics: Callable[[Array, Any, Array], Statistics],
    hidden: Float[Array, "B T D"],
    table: Table,
    labels: Int[Array, "B T"],
    storage: Storage,
) -> Statistics:
    """The statistics of [B, T] rows, each device's by its own call.

    Args:
        statistics: called on each device with rows [M, D], its part of the table, and labels counted from its start.
        hidden: rows, of which B is split where the batch axes divide it.
        table: as it is stored; a quantised one's width is gathered beforehand.
        labels: in [0, V).
        storage: of the table.
    """
    partition = storage.partition
    rows = jax.P(partition.batch_of(hidden.shape[0]))
    vocabulary_axis = storage.axes[0] if storage.axes[0] == partition.model else None
    width_axis = None if isinstance(table, QuantizedWeight) else storage.width_axis
    split = jax.P(vocabulary_axis) if isinstance(table, QuantizedWeight) else jax.P(vocabulary_axis, width_axis)

    def local(hidden: Array, table: Any, labels: Array) -> Statistics:
        if width_axis is not None:
            table = jax.lax.all_gather(table, width_axis, axis=1, tiled=True)
        flat = hidden.reshape(-1, hidden.shape[-1])
        first = 0 if vocabulary_axis is None else jax.lax.axis_index(vocabulary_axis) * table.shape[0]
        found = statistics(flat, table, labels.reshape(-1) - first)
        if vocabulary_axis is not None:
            found = _joined(found, first, vocabulary_axis)
        return Statistics(*(x.reshape(labels.shape) for x in found))

    whole = jax.shard_map(local, mesh=partition.mesh, in_specs=(rows, split, rows), out_specs=rows, check_vma=False)
    # Outside of jit, JAX 0.10 cannot run a rule with symbolic zeros within shard_map.
    return jax.jit(whole)(hidden, table, labels)


def _joined(part: Statistics, first: Int[Array, ""] | int, axis: str) -> Statistics:
    """The statistics of all parts, from this device's whose entries begin at `first`."""
    highest = jax.lax.pmax(jax.lax.stop_gradient(part.log_total), axis)
    best_logit = jax.lax.pmax(jax.lax.stop_gradient(part.best_logit), axis)
    mine = jnp.where(part.best_logit == best_logit, part.best + first, _NO_ENTRY)
    return Statistics(
        log_total=highest + jnp.log(jax.lax.psum(jnp.exp(part.log_total - highest), axis)),
        label_logit=jax.lax.psum(part.label_logit, axis),
        best_logit=best_logit,
        best=jax.lax.pmin(mine, axis),
    )
