"""The shapes of rms_norm that tests, the TPU compiler and the benchmark share."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True, kw_only=True)
class Case:
    """M rows of width D, with or without a residual to add first."""

    rows: int
    width: int
    residual: bool

    @property
    def name(self) -> str:
        """Made from the numbers."""
        return f"{'add_' if self.residual else ''}m{self.rows}_d{self.width}"

    def arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the operation's arguments with rows of this dtype, and its options."""
        rows = jax.ShapeDtypeStruct((self.rows, self.width), jnp.dtype(dtype))
        scale = jax.ShapeDtypeStruct((self.width,), jnp.float32)
        return (rows, rows if self.residual else None, scale), {"epsilon": 1e-6}

    def backward_arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Likewise of the gradients' operation."""
        (rows, residual, scale), options = self.arguments(dtype)
        return (rows, scale, residual, rows), options


def _cases(*shapes: tuple[int, int]) -> tuple[Case, ...]:
    return tuple(
        Case(rows=rows, width=width, residual=residual) for rows, width in shapes for residual in (False, True)
    )


# A token, eight, and a training row of 8192.
REAL_2B = _cases((1, 2048), (8, 2048), (8192, 2048))
REAL_7B = _cases((1, 3072), (8, 3072), (8192, 3072))
CUT = _cases((1, 2048), (40, 3072))
SMALL = _cases((64, 128), (33, 256), (1, 384))
"""What the TPU kernel can run too, as the two above."""
AWKWARD = _cases((5, 8), (1, 1), (70, 33))
TESTED = (*CUT, *SMALL, *AWKWARD)
EXAMPLES = _cases((1, 2048), (8192, 2048))
"""The norms of 2B for one token, and for a training row."""
