"""The shape of a mesh: how many ways rows, weights and heads are split, and whether a model divides so.

Two kinds, told apart by their axes:

| axes | rows of a batch | a weight's width D | heads, feed-forward, vocabulary |
| --- | --- | --- | --- |
| data, model | over data | whole | over model |
| replica, fsdp, model | over replica and fsdp | over fsdp | over model |

"fsdp" is fully sharded data parallel: each chip keeps a part of every weight and gathers a layer when it runs it.
"""

import math
from dataclasses import dataclass

from keras_codegemma.config import CodeGemmaConfig


@dataclass(frozen=True, kw_only=True)
class MeshShape:
    """Sizes of the axes of a mesh. Give `data` and `model`, or `replica`, `fsdp` and `model`.

    Attributes:
        data: copies of the model, each with its own rows; None in a mesh with fsdp.
        replica: groups that each hold the model once, split over fsdp.
        fsdp: parts that each weight's width is split into; rows are split likewise.
        model: parts that heads, feed-forward and vocabulary are split into (tensor parallel).

    Raises:
        ValueError: both kinds mixed, or a size that is not a positive integer.
    """

    data: int | None = None
    replica: int | None = None
    fsdp: int | None = None
    model: int = 1

    def __post_init__(self) -> None:
        if self.data is not None and (self.replica is not None or self.fsdp is not None):
            raise ValueError(
                f"A mesh has either data and model, or replica, fsdp and model; got data={self.data}, "
                f"replica={self.replica}, fsdp={self.fsdp}. Leave one kind out."
            )
        if self.data is None:
            object.__setattr__(self, "replica", 1 if self.replica is None else self.replica)
            object.__setattr__(self, "fsdp", 1 if self.fsdp is None else self.fsdp)
        for name, size in zip(self.axis_names, self.sizes, strict=True):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"The mesh axis {name} must be a positive integer; got {size!r}. Use 1 for no split.")

    @property
    def axis_names(self) -> tuple[str, ...]:
        """In the order of the mesh's dimensions."""
        return ("data", "model") if self.data is not None else ("replica", "fsdp", "model")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the axes, in the order of `axis_names`."""
        return tuple(getattr(self, name) for name in self.axis_names)

    @property
    def batch_axes(self) -> tuple[str, ...]:
        """The axes that rows are split over."""
        return self.axis_names[:-1]

    @property
    def row_shards(self) -> int:
        """Parts that a batch is split into."""
        return math.prod(self.sizes[:-1])

    @property
    def width_shards(self) -> int:
        """Parts that a weight's width is split into."""
        return self.fsdp or 1

    @property
    def devices(self) -> int:
        """Chips in all."""
        return math.prod(self.sizes)

    def padded_rows(self, rows: int) -> int:
        """The smallest multiple of `row_shards` that holds so many rows."""
        return -(-rows // self.row_shards) * self.row_shards

    def __str__(self) -> str:
        return " x ".join(f"{name} {size}" for name, size in zip(self.axis_names, self.sizes, strict=True))

    def check_devices(self, count: int) -> None:
        """Raises a ValueError where the mesh does not take exactly so many devices."""
        if self.devices != count:
            raise ValueError(
                f"A mesh must take every device; {self} is {self.devices} and there are {count}. "
                f"Choose sizes whose product is {count}, such as {_shapes_of(count)}."
            )

    def check(self, config: CodeGemmaConfig, *, name: str = "this model") -> None:
        """Raises a ValueError where the axes do not divide the model, with the numbers that clash and what divides.

        Key-value heads need no check: where they do not divide, their weights stay whole (2B has one).
        """
        for number, what in (
            (config.num_query_heads, "query heads"),
            (config.feedforward_dim, "feed-forward features"),
            (config.vocabulary_size, "vocabulary rows"),
        ):
            if number % self.model:
                raise ValueError(
                    f"A model axis of {self.model} cannot split {number} {what} ({name}). "
                    f"Use a model axis of {_divisors(*_split_by_model(config))}."
                )
        heads, kv_heads = config.num_query_heads, config.num_key_value_heads
        if kv_heads % self.model and (heads // kv_heads) % (heads // self.model):
            raise ValueError(
                f"A model axis of {self.model} gives each part {heads // self.model} query heads, which read more than "
                f"one of the {kv_heads} key-value heads in part ({name}). Use a model axis of "
                f"{_divisors(*_split_by_model(config), kv_heads)}."
            )
        if config.hidden_dim % self.width_shards:
            raise ValueError(
                f"An fsdp axis of {self.fsdp} cannot split the width of {config.hidden_dim} ({name}). "
                f"Use a power of two up to {config.hidden_dim & -config.hidden_dim}, and the replica axis for the rest."
            )


def _split_by_model(config: CodeGemmaConfig) -> tuple[int, int, int]:
    return config.num_query_heads, config.feedforward_dim, config.vocabulary_size


def _divisors(*numbers: int) -> str:
    common = math.gcd(*numbers)
    return " or ".join(str(size) for size in range(1, common + 1) if common % size == 0)


def _shapes_of(count: int) -> str:
    sizes = [size for size in (1, 2, 4, 8) if count % size == 0]
    return " or ".join(f"fsdp {count // size} x model {size}" for size in sizes[:3])
