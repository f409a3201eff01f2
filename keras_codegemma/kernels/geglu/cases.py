"""The shapes of geglu that tests, the TPU compiler and the benchmark share."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True, kw_only=True)
class Case:
    """M rows of two branches of width F; for `geglu_products`, made from rows of width D."""

    rows: int
    width: int
    inputs: int

    @property
    def name(self) -> str:
        """Made from the numbers."""
        return f"m{self.rows}_d{self.inputs}_f{self.width}"

    def arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of `geglu`'s arguments with this dtype, and its options."""
        return (jax.ShapeDtypeStruct((self.rows, self.width), jnp.dtype(dtype)),) * 2, {}

    def product_arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of `geglu_products`' arguments with this dtype, and its options."""
        x = jax.ShapeDtypeStruct((self.rows, self.inputs), jnp.dtype(dtype))
        kernel = jax.ShapeDtypeStruct((self.inputs, self.width), jnp.dtype(dtype))
        return (x, kernel, kernel), {}

    def backward_arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the arguments of `geglu`'s gradients, and options."""
        (gate, up), options = self.arguments(dtype)
        return (gate, up, gate), options

    def products_backward_arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the arguments of `geglu_products`' gradients, and options."""
        operands, options = self.product_arguments(dtype)
        return (*operands, self.arguments(dtype)[0][0]), options


def _cases(*shapes: tuple[int, int, int]) -> tuple[Case, ...]:
    return tuple(Case(rows=rows, inputs=inputs, width=width) for rows, inputs, width in shapes)


# A token, eight, and a training row of 8192.
REAL_2B = _cases((1, 2048, 16_384), (8, 2048, 16_384), (8192, 2048, 16_384))
REAL_7B = _cases((1, 3072, 24_576), (8, 3072, 24_576), (8192, 3072, 24_576))
CUT = _cases((5, 2048, 512), (40, 3072, 384))
SMALL = _cases((64, 128, 128), (33, 384, 640), (1, 256, 384))
"""What the TPU kernels can run too, as the two above."""
AWKWARD = _cases((5, 3, 8), (1, 1, 1), (70, 40, 33))
TESTED = (*CUT, *SMALL, *AWKWARD)
EXAMPLES = _cases((1, 2048, 16_384), (8192, 2048, 16_384))
"""The feed-forward layer of 2B for one token, and for a training row."""
