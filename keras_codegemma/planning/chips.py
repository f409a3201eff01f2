"""What a chip can do, by its maker, and the slices and nodes that chips come in.

Sources, read in November 2026: docs.cloud.google.com/tpu/docs/v5e and /v6e (peaks, memory, bandwidth, the links of a
chip in both directions together, the shapes of slices); NVIDIA's data sheet of the H100 SXM (dense bfloat16, memory,
NVLink in both directions together) and of the DGX H100 (one 400 Gb/s adapter for each GPU, 8 GPUs a node). What the
TPU's runtime keeps of the memory is read off the compiler's own message when a program is too large; of a GPU's, JAX
takes 75% unless XLA_PYTHON_CLIENT_MEM_FRACTION says more: here 0.9. A microsecond a hop is the scaling book's rule of
thumb (jax-ml.github.io/scaling-book, part 3).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One accelerator.

    Attributes:
        name: as topologies name it.
        peak_flops: of dense bfloat16 products, a second.
        memory_bytes: on the chip.
        usable_bytes: of these, what a program gets.
        memory_bandwidth: bytes a second.
        link_bandwidth: bytes a second of one link, one way: between neighbours of a TPU slice, into a GPU by NVLink.
        hop_seconds: that the smallest message takes from neighbour to neighbour; 0 where it is not modelled.
        node: chips that the fast links join; 0 where that is the whole slice.
        node_bandwidth: bytes a second from node to node for each chip, one way.
    """

    name: str
    peak_flops: float
    memory_bytes: float
    usable_bytes: float
    memory_bandwidth: float
    link_bandwidth: float
    hop_seconds: float = 0.0
    node: int = 0
    node_bandwidth: float = 0.0


V5E = Chip(
    name="v5e",
    peak_flops=197e12,
    memory_bytes=16 * GIB,
    usable_bytes=15.75 * GIB,
    memory_bandwidth=819e9,
    link_bandwidth=400e9 / 8,  # four links, both ways
    hop_seconds=1e-6,
)
V6E = Chip(
    name="v6e",
    peak_flops=918e12,
    memory_bytes=32 * GIB,
    usable_bytes=31.25 * GIB,
    memory_bandwidth=1638e9,
    link_bandwidth=800e9 / 8,
    hop_seconds=1e-6,
)
H100 = Chip(
    name="h100",
    peak_flops=989.4e12,
    memory_bytes=80e9,
    usable_bytes=0.9 * 80e9,
    memory_bandwidth=3.35e12,
    link_bandwidth=900e9 / 2,
    node=8,
    node_bandwidth=400e9 / 8,
)
CHIPS: Mapping[str, Chip] = {chip.name: chip for chip in (V5E, V6E, H100)}

_SLICES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_RING = 16
"""Sides of so many chips are closed to a ring; shorter ones are lines (v5e and v6e)."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Chips and how they are joined.

    Attributes:
        name: such as "v5e:2x4" or "h100:8".
        chip: all of one kind.
        sides: of the slice, the last one varying fastest; a number of GPUs is one side.
    """

    name: str
    chip: Chip
    sides: tuple[int, ...]

    @classmethod
    def of(cls, name: str) -> "Topology":
        """A topology by its name.

        Raises:
            ValueError: an unknown chip or a slice that does not exist; lists those that do.
        """
        kind, _, size = name.strip().lower().partition(":")
        chip = CHIPS.get(kind)
        if chip is None:
            raise ValueError(
                f"A topology is a chip and its slice or number; got {name!r}, whose chip is none of "
                f"{', '.join(CHIPS)}. Write v5e:2x4, v6e:8x8 or h100:8, for example."
            )
        if chip.node:
            if not size.isdecimal() or not (0 < int(size) <= chip.node or (int(size) and int(size) % chip.node == 0)):
                raise ValueError(
                    f"GPUs are counted: 1 to {chip.node}, or whole nodes of {chip.node}; got {name!r}. Write "
                    f"{kind}:{chip.node}, for example."
                )
            return cls(name=f"{kind}:{int(size)}", chip=chip, sides=(int(size),))
        if size not in _SLICES:
            raise ValueError(
                f"A slice of {kind} is one of {', '.join(_SLICES)}; got {size!r}. Write {kind}:2x4, for example."
            )
        return cls(name=f"{kind}:{size}", chip=chip, sides=tuple(int(side) for side in size.split("x")))

    @property
    def chips(self) -> int:
        """In all."""
        return math.prod(self.sides)

    def larger(self) -> list["Topology"]:
        """All of the same chip with more of them, smallest first."""
        names = map(str, _COUNTS) if self.chip.node else _SLICES
        found = [Topology.of(f"{self.chip.name}:{name}") for name in names]
        return [one for one in found if one.chips > self.chips]

    def bandwidth(self, parts: int, *, inner: int = 1) -> float:
        """Bytes a second that reach each chip when `parts` of them gather something, all links together.

        Args:
            parts: chips along a mesh axis.
            inner: chips that lie between two neighbours of the axis: the product of the faster axes.
        """
        chip = self.chip
        if chip.node:
            together = max(1, min(parts, chip.node // inner if inner <= chip.node else 1))
            return (
                chip.link_bandwidth if parts <= together else min(chip.link_bandwidth, together * chip.node_bandwidth)
            )
        return sum(chip.link_bandwidth * (2 if side == _RING else 1) for side in self._spans(parts, inner))

    def sums_whole(self, parts: int) -> bool:
        """Whether the compiler sums whole arrays on every chip where a scattered sum over so many chips would do."""
        return len(set(self.sides)) == 1 and len(self.sides) > 1 and parts == self.chips

    def hops(self, parts: int, *, inner: int = 1) -> int:
        """Links that a message crosses at most within an axis."""
        return sum(side // 2 if side == _RING else side - 1 for side in self._spans(parts, inner))

    def _spans(self, parts: int, inner: int) -> list[int]:
        """How far an axis reaches along each side of the slice that it uses, from the fastest side."""
        found = []
        for side in reversed(self.sides):
            skipped = math.gcd(side, inner)
            inner //= skipped
            taken = math.gcd(side // skipped, parts) if inner == 1 else 1
            parts //= taken
            if taken > 1:
                found.append(side if taken == side else taken)
        return found
