"""Statistics of a linear read-out over blocks of the vocabulary, on any platform.

Never more than [M, block] logits exist. The backward pass computes each block of them again: four products of the size
M x V x D in all where the plain version has three, and 4 M V bytes of memory less, three or four times over. A table
that nothing is learned for, as under LoRA, costs no product; a quantised one is made floats a block at a time.
"""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels import xla_cpu
from keras_codegemma.kernels.linear_cross_entropy.reference import Statistics, Table
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, dequantize
from keras_codegemma.kernels.weight_gradient import weight_gradient

# A block of logits for 8192 rows is 64 MiB; 256,000 rows are 125 blocks without a rest.
DEFAULT_BLOCK = 2048
_SMALLEST_BLOCK = 256
_LANES = 128


def statistics(
    hidden: Float[Array, "M D"],
    table: Table,
    labels: Int[Array, " M"],
    *,
    block: int | None = None,
    as_bits: bool = False,
) -> Statistics:
    """As `reference.statistics`; products in the dtype of `hidden`, sums in float32.

    Args:
        hidden: rows that are to predict `labels`.
        table: the embedding, of the dtype of `hidden`, or quantised.
        labels: in [0, V); of one outside the logit is 0.
        block: rows of the table at a time; None for `block_of`.
        as_bits: cut blocks of a bfloat16 table, and join those of its gradient, as 16-bit integers. XLA's compiler for
            CPUs makes a whole bfloat16 array float32 to cut or change a part of it; others would only copy once more.
    """
    rows = table.shape[0]
    return cast(Statistics, _statistics(hidden, table, labels, min(block or block_of(rows), rows), as_bits))


def block_of(rows: int) -> int:
    """Rows of the table at a time: the largest block that divides them, of whole registers if there is one.

    A table that none divides is copied once, to be filled up.
    """
    for multiple in (_LANES, 1):
        for block in range(DEFAULT_BLOCK, _SMALLEST_BLOCK - 1, -multiple):
            if rows % block == 0:
                return block
    return min(rows, DEFAULT_BLOCK)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _statistics(hidden: Array, table: Table, labels: Array, block: int, as_bits: bool) -> Statistics:
    return forward(hidden, table, labels, block=block, as_bits=as_bits)


def forward(
    hidden: Float[Array, "M D"], table: Table, labels: Int[Array, " M"], *, block: int, as_bits: bool
) -> Statistics:
    """The statistics, without a rule for gradients."""
    count, rows = hidden.shape[0], table.shape[0]
    padded = _filled_up(table, block)
    start = (
        jnp.full(count, -jnp.inf),
        jnp.zeros(count, jnp.float32),
        jnp.zeros(count, jnp.float32),
        jnp.zeros(count, jnp.int32),
    )

    # Invariant after block i: `total` is relative to exp(`highest`), both over the rows of blocks 0 .. i.
    def add_block(running: tuple[Array, ...], index: Int[Array, ""]) -> tuple[tuple[Array, ...], None]:
        highest, total, of_label, best = running
        logits, first = _block_logits(
            hidden, _block_rows(padded, index, block, hidden.dtype, as_bits), index, rows=rows
        )
        block_highest = logits.max(-1)
        new_highest = jnp.maximum(highest, block_highest)
        total = total * jnp.exp(highest - new_highest) + jnp.exp(logits - new_highest[:, None]).sum(-1)
        best = jnp.where(block_highest > highest, first + xla_cpu.first_true(logits == block_highest[:, None]), best)
        return (new_highest, total, of_label + _at_label(logits, labels, first), best), None

    blocks = jnp.arange(padded.shape[0] // block, dtype=jnp.int32)
    (highest, total, of_label, best), _ = jax.lax.scan(add_block, start, blocks)
    return Statistics(log_total=highest + jnp.log(total), label_logit=of_label, best_logit=highest, best=best)


def backward(
    hidden: Float[Array, "M D"],
    table: Table,
    labels: Int[Array, " M"],
    log_total: Float[Array, " M"],
    gradient: Statistics,
    *,
    of_table: bool,
    block: int,
    as_bits: bool,
) -> tuple[Float[Array, "M D"], Float[Array, "V D"] | None]:
    """Gradients of hidden states and table, from those of `log_total` and `label_logit`.

    With g of the former and h of the latter: d / d z[v] = g softmax(z)[v] + h [v = label].

    Args:
        hidden: as in the forward pass.
        table: likewise.
        labels: likewise.
        log_total: its result.
        gradient: of its results.
        of_table: whether the table's is wanted; it is None else.
        block: rows of the table at a time.
        as_bits: as `statistics` takes it.
    """
    rows = table.shape[0]
    padded = _filled_up(table, block)
    of_total, of_label = gradient.log_total, gradient.label_logit

    def add_block(hidden_sum: Array, index: Int[Array, ""]) -> tuple[Array, Array | None]:
        block_rows = _block_rows(padded, index, block, hidden.dtype, as_bits)
        logits, first = _block_logits(hidden, block_rows, index, rows=rows)
        of_logits = jnp.exp(logits - log_total[:, None]) * of_total[:, None]
        is_label = (labels - first)[:, None] == jnp.arange(block)
        of_logits = jnp.where(is_label, of_logits + of_label[:, None], of_logits).astype(hidden.dtype)
        hidden_sum += jnp.einsum("mv,vd->md", of_logits, block_rows, preferred_element_type=jnp.float32)
        if not of_table:
            return hidden_sum, None
        added = weight_gradient("mv,md->vd", of_logits, hidden).astype(hidden.dtype)
        return hidden_sum, xla_cpu.as_bits(added) if as_bits else added

    blocks = jnp.arange(padded.shape[0] // block, dtype=jnp.int32)
    of_hidden, by_block = jax.lax.scan(add_block, jnp.zeros(hidden.shape, jnp.float32), blocks)
    whole = None if by_block is None else xla_cpu.from_bits(by_block.reshape(padded.shape)[:rows], hidden.dtype)
    return of_hidden.astype(hidden.dtype), whole


Residuals = tuple[Array, Table, Array, Array, Array | None]
"""Hidden states, table, labels, log totals; and, where the table's gradient is wanted, any array: a static mark."""


def residuals(hidden: Any, table: Any, labels: Any) -> tuple[tuple[Array, Table, Array], Array | None]:
    """The operands' values, and the mark of `Residuals`, from what JAX hands to a rule with symbolic zeros."""
    learned = not isinstance(table, QuantizedWeight) and table.perturbed
    values = jax.tree.map(lambda x: x.value, (hidden, table, labels), is_leaf=lambda x: hasattr(x, "perturbed"))
    return values, jnp.zeros(()) if learned else None


def gradients(saved: Residuals, gradient: Any, *, block: int, as_bits: bool) -> tuple[Array, Array | None, None]:
    """The end of a rule for gradients: of hidden states, table and labels."""
    hidden, table, labels, log_total, mark = saved
    whole = without_symbols(gradient)
    of_hidden, of_table = backward(
        hidden, table, labels, log_total, whole, of_table=mark is not None, block=block, as_bits=as_bits
    )
    return of_hidden, of_table, None


def without_symbols(gradient: Any) -> Statistics:
    """Gradients of statistics with arrays for the zeros that JAX hands over as symbols."""
    is_zero = [isinstance(g, jax.custom_derivatives.SymbolicZero) for g in gradient]
    arrays = (jnp.zeros(g.shape, jnp.float32) if zero else g for g, zero in zip(gradient, is_zero, strict=True))
    return Statistics(*arrays)


def _forward_rule(hidden: Any, table: Any, labels: Any, block: int, as_bits: bool) -> tuple[Statistics, Residuals]:
    operands, mark = residuals(hidden, table, labels)
    found = forward(*operands, block=block, as_bits=as_bits)
    return found, (*operands, found.log_total, mark)


def _backward_rule(block: int, as_bits: bool, saved: Residuals, gradient: Any) -> tuple[Array, Array | None, None]:
    return gradients(saved, gradient, block=block, as_bits=as_bits)


_statistics.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)


def _filled_up(table: Table, block: int) -> Table:
    missing = -table.shape[0] % block
    if not missing:
        return table
    return jax.tree.map(lambda x: jnp.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1))), table)


def _block_rows(table: Table, index: Int[Array, ""], block: int, dtype: Any, as_bits: bool) -> Float[Array, "block D"]:
    def rows_of(x: Array) -> Array:
        rows = jax.lax.dynamic_slice_in_dim(xla_cpu.as_bits(x) if as_bits else x, index * block, block, axis=0)
        return xla_cpu.from_bits(rows, x.dtype)

    rows = jax.tree.map(rows_of, table)
    return dequantize(rows).astype(dtype) if isinstance(rows, QuantizedWeight) else rows


def _block_logits(
    hidden: Float[Array, "M D"], block_rows: Float[Array, "block D"], index: Int[Array, ""], *, rows: int
) -> tuple[Float[Array, "M block"], Int[Array, ""]]:
    """Logits of one block, -inf for rows that only fill it up, and the number of its first row."""
    block = block_rows.shape[0]
    first = index * block
    logits = jnp.einsum("md,vd->mv", hidden, block_rows, preferred_element_type=jnp.float32)
    if rows % block == 0:
        return logits, first
    return jnp.where(first + jnp.arange(block) < rows, logits, -jnp.inf), first


def _at_label(logits: Float[Array, "M block"], labels: Int[Array, " M"], first: Int[Array, ""]) -> Float[Array, " M"]:
    """The label's logit where the label is in this block, else 0."""
    inside, block = labels - first, logits.shape[1]
    value = jnp.take_along_axis(logits, jnp.clip(inside, 0, block - 1)[:, None], axis=-1)[:, 0]
    return jnp.where((inside >= 0) & (inside < block), value, 0.0)
