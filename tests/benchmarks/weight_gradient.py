"""Gradients of weights at a training step's shapes, by the native kernel and by XLA: `python -m ...`.

    python -m tests.benchmarks.weight_gradient

Both sides alternate in one run; medians of wall time. What other work there is on the machine takes from both.
"""

import sys

import jax.numpy as jnp
import numpy as np

from keras_codegemma.kernels.weight_gradient import weight_gradient
from tests.benchmarks.alternating import medians, speeds

# Rows, inputs, outputs: of the tiny preset's training step, and of 2B's feed-forward.
SHAPES = ((8192, 256, 768), (8192, 768, 256), (8192, 256, 2048), (2048, 2048, 2048), (2048, 2048, 16_384))
SIDES = ("native", "xla")


def main() -> None:
    """Prints a line a shape."""
    for rows, inputs, outputs in SHAPES:
        rng = np.random.default_rng(0)
        x, y = (jnp.asarray(rng.normal(size=(rows, columns)), jnp.bfloat16) for columns in (inputs, outputs))
        seconds = medians(
            {side: lambda x, y, side=side: weight_gradient("mk,mn->kn", x, y, implementation=side) for side in SIDES},
            *(x, y),
        )
        shown = speeds(seconds, 2 * rows * inputs * outputs)
        sys.stdout.write(f"[{rows}, {inputs}] x [{rows}, {outputs}]: {shown}\n")


if __name__ == "__main__":
    main()
