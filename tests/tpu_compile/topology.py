"""TPU slices that exist for the compiler only: `libtpu` compiles for them on any machine. It runs nothing."""

import functools
import os
from typing import Any

import jax
from jax.experimental import topologies

TOPOLOGIES = ("v5e:2x4", "v6e:2x4")

# What libtpu asks the machine for; on one without a TPU it would look for a metadata server.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@functools.cache
def devices(topology: str) -> tuple[Any, ...]:
    """The chips of a slice such as "v5e:2x4"."""
    os.environ.update(_ENVIRONMENT)
    # Hosts of a v5e or v6e slice have 2 x 2 chips; one chip alone is another kind of machine.
    host = {"chips_per_host_bounds": [1, 1, 1]} if topology.endswith(":1x1") else {}
    return tuple(topologies.get_topology_desc(platform="tpu", topology_name=topology, **host).devices)


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
