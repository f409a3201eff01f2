"""The shapes of decode attention that tests, the TPU compiler and the benchmark share."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True, kw_only=True)
class Case:
    """T new tokens in each of B rows over S slots: N query heads, K key-value heads of width H."""

    batch: int
    time: int
    heads: int
    kv_heads: int
    head_dim: int
    slots: int

    @property
    def name(self) -> str:
        """Made from the numbers."""
        return f"b{self.batch}_t{self.time}_n{self.heads}_k{self.kv_heads}_h{self.head_dim}_s{self.slots}"

    def arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the operation's arguments with queries and cache of this dtype, and its options."""
        query = jax.ShapeDtypeStruct((self.batch, self.time, self.heads, self.head_dim), jnp.dtype(dtype))
        cache = jax.ShapeDtypeStruct((self.batch, self.slots, self.kv_heads, self.head_dim), jnp.dtype(dtype))
        return (query, cache, cache, jax.ShapeDtypeStruct((self.batch,), jnp.int32), None, None), {}


def _cases(heads: int, kv_heads: int) -> tuple[Case, ...]:
    return tuple(
        Case(batch=batch, time=time, heads=heads, kv_heads=kv_heads, head_dim=256, slots=8192)
        for batch, time in ((1, 1), (8, 1), (1, 4), (8, 16))
    )


REAL_2B = _cases(8, 1)
REAL_7B = _cases(16, 16)
SMALL = (
    Case(batch=2, time=1, heads=4, kv_heads=1, head_dim=128, slots=256),
    Case(batch=3, time=5, heads=4, kv_heads=2, head_dim=128, slots=384),
    Case(batch=2, time=16, heads=4, kv_heads=4, head_dim=128, slots=256),
    Case(batch=1, time=3, heads=8, kv_heads=1, head_dim=256, slots=1024),
)
"""What the TPU kernel can run too."""
AWKWARD = (
    Case(batch=2, time=1, heads=4, kv_heads=1, head_dim=16, slots=40),
    Case(batch=3, time=7, heads=6, kv_heads=3, head_dim=8, slots=300),
    Case(batch=1, time=2, heads=2, kv_heads=2, head_dim=8, slots=2),
)
TESTED = (*SMALL, *AWKWARD)
GPU = (
    *SMALL,
    AWKWARD[0],
    Case(batch=1, time=1, heads=2, kv_heads=2, head_dim=16, slots=16),
    # More query rows than a tile, more slots than a part, and capacities that no block divides.
    Case(batch=2, time=9, heads=6, kv_heads=1, head_dim=32, slots=300),
    Case(batch=2, time=40, heads=4, kv_heads=1, head_dim=64, slots=410),
    Case(batch=2, time=2, heads=8, kv_heads=8, head_dim=32, slots=1100),
)
"""What the GPU kernel runs: heads of 16 to 256, a power of two wide."""
EXAMPLES = REAL_2B[:1]
"""A token of 2B over a long cache."""
