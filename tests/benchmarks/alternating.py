"""Programs timed in turns, so that what other work there is on the machine takes from all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
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
