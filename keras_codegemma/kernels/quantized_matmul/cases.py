"""The shapes of quantized_matmul that tests and the benchmark share."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from keras_codegemma.kernels.quantized_matmul.weights import QuantizedWeight, quantized_shapes


@dataclass(frozen=True, kw_only=True)
class Case:
    """One product.

    Attributes:
        rows: of activations.
        outputs: N.
        inputs: K.
        mode: "int8" or "int4".
        group_size: of int4, else 0.
        weights: that share the activations.
    """

    rows: int
    outputs: int
    inputs: int
    mode: str
    group_size: int = 0
    weights: int = 1

    @property
    def name(self) -> str:
        """Made from the numbers."""
        group = f"g{self.group_size}" if self.group_size else ""
        return f"{self.weights}x{self.mode}{group}_m{self.rows}_n{self.outputs}_k{self.inputs}"

    def arguments(self, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Shapes of the operation's arguments with activations of this dtype, and its options."""
        data, scale = quantized_shapes((self.outputs, self.inputs), self.mode, self.group_size)
        x = jax.ShapeDtypeStruct((self.rows, self.inputs), jnp.dtype(dtype))
        weights = (QuantizedWeight(data=data, scale=scale),) * self.weights  # pyright: ignore[reportArgumentType]
        return (x, weights), {"out_dtype": x.dtype}


_MODES = (("int8", 0), ("int4", 32), ("int4", 128))


def _cases(rows: tuple[int, ...], shapes: tuple[tuple[int, int, int], ...]) -> tuple[Case, ...]:
    return tuple(
        Case(rows=m, outputs=outputs, inputs=inputs, mode=mode, group_size=group, weights=weights)
        for m in rows
        for outputs, inputs, weights in shapes
        for mode, group in _MODES
    )


# (N, K, weights): gate and up, down, query, attention output.
REAL_2B = _cases((1, 8, 64, 256), ((16_384, 2048, 2), (2048, 16_384, 1), (2048, 2048, 1)))
REAL_7B = _cases((1, 8, 256), ((24_576, 3072, 2), (3072, 24_576, 1), (4096, 3072, 3)))
CUT = _cases((1, 5, 8, 9, 17, 40), ((96, 2048, 2), (70, 4224, 1)))
AWKWARD = (
    *_cases((1, 3), ((1, 128, 1), (37, 384, 3))),
    # Inputs that are no multiple of the 128 that the kernels take at once.
    Case(rows=2, outputs=5, inputs=32, mode="int4", group_size=32),
    Case(rows=7, outputs=50, inputs=160, mode="int4", group_size=32),
    Case(rows=19, outputs=33, inputs=192, mode="int4", group_size=64),
    Case(rows=1, outputs=3, inputs=1, mode="int8"),
    Case(rows=4, outputs=65, inputs=130, mode="int8"),
    Case(rows=18, outputs=31, inputs=2177, mode="int8"),
)
MANY = (
    # More rows than two tiles of 64, more inputs than are decoded at a time, and outputs that no tile divides.
    *(
        Case(rows=rows, outputs=outputs, inputs=inputs, mode="int4", group_size=group, weights=2)
        for rows, outputs, inputs, group in ((133, 33, 2240, 32), (129, 64, 128, 128), (160, 131, 2176, 64))
    ),
    *(
        Case(rows=rows, outputs=outputs, inputs=inputs, mode="int8", weights=weights)
        for rows, outputs, inputs, weights in ((131, 70, 4354, 1), (130, 65, 2, 2), (200, 1, 300, 1))
    ),
)
TESTED = (*CUT, *AWKWARD, *MANY)
EXAMPLES = _cases((1, 256), ((16_384, 2048, 2),))
"""Gate and up of 2B for one token, and for a part of a prompt."""
