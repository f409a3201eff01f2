"""The shapes of sample that tests and the benchmark share."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True, kw_only=True)
class Case:
    """B rows of V logits."""

    batch: int
    vocabulary: int

    @property
    def name(self) -> str:
        """Made from the numbers."""
        return f"b{self.batch}_v{self.vocabulary}"

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the operation's arguments, and its options: top-k of 64."""
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), self.batch))
        return (jax.ShapeDtypeStruct((self.batch, self.vocabulary), jnp.float32), keys, None), {"top_k": 64}


REAL = (Case(batch=1, vocabulary=256_000), Case(batch=8, vocabulary=256_000))
SMALL = (Case(batch=2, vocabulary=4096), Case(batch=3, vocabulary=1000), Case(batch=1, vocabulary=129))
AWKWARD = (Case(batch=2, vocabulary=1), Case(batch=1, vocabulary=7), Case(batch=5, vocabulary=1023))
TESTED = (*SMALL, *AWKWARD)
EXAMPLES = REAL[:1]
"""A token of 2B or 7B."""
