"""How operands lie on a mesh: the value that kernels and layers are given, and what it does to an array.

XLA does not split a Pallas kernel or a foreign call, so their functions wrap themselves in `shard_map`: each device
runs the kernel on its own rows, heads and vocabulary entries. Elsewhere XLA splits products by itself; it is told only
where rows lie, and that a weight stored in parts is gathered before it is used. Left alone it would, for fully sharded
training, multiply every device's part of the width with the rows of all devices and add up the results, which moves
activations instead of weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.xla_cpu import as_bits, from_bits


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

    def size(self, *axes: str) -> int:
        """Devices along some axes together."""
        return math.prod(self.mesh.shape[axis] for axis in axes)

    def sharding(self, *spec: str | tuple[str, ...] | None) -> jax.sharding.NamedSharding:
        """Of an array, one entry an axis; axes that are not named are whole."""
        return jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec(*spec))

    def batch_of(self, rows: int) -> tuple[str, ...] | None:
        """The batch axes, or None where so many rows do not divide: each device then has all of them."""
        return None if rows % self.size(*self.batch) else self.batch

    def rows(self, x: Array) -> Array:
        """The same array with its first axis over the batch axes and the others whole."""
        return jax.lax.with_sharding_constraint(x, self.sharding(self.batch_of(x.shape[0])))

    def rows_from(self, parts: Array, *spec: str | tuple[str, ...] | None) -> Array:
        """As `rows`, of an array that lies as `spec` says; its gradient goes back to lie so.

        What is exchanged has the array's type, also where a 16-bit one is not computed with as it is: a compiler that
        widens it to float32 would move twice the bytes.
        """
        return _moved(parts, self.sharding(*spec), self.sharding(self.batch_of(parts.shape[0])))

    def padded(self, arrays: Any, rows: int) -> Any:
        """The arrays [B, ...] with empty rows behind, so that the batch axes divide them, and split over these.

        Args:
            arrays: in any nesting; None stays.
            rows: B.
        """
        missing = -rows % self.size(*self.batch)
        return jax.tree.map(lambda x: self.rows(jnp.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1)))), arrays)

    def whole(self, x: Array) -> Array:
        """The same array, all of it on every device, so that any process can read it."""
        return jax.lax.with_sharding_constraint(x, self.sharding())

    def kv_axis(self, kv_heads: int) -> str | None:
        """The axis that so many key-value heads are split over: the model axis, or None where it does not divide."""
        return self.model if kv_heads % self.size(self.model) == 0 else None

    def over_heads(
        self, attend: Callable[[Array, Any, Any], Array], query: Float[Array, "B T N H"], cached: Any, rows: Any
    ) -> Float[Array, "B T N H"]:
        """Attention of each device's own rows and query heads, with nothing exchanged.

        Key-value heads that the model axis does not divide are whole on every device. A device's query heads then read
        one of them, which `MeshShape.check` has seen to.

        Args:
            attend: called on each device with its parts of the operands.
            query: the queries.
            cached: arrays [B, S, K, ...] or None, in any nesting.
            rows: arrays [B, ...], likewise.
        """
        heads, kv_heads = query.shape[2], jax.tree.leaves(cached)[0].shape[2]
        batch, kv_axis = self.batch_of(query.shape[0]), self.kv_axis(kv_heads)
        head_axis = self.model if heads % self.size(self.model) == 0 else None

        def local(query: Array, cached: Any, rows: Any) -> Array:
            if head_axis is not None and kv_axis is None and kv_heads > 1:
                first = jax.lax.axis_index(self.model) * query.shape[2] * kv_heads // heads
                cached = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, 1, axis=2), cached)
            return attend(query, cached, rows)

        split = jax.sharding.PartitionSpec(batch, None, head_axis)
        cached_split = jax.sharding.PartitionSpec(batch, None, kv_axis)
        return jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(split, cached_split, jax.sharding.PartitionSpec(batch)),
            out_specs=split,
            check_vma=False,
        )(query, cached, rows)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How a weight is stored on a mesh, and how it is used.

    Attributes:
        partition: the mesh.
        axes: the mesh axis of each of the weight's axes, or None. Axes that are split over the model axis are used as
            they are; any other split is storage alone.
    """

    partition: Partition
    axes: tuple[str | None, ...]

    @property
    def stored(self) -> jax.sharding.NamedSharding:
        """Where it lies."""
        return self.partition.sharding(*self.axes)

    @property
    def used(self) -> jax.sharding.NamedSharding:
        """Where it is multiplied: whole but for the model axis."""
        return self.partition.sharding(*(axis if axis == self.partition.model else None for axis in self.axes))

    @property
    def width_axis(self) -> str | None:
        """The mesh axis of the storage split, if there is one of more than one device."""
        split = [axis for axis in self.axes if axis not in (None, self.partition.model)]
        return split[0] if split and self.partition.size(split[0]) > 1 else None

    def gather(self, weight: Array) -> Array:
        """The weight as it is used; its gradient goes back in parts, summed where it is needed and nowhere else.

        Cast the weight first: half the bytes are moved in bfloat16.
        """
        return weight if self.width_axis is None else _gather(weight, self.used, self.stored)

    def can_scatter(self, rows: int) -> bool:
        """Whether `scattered` is for this weight and so many rows: it is stored in parts, and the rows divide."""
        return self.width_axis is not None and self.partition.batch_of(rows) is not None

    def scattered(
        self, product: Callable[[Array, Array], Array], x_letters: str, result: str, kernel_letters: str
    ) -> Callable[[Array, Array], Array]:
        """A weight's gradient as a product over rows, of which each device receives the part that it stores.

        The compiler left alone sums whole gradients on every device and then takes a part, which moves twice the bytes
        and needs room for all of it.

        Args:
            product: of the layer's input and the gradient of its result, to the gradient of its kernel.
            x_letters: axes of the input, batch first, as in the layer's equation.
            result: axes of the result.
            kernel_letters: axes of the kernel.
        """
        partition, width = self.partition, self.width_axis
        assert width is not None
        place = self.axes.index(width)
        split = {
            letter: axis for letter, axis in zip(kernel_letters, self.axes, strict=True) if axis == partition.model
        }

        def spec(letters: str) -> jax.sharding.PartitionSpec:
            return jax.sharding.PartitionSpec(partition.batch, *(split.get(letter) for letter in letters[1:]))

        def local(x: Array, gradient: Array) -> Array:
            whole = product(x, gradient)
            part = jax.lax.psum_scatter(whole, width, scatter_dimension=place, tiled=True)
            others = tuple(axis for axis in partition.batch if axis != width)
            return jax.lax.psum(part, others) if others else part

        return jax.shard_map(
            local,
            mesh=partition.mesh,
            in_specs=(spec(x_letters), spec(result)),
            out_specs=self.stored.spec,
            check_vma=False,
        )


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather(
    weight: Float[Array, "..."], used: jax.sharding.NamedSharding, stored: jax.sharding.NamedSharding
) -> Float[Array, "..."]:
    # The first constraint pins the cast weight where it is stored, so that it is the cast one that is moved.
    weight = jax.lax.with_sharding_constraint(weight, stored)
    return jax.lax.with_sharding_constraint(weight, used)


def _gather_forward(
    weight: Array, used: jax.sharding.NamedSharding, stored: jax.sharding.NamedSharding
) -> tuple[Array, None]:
    return _gather(weight, used, stored), None


def _gather_backward(
    used: jax.sharding.NamedSharding, stored: jax.sharding.NamedSharding, _: None, gradient: Array
) -> tuple[Array]:
    return (jax.lax.with_sharding_constraint(gradient, stored),)


_gather.defvjp(_gather_forward, _gather_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _moved(
    x: Float[Array, "..."], source: jax.sharding.NamedSharding, target: jax.sharding.NamedSharding
) -> Float[Array, "..."]:
    # Both ends are pinned around the integers, which no compiler makes floats of.
    bits = as_bits(jax.lax.with_sharding_constraint(x, source))
    bits = jax.lax.with_sharding_constraint(jax.lax.with_sharding_constraint(bits, source), target)
    return from_bits(bits, x.dtype)


def _moved_forward(
    x: Array, source: jax.sharding.NamedSharding, target: jax.sharding.NamedSharding
) -> tuple[Array, None]:
    return _moved(x, source, target), None


def _moved_backward(
    source: jax.sharding.NamedSharding, target: jax.sharding.NamedSharding, _: None, gradient: Array
) -> tuple[Array]:
    return (_moved(gradient, target, source),)


_moved.defvjp(_moved_forward, _moved_backward)
