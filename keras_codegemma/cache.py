"""The key-value cache as a value: one layer's keys and values, and the lengths that say which slots are real.

    slots of row b   [ 0 .. lengths[b] )  real tokens, slot = position
                     [ lengths[b] .. S )  unwritten, or left over from padding: never read

Rows of a batch differ in length, so every write and every mask is per row.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.config import CodeGemmaConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LayerCache:
    """Keys (already rotated) and values of one decoder block.

    Attributes:
        key: [B, S, K, H].
        value: [B, S, K, H].
        lengths: int32 [B], tokens written before the ones now being processed.
    """

    key: Float[Array, "B S K H"]
    value: Float[Array, "B S K H"]
    lengths: Int[Array, " B"]

    def write(self, key: Float[Array, "B T K H"], value: Float[Array, "B T K H"]) -> "LayerCache":
        """Puts T tokens of each row at its slots lengths .. lengths + T. The lengths stay.

        The caller sees to it that lengths + T <= S: the update would otherwise move left over real tokens.
        """
        return replace(
            self,
            key=_write_rows(self.key, key, self.lengths),
            value=_write_rows(self.value, value, self.lengths),
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class KVCache:
    """The caches of all decoder blocks. Immutable: each step returns a new one, and XLA reuses the memory.

    Attributes:
        keys: one [B, S, K, H] per layer.
        values: likewise.
        lengths: int32 [B], tokens written so far, the same for every layer.
    """

    keys: tuple[Float[Array, "B S K H"], ...]
    values: tuple[Float[Array, "B S K H"], ...]
    lengths: Int[Array, " B"]

    @classmethod
    def create(cls, config: CodeGemmaConfig, *, batch_size: int, capacity: int, dtype: str) -> "KVCache":
        """An empty cache of `capacity` slots a row."""
        shape = (batch_size, capacity, config.num_key_value_heads, config.head_dim)
        return cls(
            keys=tuple(jnp.zeros(shape, dtype) for _ in range(config.num_layers)),
            values=tuple(jnp.zeros(shape, dtype) for _ in range(config.num_layers)),
            lengths=jnp.zeros((batch_size,), jnp.int32),
        )

    @property
    def capacity(self) -> int:
        """Slots S of each row."""
        return self.keys[0].shape[1]

    def layer(self, index: int) -> LayerCache:
        """One block's share, to be written and read by its attention."""
        return LayerCache(key=self.keys[index], value=self.values[index], lengths=self.lengths)

    def take_rows(self, rows: Int[Array, " C"]) -> "KVCache":
        """Row r of the result is row rows[r] of this cache (beam search)."""
        return jax.tree.map(lambda array: jnp.take(array, rows, axis=0), self)


def from_layers(layers: list[LayerCache], *, new_lengths: Int[Array, " B"]) -> KVCache:
    """Puts the blocks' caches together again, after each has been written."""
    return KVCache(
        keys=tuple(layer.key for layer in layers),
        values=tuple(layer.value for layer in layers),
        lengths=new_lengths,
    )


def storage_dtype(compute_dtype: str) -> str:
    """The cache's dtype for a model that computes in `compute_dtype`.

    On CPU it is float32: XLA's CPU compiler updates a bfloat16 buffer by converting all of it to float32 and back,
    which made a step of 8 rows ten times as long. The values are the same, rounded when they are computed.
    """
    return "float32" if jax.default_backend() == "cpu" else compute_dtype


def bytes_per_token(config: CodeGemmaConfig, dtype: str) -> int:
    """Cache bytes that one token of one row takes (2B in bfloat16: 18,432; 7B: 458,752)."""
    return 2 * config.num_layers * config.num_key_value_heads * config.head_dim * jnp.dtype(dtype).itemsize


def _write_rows(
    buffer: Float[Array, "B S K H"], update: Float[Array, "B T K H"], starts: Int[Array, " B"]
) -> Float[Array, "B S K H"]:
    # Unrolled over rows: XLA updates each slice in place, while a scatter over rows becomes a loop on CPU.
    update = update.astype(buffer.dtype)
    for row in range(buffer.shape[0]):
        buffer = jax.lax.dynamic_update_slice(buffer, update[row : row + 1], (row, starts[row], 0, 0))
    return buffer
