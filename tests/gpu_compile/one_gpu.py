"""Functions compiled for one GPU that is not there."""

from typing import Any

import jax

from keras_codegemma.dry_run import gpus
from keras_codegemma.dry_run.compiled import read


def compile_for_one_gpu(function, *arguments: Any, kind: str) -> jax.stages.Compiled:
    """Compiles a function of pytrees of `ShapeDtypeStruct`s; fails where a kernel needs too much shared memory."""
    sharding = jax.sharding.SingleDeviceSharding(gpus.devices(f"{kind}:1")[0])
    placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments)
    return jax.jit(function).lower(*placed).compile()


def kernels(compiled: jax.stages.Compiled) -> int:
    """How many calls of our kernels it has; fusions that the compiler makes itself are none."""
    return read(compiled).kernels


def temporary_bytes(compiled: jax.stages.Compiled) -> int:
    """What it makes and drops."""
    return read(compiled).temporary_bytes
