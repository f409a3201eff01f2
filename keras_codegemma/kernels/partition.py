"""How a kernel's operands lie on a mesh: the one value that the public kernel functions take.

XLA does not split a Pallas kernel or a foreign call, so their functions wrap themselves in `shard_map`: each device
runs the kernel on its own rows, heads and vocabulary entries.
"""

from dataclasses import dataclass

import jax


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A mesh and which of its axes split what. Hashable, so it may be a static argument.

    Attributes:
        mesh: the devices.
        batch: axes that rows are split over.
        model: the axis that heads, features and vocabulary are split over.
    """

    mesh: jax.sharding.Mesh
    batch: tuple[str, ...]
    model: str
