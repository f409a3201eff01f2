"""Norms of a sum by the native kernel and by XLA, and with their gradients: `python -m ...`.

python -m tests.benchmarks.norms
"""

import sys

import jax.numpy as jnp
import numpy as np

from keras_codegemma.kernels.rms_norm import add_rms_norm
from tests.benchmarks.alternating import with_and_without_gradients

# Rows and width: the tiny preset's training step, and a prompt of 2B.
SHAPES = ((8192, 256), (512, 2048))


def main() -> None:
    """Prints a line a shape."""
    for rows, width in SHAPES:
        rng = np.random.default_rng(0)
        x, residual = (jnp.asarray(rng.normal(size=(rows, width)), jnp.bfloat16) for _ in range(2))
        scale = jnp.asarray(rng.normal(size=width), jnp.float32)

        def total(x, residual, scale, *, side):
            both, normed = add_rms_norm(x, residual, scale, epsilon=1e-6, implementation=side)
            return (both.astype(jnp.float32) * normed.astype(jnp.float32)).sum()

        shown = with_and_without_gradients(total, (x, residual, scale), sides=("native", "xla"), gradients_of=(0, 1, 2))
        sys.stdout.write(f"{rows} x {width}: {shown}\n")


if __name__ == "__main__":
    main()
