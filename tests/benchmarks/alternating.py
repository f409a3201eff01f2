"""Programs timed in turns, so that what other work there is on the machine takes from all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax


def medians(programs: Mapping[str, Callable[..., Any]], *operands: Any, repeats: int = 7) -> dict[str, float]:
    """Median seconds of wall time of each program, compiled and then run in turns.

    Args:
        programs: by name; traceable by JAX.
        *operands: of all of them.
        repeats: timed runs of each; one more compiles.
    """
    compiled = {name: jax.jit(program) for name, program in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats + 1):
        for name, program in compiled.items():
            begin = time.perf_counter()
            jax.block_until_ready(program(*operands))
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


def with_and_without_gradients(
    total: Callable[..., Any], operands: Sequence[Any], *, sides: tuple[str, str], gradients_of: tuple[int, ...]
) -> str:
    """Times of a number that is computed by the native kernel and by XLA, and of its gradients, as a text.

    Args:
        total: called with the operands and `side`; gives a scalar.
        operands: arrays.
        sides: names of implementations, the native one first.
        gradients_of: which operands have gradients.
    """
    shown = []
    for what, change in (("forward", lambda f: f), ("with gradients", partial(jax.grad, argnums=gradients_of))):
        ours, theirs = medians({side: change(partial(total, side=side)) for side in sides}, *operands).values()
        shown.append(f"{what} {1e3 * ours:.1f} ms, by XLA {1e3 * theirs:.1f} ({theirs / ours:.1f} times)")
    return "; ".join(shown)


def speeds(seconds: Mapping[str, float], flops: float) -> str:
    """Speeds of two programs that do as much work, and the first's in the second's, as a text."""
    ours, theirs = seconds.values()
    each = ", ".join(f"{side} {1e-9 * flops / found:.0f} GFLOP/s" for side, found in seconds.items())
    return f"{each}, {theirs / ours:.1f} times"
