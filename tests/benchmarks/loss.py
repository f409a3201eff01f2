"""The loss over a large vocabulary by the native kernel and by XLA in blocks, and with its gradients: `python -m ...`.

python -m tests.benchmarks.loss
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from keras_codegemma.kernels.linear_cross_entropy import linear_cross_entropy
from tests.benchmarks.alternating import medians

# Rows, width, vocabulary: the tiny preset's training step, and a short row of 2B.
SHAPES = ((8192, 256, 8192), (256, 2048, 256_000))
SIDES = ("native", "chunked_cpu")


def main() -> None:
    """Prints a line a shape."""
    for rows, width, vocabulary in SHAPES:
        rng = np.random.default_rng(0)
        hidden = jnp.asarray(rng.normal(size=(rows, width)), jnp.bfloat16)
        table = jnp.asarray(rng.normal(size=(vocabulary, width)) * width**-0.5, jnp.bfloat16)
        labels = jnp.asarray(rng.integers(0, vocabulary, rows), jnp.int32)

        def total(hidden, table, labels, *, side):
            return linear_cross_entropy(hidden, table, labels, implementation=side)[0].sum()

        shown = []
        for what, change in (("forward", lambda f: f), ("with gradients", lambda f: jax.grad(f, argnums=(0, 1)))):
            seconds = medians(
                {side: change(lambda *x, side=side: total(*x, side=side)) for side in SIDES},
                *(hidden, table, labels),
                repeats=5,
            )
            shown.append(
                f"{what} {1e3 * seconds['native']:.0f} ms, by XLA {1e3 * seconds['chunked_cpu']:.0f} "
                f"({seconds['chunked_cpu'] / seconds['native']:.1f} times)"
            )
        sys.stdout.write(f"{rows} x {width}, {vocabulary} words: {'; '.join(shown)}\n")


if __name__ == "__main__":
    main()
