"""Axis letters and array type aliases: the one alphabet of every annotation, einsum, comment and test.

| letter | axis | | letter | axis |
| --- | --- | --- | --- | --- |
| `B` | batch | | `N` | query heads |
| `T` | query positions | | `K` | key-value heads |
| `S` | key positions, cache slots | | `G` | query heads per key-value head, N / K |
| `D` | model width | | `H` | head width |
| `F` | feed-forward width of one branch | | `V` | vocabulary rows |
| `R` | LoRA rank | | `L` | layers |
| `P` | rotary pairs, H / 2 | | | |
"""

from jaxtyping import Array, Bool, Float, Int, Num, UInt

__all__ = ["Array", "Bool", "Float", "Int", "Num", "UInt"]
