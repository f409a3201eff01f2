"""Activations times a float weight by the compiler, in the forms that XLA's CPU compiler is fast at.

- The accumulation type is named: then it uses the processor's bfloat16 instructions; without, the same product takes
  two to twenty times as long.
- A single bfloat16 row is padded to two: there is a slow path for one (a 1024 x 3072 product: 3.7 ms for one row, 0.3
  ms for two).
- A kernel with heads first is a batched product over the heads; as one product, the whole weight would be transposed
  at each use.
"""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.matmul.reference import EQUATIONS


def on_cpu(
    x: Float[Array, "rows k"], weight: Float[Array, "..."], *, layout: str, out_dtype: jnp.dtype
) -> Float[Array, "rows ..."]:
    """From operands of one type, summed in float32."""
    product = _heads_first if layout == "heads_first" else _plain
    if x.dtype == jnp.bfloat16 and x.shape[0] == 1:
        return product(jnp.pad(x, ((0, 1), (0, 0))), weight, layout)[:1].astype(out_dtype)
    return product(x, weight, layout).astype(out_dtype)


def anywhere(
    x: Float[Array, "rows k"], weight: Float[Array, "..."], *, layout: str, out_dtype: jnp.dtype
) -> Float[Array, "rows ..."]:
    """From operands of one type, summed in float32, in one einsum."""
    return _plain(x, weight, layout).astype(out_dtype)


def _plain(x: Array, weight: Array, layout: str) -> Array:
    return jnp.einsum(EQUATIONS[layout], x, weight, preferred_element_type=jnp.float32)


def _heads_first(x: Array, kernel: Array, layout: str) -> Array:
    """`md,ndh->mnh` without transposing the kernel: one product per head over a broadcast `x`."""
    rows = jnp.broadcast_to(x, (kernel.shape[0], *x.shape))  # N M D
    product = jax.lax.dot_general(
        rows, kernel, (((2,), (1,)), ((0,), (0,))), preferred_element_type=jnp.float32
    )  # N M H
    return product.transpose(1, 0, 2)
