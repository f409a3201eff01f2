"""One model over a mesh as a `keras.distribution`: a checked layout for each variable, rows over the batch axes.

Differs from Keras's `ModelParallel` in what it refuses: a weight that no rule matches is an error, not silently a copy
on every device; so is an axis that does not divide, with the numbers.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import keras
import numpy as np

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.distribution.hosts import check_agreement
from keras_codegemma.kernels.partition import Partition
from keras_codegemma.quantization import SCALE_SUFFIX, Quantization, is_quantized
from keras_codegemma.sharding import MeshShape, belongs_to_model, weight_spec

_QUANTIZED_DTYPES = ("int8", "uint8")


class CodeGemmaParallel(keras.distribution.ModelParallel):
    """Lays a CodeGemma model over a mesh; see the table in `sharding/rules.py`.

    Make it the global one before anything is built: `keras.distribution.set_distribution(parallel)`, or build within
    `parallel.scope()`. Models built then are sharded for good; those built before stay on one device.

    Each process passes its own rows to `fit` (`row_group` says which); with one process, all of them.

    Args:
        shape: of the mesh.
        config: of the model that will be built.
        devices: all of them by default, in an order that follows the network of a TPU slice.
        replicated: patterns of variable paths that stay whole on every device though they look like weights.

    Attributes:
        reason: why this mesh, in words; "given" where nobody chose.

    Raises:
        ValueError: a mesh that does not take every device or does not divide the model, or another one than on the
            job's other processes.
    """

    def __init__(
        self,
        shape: MeshShape,
        config: CodeGemmaConfig,
        *,
        devices: Sequence[Any] | None = None,
        replicated: Sequence[str] = (),
    ):
        self.shape = shape
        self.config = config
        self.reason = "given"
        self._replicated = tuple(replicated)
        shape.check(config)
        if devices is None:
            check_agreement({"mesh": str(shape), **config.to_dict()}, what="mesh and architecture")
        mesh = device_mesh(shape, devices=devices)
        super().__init__(
            layout_map=layout_map(mesh, config), batch_dim_name=shape.batch_axes[0], auto_shard_dataset=False
        )

    @property
    def num_model_replicas(self) -> int:
        """Parts that a batch is split into: what Keras means by replicas."""
        return self.shape.row_shards

    @property
    def data_shard_id(self) -> int:
        """Which part of each batch this process reads."""
        return self.row_group[0]

    @property
    def row_group(self) -> tuple[int, int]:
        """(index, count): processes with the same index read the same rows, of `count` parts of each batch.

        Where the model axis spans processes, several read the same.
        """
        mesh = self.device_mesh.backend_mesh
        places: dict[int, set[int]] = {}
        for place, device in enumerate(mesh.devices.reshape(self.shape.row_shards, -1)):
            for one in device:
                places.setdefault(one.process_index, set()).add(place)
        groups = sorted({tuple(sorted(rows)) for rows in places.values()})
        return groups.index(tuple(sorted(places[jax.process_index()]))), len(groups)

    @property
    def partition(self) -> Partition:
        """The mesh and its axes as kernels take them."""
        return Partition(mesh=self.device_mesh.backend_mesh, batch=self.shape.batch_axes, model="model")

    def get_data_layout(self, data_shape: Sequence[int]) -> keras.distribution.TensorLayout:
        """How a batch's arrays go to the devices: with several processes, each sends its rows to its own.

        One process sends all rows to all devices, ids being small, and the model splits them: so a batch may have any
        number of rows, which the model pads (`padded`).

        Args:
            data_shape: of an array as this process has it.

        Raises:
            ValueError: rows that do not divide, of several processes: a stream's, as other rows are filled up
                (`rows.py`).
        """
        if jax.process_count() == 1:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        _, groups = self.row_group
        if data_shape and data_shape[0] * groups % self.shape.row_shards:
            raise ValueError(
                f"With several processes a stream's batches must divide over the mesh: {data_shape[0]} rows on each of "
                f"{groups} do not divide by {self.shape.row_shards} ({self.shape}). Pass a multiple of "
                f"{self.shape.row_shards // groups} rows on each, with empty ones of weight 0 if need be."
            )
        return self.row_layout(len(data_shape))

    def row_layout(self, ndim: int) -> "RowLayout":
        """Rows over the batch axes, everything else whole."""
        return RowLayout(self.shape.batch_axes, ndim=ndim, mesh=self.device_mesh)

    def get_variable_layout(self, variable: Any) -> keras.distribution.TensorLayout:
        """The layout of a variable.

        Raises:
            ValueError: a weight that no rule matches, or an axis that does not divide.
        """
        if getattr(variable, "_layout", None) is not None:
            return variable._layout
        path, shape = variable.path, tuple(variable.shape)
        whole = keras.distribution.TensorLayout([None] * len(shape), self.device_mesh)
        if not belongs_to_model(path) or any(re.fullmatch(pattern, path) for pattern in self._replicated):
            return whole
        quantized = str(variable.dtype) in _QUANTIZED_DTYPES
        axes = weight_spec(path, ndim=len(shape), config=self.config, mesh=self.shape, quantized=quantized)
        self._check_divides(path, shape, axes)
        return keras.distribution.TensorLayout(axes, self.device_mesh)

    def check_model(self, config: CodeGemmaConfig) -> None:
        """Raises a ValueError where a model of another shape is built than the one this was made for."""
        if config != self.config:
            clash = next(name for name, value in config.to_dict().items() if value != self.config.to_dict()[name])
            raise ValueError(
                f"A model must have the architecture its distribution was made for; {clash} is "
                f"{getattr(config, clash)} in the model and {getattr(self.config, clash)} in the distribution. "
                "Make a distribution of the model's own config."
            )

    def _check_divides(self, path: str, shape: tuple[int, ...], axes: tuple[str | None, ...]) -> None:
        for index, (size, axis) in enumerate(zip(shape, axes, strict=True)):
            parts = 1 if axis is None else getattr(self.shape, axis)
            if size % parts:
                hint = "a larger axis is possible with int8" if path.endswith(SCALE_SUFFIX) else "choose a divisor"
                raise ValueError(
                    f"The mesh axis {axis} of {parts} cannot split axis {index} of {path}, which has shape {shape}. "
                    f"Use {axis} = {np.gcd(size, parts)}; {hint}."
                )


class RowLayout(keras.distribution.TensorLayout):
    """The layout of data: its first axis over one or two mesh axes. Keras's own takes one axis only."""

    def __init__(self, batch_axes: tuple[str, ...], *, ndim: int, mesh: keras.distribution.DeviceMesh):
        super().__init__([None] * ndim, mesh)
        self._batch_axes = batch_axes

    @property
    def backend_layout(self) -> jax.sharding.NamedSharding:
        """As JAX takes it."""
        spec = jax.sharding.PartitionSpec(*([self._batch_axes] if self.axes else []))
        assert self.device_mesh is not None
        return jax.sharding.NamedSharding(self.device_mesh.backend_mesh, spec)


def device_mesh(shape: MeshShape, *, devices: Sequence[Any] | None = None) -> keras.distribution.DeviceMesh:
    """A Keras mesh of this shape over all devices, or over these.

    The model axis varies fastest, so that its frequent sums run between neighbours; on TPU, JAX arranges the devices by
    the slice's network.

    Raises:
        ValueError: the mesh does not take exactly the devices.
    """
    chosen = list(jax.devices() if devices is None else devices)
    shape.check_devices(len(chosen))
    types = (jax.sharding.AxisType.Auto,) * len(shape.sizes)
    mesh = jax.make_mesh(shape.sizes, shape.axis_names, axis_types=types, devices=chosen)
    keras_mesh = keras.distribution.DeviceMesh(shape.sizes, shape.axis_names, devices=mesh.devices)
    # Keras looks its devices up among this machine's; those of a topology that is only compiled for are none.
    keras_mesh._backend_mesh = mesh
    return keras_mesh


def layout_map(
    mesh: keras.distribution.DeviceMesh, config: CodeGemmaConfig, *, quantization: Quantization | str | None = None
) -> keras.distribution.LayoutMap:
    """The rules of every weight and adapter as Keras's own map, for use with its `ModelParallel`.

    That keeps a path that it does not hold whole on every device, without a word; `CodeGemmaParallel` refuses it.

    Args:
        mesh: with the axes (data, model) or (replica, fsdp, model).
        config: of the model.
        quantization: as the model will be built, "int8" or "int4/32" for instance; None for floats.

    Raises:
        ValueError: other axes, or axes that do not divide the model.
    """
    shape = mesh_shape(mesh)
    shape.check(config)
    chosen = Quantization.of(quantization) if isinstance(quantization, str) else quantization
    found = keras.distribution.LayoutMap(mesh)
    for path, dims in config.weight_shapes().items():
        if path.startswith("decoder_block_") and not path.startswith("decoder_block_0/"):
            continue
        variables = {path: len(dims)}
        if path.endswith("kernel"):
            stem = path.removesuffix("kernel")
            variables |= {f"{stem}lora_kernel_a": len(dims), f"{stem}lora_kernel_b": 2}
        quantized = chosen is not None and is_quantized(path)
        if chosen is not None and quantized:
            data, scale = chosen.shapes(path, dims)
            variables |= {path: len(data.shape), path + SCALE_SUFFIX: len(scale.shape)}
        for name, ndim in variables.items():
            axes = weight_spec(name, ndim=ndim, config=config, mesh=shape, quantized=quantized and name == path)
            found[name.replace("decoder_block_0/", r"decoder_block_\d+/")] = axes
    return found


def mesh_shape(mesh: keras.distribution.DeviceMesh) -> MeshShape:
    """The shape of a Keras mesh with our axis names.

    Raises:
        ValueError: other names.
    """
    names = tuple(mesh.axis_names)
    if names not in (("data", "model"), ("replica", "fsdp", "model")):
        raise ValueError(
            f"A mesh must have the axes (data, model) or (replica, fsdp, model), in this order; got {names}. "
            "Make it with distribution.device_mesh(MeshShape(...))."
        )
    return MeshShape(**dict(zip(names, map(int, mesh.shape), strict=True)))
