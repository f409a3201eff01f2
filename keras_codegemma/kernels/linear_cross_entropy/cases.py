"""The shapes of the fused loss that tests, the TPU compiler and the benchmark share."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True, kw_only=True)
class Case:
    """M rows of width D against a table of V rows."""

    rows: int
    width: int
    vocabulary: int

    @property
    def name(self) -> str:
        """Made from the numbers."""
        return f"m{self.rows}_d{self.width}_v{self.vocabulary}"

    def arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the operation's arguments with hidden states of this dtype, and its options."""
        hidden = jax.ShapeDtypeStruct((self.rows, self.width), jnp.dtype(dtype))
        table = jax.ShapeDtypeStruct((self.vocabulary, self.width), jnp.dtype(dtype))
        return (hidden, table, jax.ShapeDtypeStruct((self.rows,), jnp.int32)), {}


REAL_2B = (Case(rows=8192, width=2048, vocabulary=256_000),)
REAL_7B = (Case(rows=8192, width=3072, vocabulary=256_000),)
SMALL = (
    Case(rows=64, width=128, vocabulary=1000),
    Case(rows=33, width=128, vocabulary=256),
    Case(rows=1, width=256, vocabulary=4096),
)
"""What the TPU kernel can run too."""
AWKWARD = (
    Case(rows=5, width=8, vocabulary=37),
    Case(rows=1, width=3, vocabulary=1),
    Case(rows=70, width=24, vocabulary=4099),
)
TESTED = (*SMALL, *AWKWARD)
EXAMPLES = REAL_2B
"""A training row of 2B."""
