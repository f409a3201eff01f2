"""Functions compiled for one chip of a slice, also with a limit of its fast memory."""

import jax

from keras_codegemma.dry_run.slices import devices

TOPOLOGIES = ("v5e:2x4", "v6e:2x4")


def one_chip(topology: str) -> jax.sharding.Sharding:
    """The sharding that keeps arrays whole on the first chip."""
    mesh = jax.sharding.Mesh(devices(topology)[:1], ("chip",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def compile_for_one_chip(
    function, *arguments: jax.ShapeDtypeStruct, topology: str, vmem_bytes: int | None = None
) -> jax.stages.Compiled:
    """Compiles a function for one chip; with a limit of VMEM, fails where a kernel needs more."""
    sharding = one_chip(topology)
    placed = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for x in arguments]
    options = {} if vmem_bytes is None else {"xla_tpu_scoped_vmem_limit_kib": str(vmem_bytes // 1024)}
    return jax.jit(function).lower(*placed).compile(compiler_options=options)


def fits(function, operands, *, topology: str, vmem_bytes: int) -> bool:
    """Whether a function compiles within a limit of VMEM; every other error is raised."""
    try:
        compile_for_one_chip(function, *operands, topology=topology, vmem_bytes=vmem_bytes)
    except jax.errors.JaxRuntimeError as error:
        if "vmem" not in str(error):
            raise
        return False
    return True
