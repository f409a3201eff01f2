"""Functions compiled for one GPU that is not there."""

from typing import Any

import jax

from keras_codegemma.dry_run import gpus

KERNEL = 'custom_call_target="__gpu$xla.gpu.triton"'
"""A kernel of ours in a compiled program's text; fusions that the compiler makes itself are none."""


def compile_for_one_gpu(function, *arguments: Any, kind: str) -> jax.stages.Compiled:
    """Compiles a function of pytrees of `ShapeDtypeStruct`s; fails where a kernel needs too much shared memory."""
    sharding = jax.sharding.SingleDeviceSharding(gpus.devices(f"{kind}:1")[0])
    placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments)
    return jax.jit(function).lower(*placed).compile()


def kernels(compiled: jax.stages.Compiled) -> int:
    """How many calls of our kernels it has."""
    return (compiled.as_text() or "").count(KERNEL)


def temporary_bytes(compiled: jax.stages.Compiled) -> int:
    """What it makes and drops."""
    memory = compiled.memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes
