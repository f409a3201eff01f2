"""The key-value cache as a value: one layer's keys and values, and the lengths that say which slots are real.

    slots of row b   [ 0 .. lengths[b] )  real tokens, slot = position
                     [ lengths[b] .. S )  unwritten, or left over from padding: never read

Rows of a batch differ in length, so every write and every mask is per row. A cache of integers has a scale for each
slot and head, 1 / 127 of its largest entry: half the bytes of bfloat16, and an error of half that scale at most.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int, Num
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.kernels.partition import Partition

DTYPES = ("float32", "bfloat16", "int8")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LayerCache:
    """Keys (already rotated) and values of one decoder block.

    Attributes:
        key: [B, S, K, H], floats or int8.
        value: likewise.
        lengths: int32 [B], tokens written before the ones now being processed.
        key_scale: float32 [B, S, K], what the int8 entries of a slot and head are multiplied with; None for floats.
        value_scale: likewise.
    """

    key: Num[Array, "B S K H"]
    value: Num[Array, "B S K H"]
    lengths: Int[Array, " B"]
    key_scale: Float[Array, "B S K"] | None = None
    value_scale: Float[Array, "B S K"] | None = None

    def write(
        self, key: Float[Array, "B T K H"], value: Float[Array, "B T K H"], *, partition: Partition | None = None
    ) -> "LayerCache":
        """Puts T tokens of each row at its slots lengths .. lengths + T. The lengths stay.

        On a mesh each device writes its own rows and heads. The caller sees to it that lengths + T <= S: the update
        would otherwise move left over real tokens.
        """
        write = _write_rows
        if partition is not None:
            batch = partition.batch_of(key.shape[0])
            split = jax.sharding.PartitionSpec(batch, None, partition.kv_axis(key.shape[2]))
            write = jax.shard_map(
                _write_rows,
                mesh=partition.mesh,
                in_specs=(split, split, jax.sharding.PartitionSpec(batch)),
                out_specs=split,
                check_vma=False,
            )
        if self.key_scale is None or self.value_scale is None:
            return replace(self, key=write(self.key, key, self.lengths), value=write(self.value, value, self.lengths))
        (keys, key_scale), (values, value_scale) = _as_int8(key), _as_int8(value)
        return replace(
            self,
            key=write(self.key, keys, self.lengths),
            value=write(self.value, values, self.lengths),
            key_scale=write(self.key_scale, key_scale, self.lengths),
            value_scale=write(self.value_scale, value_scale, self.lengths),
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class KVCache:
    """The caches of all decoder blocks. Immutable: each step returns a new one, and XLA reuses the memory.

    Attributes:
        keys: one [B, S, K, H] per layer, floats or int8.
        values: likewise.
        lengths: int32 [B], tokens written so far, the same for every layer.
        key_scales: of int8, one float32 [B, S, K] per layer; else empty.
        value_scales: likewise.
    """

    keys: tuple[Num[Array, "B S K H"], ...]
    values: tuple[Num[Array, "B S K H"], ...]
    lengths: Int[Array, " B"]
    key_scales: tuple[Float[Array, "B S K"], ...] = ()
    value_scales: tuple[Float[Array, "B S K"], ...] = ()

    @classmethod
    def create(
        cls,
        config: CodeGemmaConfig,
        *,
        batch_size: int,
        capacity: int,
        dtype: str,
        partition: Partition | None = None,
    ) -> "KVCache":
        """An empty cache of `capacity` slots a row; on a mesh, each device has its own rows and heads.

        Args:
            config: of the model.
            batch_size: rows B.
            capacity: slots S of each.
            dtype: one of `DTYPES`.
            partition: the mesh; None on one device.
        """
        shape = (batch_size, capacity, config.num_key_value_heads, config.head_dim)
        place = None if partition is None else cache_sharding(config, batch_size=batch_size, partition=partition)

        def zeros(shape: tuple[int, ...], dtype: str) -> tuple[Array, ...]:
            return tuple(jnp.zeros(shape, dtype, device=place) for _ in range(config.num_layers))

        scales = [zeros(shape[:3], "float32") if dtype == "int8" else () for _ in range(2)]
        return cls(
            keys=zeros(shape, dtype),
            values=zeros(shape, dtype),
            lengths=jnp.zeros((batch_size,), jnp.int32),
            key_scales=scales[0],
            value_scales=scales[1],
        )

    @property
    def capacity(self) -> int:
        """Slots S of each row."""
        return self.keys[0].shape[1]

    def layer(self, index: int) -> LayerCache:
        """One block's share, to be written and read by its attention."""
        return LayerCache(
            key=self.keys[index],
            value=self.values[index],
            lengths=self.lengths,
            key_scale=self.key_scales[index] if self.key_scales else None,
            value_scale=self.value_scales[index] if self.value_scales else None,
        )

    def take_rows(self, rows: Int[Array, " C"]) -> "KVCache":
        """Row r of the result is row rows[r] of this cache (beam search)."""
        return jax.tree.map(lambda array: jnp.take(array, rows, axis=0), self)


def from_layers(layers: list[LayerCache], *, new_lengths: Int[Array, " B"]) -> KVCache:
    """Puts the blocks' caches together again, after each has been written."""
    return KVCache(
        keys=tuple(layer.key for layer in layers),
        values=tuple(layer.value for layer in layers),
        lengths=new_lengths,
        key_scales=tuple(layer.key_scale for layer in layers if layer.key_scale is not None),
        value_scales=tuple(layer.value_scale for layer in layers if layer.value_scale is not None),
    )


def cache_sharding(config: CodeGemmaConfig, *, batch_size: int, partition: Partition) -> jax.sharding.NamedSharding:
    """Of keys, values and scales on a mesh: rows over the batch axes, heads over the model axis, where each divides."""
    return partition.sharding(partition.batch_of(batch_size), None, partition.kv_axis(config.num_key_value_heads))


def storage_dtype(compute_dtype: str) -> str:
    """The cache's dtype for a model that computes in `compute_dtype`.

    On CPU it is float32: XLA's CPU compiler updates a bfloat16 buffer by converting all of it to float32 and back,
    which made a step of 8 rows ten times as long. The values are the same, rounded when they are computed.
    """
    return "float32" if jax.default_backend() == "cpu" else compute_dtype


def bytes_per_token(config: CodeGemmaConfig, dtype: str) -> int:
    """Cache bytes that one token of one row takes (2B in bfloat16: 18,432, in int8 9,360; 7B: 458,752 and 232,960)."""
    head = config.head_dim * jnp.dtype(dtype).itemsize + (4 if dtype == "int8" else 0)
    return 2 * config.num_layers * config.num_key_value_heads * head


def _as_int8(x: Float[Array, "B T K H"]) -> tuple[Int[Array, "B T K H"], Float[Array, "B T K"]]:
    """Integers and the scale of each slot and head; what is not finite makes its scale so."""
    x = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(x), axis=-1) / 127
    integers = jnp.round(x / jnp.where(scale == 0, 1.0, scale)[..., None])
    return integers.astype(jnp.int8), scale


def _write_rows(
    buffer: Num[Array, "B S K *H"], update: Num[Array, "B T K *H"], starts: Int[Array, " B"]
) -> Num[Array, "B S K *H"]:
    # Unrolled over rows: XLA updates each slice in place, while a scatter over rows becomes a loop on CPU.
    update, rest = update.astype(buffer.dtype), (0,) * (buffer.ndim - 2)
    for row in range(buffer.shape[0]):
        buffer = jax.lax.dynamic_update_slice(buffer, update[row : row + 1], (row, starts[row], *rest))
    return buffer
