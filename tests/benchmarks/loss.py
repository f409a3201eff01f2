"""The loss over a large vocabulary by the native kernel and by XLA in blocks, and with its gradients: `python -m ...`.

python -m tests.benchmarks.loss
"""

import sys

import jax.numpy as jnp
import numpy as np

from keras_codegemma.kernels.linear_cross_entropy import linear_cross_entropy
from tests.benchmarks.alternating import with_and_without_gradients

# Rows, width, vocabulary: the tiny preset's training step, and a short row of 2B.
SHAPES = ((8192, 256, 8192), (256, 2048, 256_000))


def main() -> None:
    """Prints a line a shape."""
    for rows, width, vocabulary in SHAPES:
        rng = np.random.default_rng(0)
        hidden = jnp.asarray(rng.normal(size=(rows, width)), jnp.bfloat16)
        table = jnp.asarray(rng.normal(size=(vocabulary, width)) * width**-0.5, jnp.bfloat16)
        labels = jnp.asarray(rng.integers(0, vocabulary, rows), jnp.int32)

        def total(hidden, table, labels, *, side):
            return linear_cross_entropy(hidden, table, labels, implementation=side)[0].sum()

        shown = with_and_without_gradients(
            total, (hidden, table, labels), sides=("native", "chunked_cpu"), gradients_of=(0, 1)
        )
        sys.stdout.write(f"{rows} x {width}, {vocabulary} words: {shown}\n")


if __name__ == "__main__":
    main()
