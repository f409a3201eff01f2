"""How fast the kernels are on the GPU at hand, of what the card can do, and beside the compiler's own versions.

    python -m tests.benchmarks.gpu_kernels --write

Before it, `CODEGEMMA_TEST_PLATFORM=cuda python -m pytest tests/kernels -k triton` says whether they are right. What is
bound by memory is compared with a copy of 1 GiB by XLA, what is bound by arithmetic with the card's stated peak.
"""

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array
from keras_codegemma.kernels.attention import attention
from keras_codegemma.kernels.decode_attention import decode_attention
from keras_codegemma.kernels.linear_cross_entropy import linear_cross_entropy
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, quantized_matmul, quantized_shapes
from keras_codegemma.planning.chips import CHIPS

RESULTS = Path(__file__).parents[2] / "keras_codegemma" / "kernels" / "RESULTS.md"
TITLE = "## Kernels on a GPU"
LAYERS = 32
"""Weights or caches that one program goes through: when one comes again, it is no longer in the second-level cache."""
_TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One kernel at one shape.

    Attributes:
        name: of the kernel and the shape.
        sides: ours first, then the compiler's version; each a function of the operands.
        operands: pytrees of `ShapeDtypeStruct`s; integers of 32 bits are filled with `integer`.
        integer: lengths, segments or labels.
        bytes: that the program must move; or
        flops: that it must do.
    """

    name: str
    sides: Mapping[str, Callable[..., Any]]
    operands: tuple[Any, ...]
    integer: int = 0
    bytes: float = 0.0
    flops: float = 0.0


def measures() -> list[Measure]:
    """Products of one row, attention over a full cache, attention and the loss of 2B in training."""
    return [
        *(product(mode) for mode in ("int8", "int4")),
        decoding(batch=8, heads=8, kv_heads=1),
        decoding(batch=1, heads=16, kv_heads=16),
        training_attention(batch=4, time=2048),
        training_attention(batch=1, time=8192),
        loss(),
    ]


def product(mode: str, outputs: int = 16_384, inputs: int = 2048) -> Measure:
    """One row times the weights of a gate of 2B, again and again."""
    data, scale = quantized_shapes((outputs, inputs), mode, 128 if mode == "int4" else 0)
    weights = (QuantizedWeight(data=data, scale=scale),) * LAYERS  # pyright: ignore[reportArgumentType]

    def all_layers(x: Array, weights: tuple[QuantizedWeight, ...], *, side: str) -> Array:
        for weight in weights:
            (y,) = quantized_matmul(x, [weight], implementation=side)
            x = x + y[:, :inputs] * jnp.asarray(_TINY, x.dtype)
        return x

    return Measure(
        name=f"quantized_matmul {mode}, 1 row, {inputs} to {outputs}",
        sides={side: partial(all_layers, side=side) for side in ("triton", "xla")},
        operands=(jax.ShapeDtypeStruct((1, inputs), jnp.bfloat16), weights),
        bytes=float(LAYERS * sum(x.size * x.dtype.itemsize for x in (data, scale))),
    )


def decoding(*, batch: int, heads: int, kv_heads: int, slots: int = 8192, width: int = 256) -> Measure:
    """One token a row over full caches."""
    query = jax.ShapeDtypeStruct((batch, 1, heads, width), jnp.bfloat16)
    cache = jax.ShapeDtypeStruct((batch, slots, kv_heads, width), jnp.bfloat16)
    layers = max(1, LAYERS * 8 // (batch * kv_heads))

    def all_layers(query: Array, caches: tuple[tuple[Array, Array], ...], lengths: Array, *, side: str) -> Array:
        for key, value in caches:
            mixed = decode_attention(query, key, value, lengths, implementation=side)
            query = query + mixed * jnp.asarray(_TINY, query.dtype)
        return query

    return Measure(
        name=f"decode_attention, {batch} rows, {heads} heads over {kv_heads}, {slots} of {slots}",
        sides={side: partial(all_layers, side=side) for side in ("triton", "blocks")},
        operands=(query, ((cache, cache),) * layers, jax.ShapeDtypeStruct((batch,), jnp.int32)),
        integer=slots - 1,
        bytes=float(layers * 2 * cache.size * cache.dtype.itemsize),
    )


def training_attention(*, batch: int, time: int, heads: int = 8, width: int = 256) -> Measure:
    """Forwards and backwards, of one document a row."""
    query = jax.ShapeDtypeStruct((batch, time, heads, width), jnp.bfloat16)
    shared = jax.ShapeDtypeStruct((batch, time, 1, width), jnp.bfloat16)

    def gradients(query: Array, key: Array, value: Array, segments: Array, *, side: str) -> Any:
        def total(query: Array, key: Array, value: Array) -> Array:
            return attention(query, key, value, segments, implementation=side).astype(jnp.float32).sum()

        return jax.grad(total, argnums=(0, 1, 2))(query, key, value)

    return Measure(
        name=f"attention, forwards and backwards, {batch} x {time}",
        sides={side: partial(gradients, side=side) for side in ("triton", "chunked")},
        operands=(query, shared, shared, jax.ShapeDtypeStruct((batch, time), jnp.int32)),
        integer=1,
        # Two products forwards, five backwards, each of half of all pairs of positions.
        flops=7.0 * batch * heads * time**2 * width,
    )


def loss(rows: int = 8192, width: int = 2048, vocabulary: int = 256_000) -> Measure:
    """Loss and both gradients of a training row of 2B."""

    def gradients(hidden: Array, table: Array, labels: Array, *, side: str) -> Any:
        def mean(hidden: Array, table: Array) -> Array:
            return linear_cross_entropy(hidden, table, labels, implementation=side)[0].mean()

        return jax.grad(mean, argnums=(0, 1))(hidden, table)

    return Measure(
        name=f"linear_cross_entropy, loss and gradients, {rows} rows of {width}, {vocabulary} ids",
        sides={"chunked": partial(gradients, side="chunked")},
        operands=(
            jax.ShapeDtypeStruct((rows, width), jnp.bfloat16),
            jax.ShapeDtypeStruct((vocabulary, width), jnp.bfloat16),
            jax.ShapeDtypeStruct((rows,), jnp.int32),
        ),
        integer=1,
        flops=6.0 * rows * width * vocabulary,
    )


def arrays(measure: Measure) -> tuple[Any, ...]:
    """Random operands, each of its own."""
    keys = iter(jax.random.split(jax.random.key(0), len(jax.tree.leaves(measure.operands))))

    def fill(spec: jax.ShapeDtypeStruct) -> Array:
        key = next(keys)
        if spec.dtype == jnp.int32:
            return jnp.full(spec.shape, measure.integer, spec.dtype)
        if jnp.issubdtype(spec.dtype, jnp.integer):
            return jax.random.bits(key, spec.shape, jnp.uint8).astype(spec.dtype)
        return jax.random.normal(key, spec.shape, spec.dtype) * jnp.asarray(0.02, spec.dtype)

    return jax.tree.map(fill, measure.operands)


def seconds(program: Callable[..., Any], operands: tuple[Any, ...], *, repeats: int = 10, rounds: int = 5) -> float:
    """Of one run: the median over rounds of several runs one after another, so that starting them is hidden."""
    compiled = jax.jit(program)
    jax.block_until_ready(compiled(*operands))
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        results = [compiled(*operands) for _ in range(repeats)]
        jax.block_until_ready(results)
        found.append((time.perf_counter() - begin) / repeats)
    return statistics.median(found)


def copy_bandwidth() -> float:
    """Bytes a second that XLA reads and writes."""
    x = jnp.zeros((2**28,), jnp.float32)
    return 2 * x.nbytes / seconds(lambda x: x + 1, (x,))


def row(measure: Measure, *, bandwidth: float, peak: float | None) -> str:
    """The table's row, measured."""
    operands = arrays(measure)
    found = {side: seconds(program, operands) for side, program in measure.sides.items()}
    ours, *theirs = found.items()
    if measure.bytes:
        speed = measure.bytes / ours[1]
        share = f"{speed / 1e12:.2f} TB/s, {speed / bandwidth:.0%} of a copy"
    else:
        speed = measure.flops / ours[1]
        share = f"{speed / 1e12:.0f} TFLOP/s" + (f", {speed / peak:.0%} of the peak" if peak else "")
    beside = "; ".join(f"{other / ours[1]:.2f} times {name}" for name, other in theirs) or "it is the compiler's"
    return f"| {measure.name} | {ours[0]} | {1e3 * ours[1]:.3f} ms | {share} | {beside} |"


def section() -> str:
    """All results as Markdown."""
    device = jax.devices()[0]
    chip = next((chip for name, chip in CHIPS.items() if name in device.device_kind.lower()), None)
    bandwidth = copy_bandwidth()
    lines = [TITLE, "", f"{device.device_kind}, JAX {jax.__version__}, {datetime.date.today().isoformat()};"]
    lines += [
        f"a copy by XLA moves {bandwidth / 1e12:.2f} TB/s. `python -m tests.benchmarks.gpu_kernels --write`.",
        "",
        "| kernel | version | a run | speed | as fast as others |",
        "|" + " --- |" * 5,
    ]
    for measure in measures():
        lines.append(row(measure, bandwidth=bandwidth, peak=chip.peak_flops if chip else None))
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    return "\n".join([*lines, ""])


def main() -> None:
    """Measures, and writes the section beside the kernels on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the section into kernels/RESULTS.md")
    arguments = parser.parse_args()
    if jax.default_backend() != "gpu":
        sys.exit(f"It measures a GPU; JAX found only {jax.devices()[0].device_kind}. Run it where there is one.")
    made = section()
    if arguments.write:
        before = RESULTS.read_text("utf-8")
        start = before.find(TITLE)
        end = before.find("\n## ", start + 1) + 1 if start >= 0 else 0
        kept = before if start < 0 else before[:start] + (before[end:] if end else "")
        RESULTS.write_text(kept.rstrip() + "\n\n" + made, "utf-8")


if __name__ == "__main__":
    main()
