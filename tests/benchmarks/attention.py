"""Attention over whole rows by the native kernel and by XLA in blocks, forward and with its gradients: `python -m ...`.

    python -m tests.benchmarks.attention

Bfloat16, each row packed with three documents. Both sides alternate in one run; medians of wall time.
"""

import sys

import jax.numpy as jnp
import numpy as np

from keras_codegemma.kernels.attention import attention
from tests.benchmarks.alternating import with_and_without_gradients

# Rows, tokens, query heads, key-value heads, width: the tiny preset's training steps, a row of 2B, one of 7B.
SHAPES = ((8, 1024, 4, 1, 64), (16, 512, 4, 1, 64), (1, 1024, 8, 1, 256), (1, 1024, 16, 16, 256))


def main() -> None:
    """Prints a line a shape."""
    for batch, tokens, heads, kv_heads, width in SHAPES:
        rng = np.random.default_rng(0)
        query, key, value = (
            jnp.asarray(rng.normal(size=(batch, tokens, count, width)), jnp.bfloat16)
            for count in (heads, kv_heads, kv_heads)
        )
        segments = jnp.broadcast_to(jnp.arange(tokens, dtype=jnp.int32) * 3 // tokens + 1, (batch, tokens))

        def total(query, key, value, segments, *, side):
            return jnp.sum(attention(query, key, value, segments, implementation=side).astype(jnp.float32))

        shown = with_and_without_gradients(
            total, (query, key, value, segments), sides=("native", "chunked"), gradients_of=(0, 1, 2)
        )
        sys.stdout.write(f"{batch} x {tokens}, heads {heads} / {kv_heads} x {width}: {shown}\n")


if __name__ == "__main__":
    main()
