"""Cross-entropy of a linear read-out over blocks of the vocabulary, on any platform.

Never more than [M, block] logits exist. The backward pass computes each block of them again: four products of the size
M x V x D in all where the plain version has three, and 4 M V bytes of memory less, three or four times over.
"""

from functools import partial
from typing import cast

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int

# A block of logits for 8192 rows is 64 MiB; 256,000 rows are 125 blocks without a rest.
DEFAULT_BLOCK = 2048

_Statistics = tuple[Array, Array, Array]
"""Loss, log sum exp and argmax of each row."""


def linear_cross_entropy(
    hidden: Float[Array, "M D"],
    table: Float[Array, "V D"],
    labels: Int[Array, " M"],
    *,
    z_loss: float = 0.0,
    block: int = DEFAULT_BLOCK,
) -> tuple[Float[Array, " M"], Int[Array, " M"]]:
    """As `reference.linear_cross_entropy`; products in the operands' dtype, sums in float32.

    Args:
        hidden: rows that are to predict `labels`.
        table: the embedding, of the dtype of `hidden`.
        labels: in [0, V).
        z_loss: weight of the squared logarithm of the softmax's denominator.
        block: rows of the table at a time; a table that it does not divide is copied once, to be padded.
    """
    block = min(block, table.shape[0])
    padded = jnp.pad(table, ((0, -table.shape[0] % block), (0, 0)))
    loss, _, best = cast(_Statistics, _loss(hidden, padded, labels, table.shape[0], z_loss, block))
    return loss, best


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _loss(
    hidden: Array, table: Array, labels: Array, rows: int, z_loss: float, block: int
) -> tuple[Array, Array, Array]:
    log_total, of_label, best = statistics(hidden, table, labels, rows=rows, block=block)
    return log_total - of_label + z_loss * log_total**2, log_total, best


def statistics(
    hidden: Float[Array, "M D"], table: Float[Array, "V D"], labels: Int[Array, " M"], *, rows: int, block: int
) -> tuple[Float[Array, " M"], Float[Array, " M"], Int[Array, " M"]]:
    """Log sum exp of each row's logits, the label's logit, and the argmax; of the table's first `rows` rows."""
    count = hidden.shape[0]
    start = (
        jnp.full(count, -jnp.inf),
        jnp.zeros(count, jnp.float32),
        jnp.zeros(count, jnp.float32),
        jnp.zeros(count, jnp.int32),
    )

    # Invariant after block i: `total` is relative to exp(`highest`), both over the rows of blocks 0 .. i.
    def add_block(running: tuple[Array, ...], index: Int[Array, ""]) -> tuple[tuple[Array, ...], None]:
        highest, total, of_label, best = running
        logits, first = _block_logits(hidden, table, index, rows=rows, block=block)
        block_highest = logits.max(-1)
        new_highest = jnp.maximum(highest, block_highest)
        total = total * jnp.exp(highest - new_highest) + jnp.exp(logits - new_highest[:, None]).sum(-1)
        best = jnp.where(block_highest > highest, first + jnp.argmax(logits, -1).astype(jnp.int32), best)
        return (new_highest, total, of_label + _at_label(logits, labels, first, block=block), best), None

    blocks = jnp.arange(table.shape[0] // block, dtype=jnp.int32)
    (highest, total, of_label, best), _ = jax.lax.scan(add_block, start, blocks)
    return highest + jnp.log(total), of_label, best


def backward(
    saved: tuple[Array, Array, Array, Array],
    gradient: Float[Array, " M"],
    *,
    rows: int,
    z_loss: float,
    block: int,
) -> tuple[Float[Array, "M D"], Float[Array, "V D"]]:
    """Gradients of hidden states and table, from the gradient of each row's loss.

    d loss / d z[v] = softmax(z)[v] (1 + 2 z_loss L) - [v = label].

    Args:
        saved: hidden states, table (its length a multiple of `block`), labels, and L.
        gradient: of the losses.
        rows: rows of the table that are real.
        z_loss: as in the forward pass.
        block: rows of the table at a time.
    """
    hidden, table, labels, log_total = saved
    of_softmax = gradient * (1 + 2 * z_loss * log_total)

    def add_block(hidden_sum: Array, index: Int[Array, ""]) -> tuple[Array, Array]:
        logits, first = _block_logits(hidden, table, index, rows=rows, block=block)
        of_logits = jnp.exp(logits - log_total[:, None]) * of_softmax[:, None]
        is_label = (labels - first)[:, None] == jnp.arange(block)
        of_logits = jnp.where(is_label, of_logits - gradient[:, None], of_logits).astype(hidden.dtype)
        hidden_sum += jnp.einsum(
            "mv,vd->md", of_logits, _block_rows(table, index, block), preferred_element_type=jnp.float32
        )
        of_table = jnp.einsum("mv,md->vd", of_logits, hidden, preferred_element_type=jnp.float32)
        return hidden_sum, of_table.astype(table.dtype)

    blocks = jnp.arange(table.shape[0] // block, dtype=jnp.int32)
    of_hidden, of_table = jax.lax.scan(add_block, jnp.zeros(hidden.shape, jnp.float32), blocks)
    return of_hidden.astype(hidden.dtype), of_table.reshape(table.shape)


def _forward(
    hidden: Array, table: Array, labels: Array, rows: int, z_loss: float, block: int
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    loss, log_total, best = cast(_Statistics, _loss(hidden, table, labels, rows, z_loss, block))
    return (loss, log_total, best), (hidden, table, labels, log_total)


def _backward(
    rows: int, z_loss: float, block: int, saved: tuple[Array, ...], gradients: tuple[Array, ...]
) -> tuple[Array | None, ...]:
    of_hidden, of_table = backward(saved, gradients[0], rows=rows, z_loss=z_loss, block=block)  # type: ignore[arg-type]
    return of_hidden, of_table, None


_loss.defvjp(_forward, _backward)


def _block_rows(table: Float[Array, "V D"], index: Int[Array, ""], block: int) -> Float[Array, "block D"]:
    return jax.lax.dynamic_slice_in_dim(table, index * block, block, axis=0)


def _block_logits(
    hidden: Float[Array, "M D"], table: Float[Array, "V D"], index: Int[Array, ""], *, rows: int, block: int
) -> tuple[Float[Array, "M block"], Int[Array, ""]]:
    """Logits of one block, -inf for rows that only fill it up, and the number of its first row."""
    first = index * block
    logits = jnp.einsum("md,vd->mv", hidden, _block_rows(table, index, block), preferred_element_type=jnp.float32)
    if table.shape[0] == rows:
        return logits, first
    return jnp.where(first + jnp.arange(block) < rows, logits, -jnp.inf), first


def _at_label(
    logits: Float[Array, "M block"], labels: Int[Array, " M"], first: Int[Array, ""], *, block: int
) -> Float[Array, " M"]:
    """The label's logit where the label is in this block, else 0."""
    inside = labels - first
    value = jnp.take_along_axis(logits, jnp.clip(inside, 0, block - 1)[:, None], axis=-1)[:, 0]
    return jnp.where((inside >= 0) & (inside < block), value, 0.0)
