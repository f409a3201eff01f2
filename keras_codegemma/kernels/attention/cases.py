"""The shapes of attention that tests, the TPU compiler and the benchmark share."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True, kw_only=True)
class Case:
    """One attention over whole rows: B rows of T tokens, N query heads and K key-value heads of width H."""

    batch: int
    time: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def name(self) -> str:
        """Made from the numbers."""
        return f"b{self.batch}_t{self.time}_n{self.heads}_k{self.kv_heads}_h{self.head_dim}"

    def arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the operation's arguments with this dtype, and its options."""
        query = jax.ShapeDtypeStruct((self.batch, self.time, self.heads, self.head_dim), jnp.dtype(dtype))
        shared = jax.ShapeDtypeStruct((self.batch, self.time, self.kv_heads, self.head_dim), jnp.dtype(dtype))
        return (query, shared, shared, jax.ShapeDtypeStruct((self.batch, self.time), jnp.int32)), {}


REAL_2B = (
    Case(batch=1, time=8192, heads=8, kv_heads=1, head_dim=256),
    Case(batch=4, time=2048, heads=8, kv_heads=1, head_dim=256),
)
REAL_7B = (Case(batch=1, time=8192, heads=16, kv_heads=16, head_dim=256),)
SMALL = (
    Case(batch=2, time=256, heads=4, kv_heads=1, head_dim=128),
    Case(batch=1, time=384, heads=4, kv_heads=2, head_dim=128),
    Case(batch=2, time=128, heads=2, kv_heads=2, head_dim=256),
)
"""What the TPU kernel can run too."""
AWKWARD = (
    Case(batch=2, time=37, heads=4, kv_heads=1, head_dim=16),
    Case(batch=1, time=64, heads=4, kv_heads=4, head_dim=8),
    Case(batch=3, time=5, heads=4, kv_heads=2, head_dim=8),
    Case(batch=1, time=1, heads=2, kv_heads=1, head_dim=8),
    Case(batch=2, time=300, heads=6, kv_heads=3, head_dim=24),
)
TESTED = (*SMALL, *AWKWARD)
NATIVE = (
    *SMALL,
    AWKWARD[0],
    Case(batch=2, time=1, heads=2, kv_heads=1, head_dim=16),
    Case(batch=3, time=63, heads=2, kv_heads=2, head_dim=48),
    Case(batch=2, time=129, heads=6, kv_heads=3, head_dim=80),
    Case(batch=9, time=300, heads=4, kv_heads=1, head_dim=64),
    Case(batch=1, time=512, heads=8, kv_heads=1, head_dim=256),
)
"""What the CPU kernel runs: heads of a multiple of 16."""
GPU = (
    Case(batch=2, time=64, heads=4, kv_heads=1, head_dim=256),
    Case(batch=1, time=37, heads=4, kv_heads=2, head_dim=24),
    Case(batch=2, time=1, heads=2, kv_heads=2, head_dim=16),
    Case(batch=1, time=70, heads=6, kv_heads=3, head_dim=48),
)
"""What the GPU kernels run: heads of 16 to 256, any length."""
EXAMPLES = REAL_2B[:1]
"""A training row of 2B."""
