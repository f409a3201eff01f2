"""Statistics of a linear read-out on TPU: the forward pass without a logit in HBM.

One pass over the vocabulary per tile of rows keeps the running softmax, the label's logit, and the largest with its
place in VMEM:

    grid (rows, vocabulary)    rows 0: v 0 -> v 1 -> ... -> write      the table is read once per tile of rows
                               rows 1: v 0 -> v 1 -> ... -> write

The backward pass is the chunked one. It is bound by its three products, as two Pallas kernels would be, but those would
need a fourth: the gradients of hidden states and of the table are summed along different axes, so each kernel would
compute the logits for itself. The price is [M, block] in bfloat16 written and read per block, about a twelfth of the
time of the products at D = 2048 by the chip's published figures (197 TFLOP/s, 819 GB/s for v5e; not measured).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.linear_cross_entropy import chunked
from keras_codegemma.kernels.linear_cross_entropy.reference import Statistics
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight

LANES = 128
SUBLANES = 16
"""Rows of a bfloat16 register; row tiles are multiples of it."""

VMEM_LIMIT_BYTES = 64 * 2**20
"""Of the 128 MiB of a v5e or v6e core, so that two kernels' buffers may overlap."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Hidden states and rows of the table that one step holds in VMEM."""

    rows: int = 1024
    vocabulary: int = 512

    def __post_init__(self):
        if self.rows % SUBLANES or self.vocabulary % LANES or min(self.rows, self.vocabulary) <= 0:
            raise ValueError(
                f"Tiles must be multiples of {SUBLANES} rows and {LANES} vocabulary entries; got "
                f"rows={self.rows}, vocabulary={self.vocabulary}. Round them up."
            )


def vmem_bytes(tiles: Tiles, *, width: int, itemsize: int) -> int:
    """Bytes of VMEM that the kernel holds at once, for hidden states of a width in elements."""
    return (
        2 * tiles.rows * width * itemsize  # hidden states, double-buffered
        + 2 * tiles.vocabulary * width * itemsize  # rows of the table, double-buffered
        + 3 * tiles.rows * tiles.vocabulary * 4  # logits, their exponentials, their numbers
        + 2 * 5 * tiles.rows * LANES * 4  # labels and four results: a column takes whole registers; double-buffered
        + 4 * tiles.rows * LANES * 4  # the four running values
    )


def supports(hidden: Array | jax.ShapeDtypeStruct, table: Array | jax.ShapeDtypeStruct | QuantizedWeight) -> str | None:
    """Why these shapes ([M, D] and [V, D]) and dtypes cannot run, or None when they can."""
    if isinstance(table, QuantizedWeight):
        return f"the table must be in floats, got {table.bits} bits"
    width = hidden.shape[1]
    if width % LANES:
        return f"the width must be a multiple of {LANES}, got {width}"
    if hidden.dtype not in (jnp.bfloat16, jnp.float32) or table.dtype != hidden.dtype:
        return f"hidden states and table must both be bfloat16 or float32, got {hidden.dtype} and {table.dtype}"
    needed = vmem_bytes(Tiles(), width=width, itemsize=hidden.dtype.itemsize)
    if needed > VMEM_LIMIT_BYTES:
        return f"the kernel would need {needed} bytes of VMEM of {VMEM_LIMIT_BYTES}"
    return None


def statistics(
    hidden: Float[Array, "M D"],
    table: Float[Array, "V D"],
    labels: Int[Array, " M"],
    *,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> Statistics:
    """As `reference.statistics`; products in the operands' dtype, sums in float32.

    Args:
        hidden: rows that are to predict `labels`.
        table: the embedding, of the dtype of `hidden`.
        labels: in [0, V); of one outside the logit is 0.
        tiles: the defaults when None.
        interpret: run on any platform, slowly, for tests.
    """
    return cast(Statistics, _statistics(hidden, table, labels, tiles or Tiles(), interpret))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _statistics(hidden: Array, table: Array, labels: Array, tiles: Tiles, interpret: bool) -> Statistics:
    return forward(hidden, table, labels, tiles=tiles, interpret=interpret)


def _forward_rule(
    hidden: Any, table: Any, labels: Any, tiles: Tiles, interpret: bool
) -> tuple[Statistics, chunked.Residuals]:
    operands, mark = chunked.residuals(hidden, table, labels)
    found = forward(*operands, tiles=tiles, interpret=interpret)  # pyright: ignore[reportArgumentType] (floats)
    return found, (*operands, found.log_total, mark)


def _backward_rule(
    tiles: Tiles, interpret: bool, saved: chunked.Residuals, gradient: Any
) -> tuple[Array, Array | None, None]:
    return chunked.gradients(saved, gradient, block=chunked.block_of(saved[1].shape[0]), as_bits=False)


_statistics.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)


def forward(
    hidden: Float[Array, "M D"], table: Float[Array, "V D"], labels: Int[Array, " M"], *, tiles: Tiles, interpret: bool
) -> Statistics:
    """The statistics, without a rule for gradients."""
    (count, width), vocabulary = hidden.shape, table.shape[0]
    column = pl.BlockSpec((tiles.rows, 1), lambda i, v: (i, 0))
    results = pl.pallas_call(
        partial(_kernel, vocabulary=vocabulary, tile=tiles.vocabulary),
        grid=(pl.cdiv(count, tiles.rows), pl.cdiv(vocabulary, tiles.vocabulary)),
        in_specs=[
            pl.BlockSpec((tiles.rows, width), lambda i, v: (i, 0)),
            pl.BlockSpec((tiles.vocabulary, width), lambda i, v: (v, 0)),
            column,
        ],
        out_specs=[column] * 4,
        out_shape=[jax.ShapeDtypeStruct((count, 1), dtype) for dtype in (*[jnp.float32] * 3, jnp.int32)],
        scratch_shapes=[
            *[pltpu.VMEM((tiles.rows, 1), jnp.float32)] * 3,
            pltpu.VMEM((tiles.rows, 1), jnp.int32),
        ],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=VMEM_LIMIT_BYTES
        ),
        cost_estimate=pl.CostEstimate(
            flops=2 * count * width * vocabulary,
            transcendentals=count * vocabulary,
            bytes_accessed=hidden.nbytes + table.nbytes * pl.cdiv(count, tiles.rows),
        ),
        interpret=interpret,
        name="linear_cross_entropy",
    )(hidden, table, labels[:, None].astype(jnp.int32))
    return Statistics(*(x[:, 0] for x in results))


def _kernel(
    hidden_ref,
    table_ref,
    label_ref,
    log_total_ref,
    of_label_ref,
    best_logit_ref,
    best_ref,
    highest,
    total,
    found,
    argmax,
    *,
    vocabulary,
    tile,
):
    step = pl.program_id(1)

    @pl.when(step == 0)
    def _init():
        highest[...] = jnp.full_like(highest, -jnp.inf)
        total[...] = jnp.zeros_like(total)
        found[...] = jnp.zeros_like(found)
        argmax[...] = jnp.zeros_like(argmax)

    _add_tile(hidden_ref, table_ref, label_ref, highest, total, found, argmax, first=step * tile, vocabulary=vocabulary)

    @pl.when(step == pl.num_programs(1) - 1)
    def _finish():
        log_total_ref[...] = highest[...] + jnp.log(total[...])
        of_label_ref[...] = found[...]
        best_logit_ref[...] = highest[...]
        best_ref[...] = argmax[...]


def _add_tile(hidden_ref, table_ref, label_ref, highest, total, found, argmax, *, first, vocabulary):
    """Invariant: afterwards the four hold the statistics of the vocabulary up to and with this tile."""
    logits = jax.lax.dot_general(
        hidden_ref[...], table_ref[...], (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
    )
    numbers = first + jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
    # What the last tile reads beyond the table is anything, NaN included; `where` does not let it through.
    logits = jnp.where(numbers < vocabulary, logits, -jnp.inf)
    tile_highest = logits.max(-1, keepdims=True)
    old = highest[...]
    new = jnp.maximum(old, tile_highest)
    at_highest = jnp.where(logits == tile_highest, numbers, vocabulary).min(-1, keepdims=True)
    argmax[...] = jnp.where(tile_highest > old, at_highest, argmax[...])
    total[...] = total[...] * jnp.exp(old - new) + jnp.exp(logits - new).sum(-1, keepdims=True)
    found[...] += jnp.where(numbers == label_ref[...], logits, 0.0).sum(-1, keepdims=True)
    highest[...] = new
