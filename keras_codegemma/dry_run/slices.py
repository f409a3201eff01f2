"""TPU slices that exist for the compiler only: `libtpu` compiles for them on any machine. It runs nothing."""

import functools
import importlib.util
import os
from typing import Any

from jax.experimental import topologies

# What libtpu asks the machine for; on one without a TPU it would look for a metadata server.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def has_compiler() -> bool:
    """Whether `libtpu` is installed."""
    return importlib.util.find_spec("libtpu") is not None


@functools.cache
def devices(topology: str) -> tuple[Any, ...]:
    """The chips of a slice such as "v5e:2x4"."""
    os.environ.update(_ENVIRONMENT)
    # Hosts of a v5e or v6e slice have 2 x 2 chips; one chip alone is another kind of machine.
    host = {"chips_per_host_bounds": [1, 1, 1]} if topology.endswith(":1x1") else {}
    return tuple(topologies.get_topology_desc(platform="tpu", topology_name=topology, **host).devices)
