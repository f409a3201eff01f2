"""GPUs that exist for the compiler only: JAX's CUDA plugin compiles for them on any machine. It runs nothing."""

import functools
import importlib.util
from dataclasses import dataclass
from typing import Any

from jax.experimental import topologies

_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
_NODE = 8
"""GPUs of a host."""


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What the compiler asks about a GPU: NVIDIA's data sheets and CUDA programming guide.

    Attributes:
        kind: as JAX names the device.
        capability: compute capability, major and minor.
        cores: streaming multiprocessors.
        lanes: float32 units of each.
        shared_bytes: shared memory of a block, the most that it can ask for.
        core_shared_bytes: of a multiprocessor.
        core_threads: most threads of a multiprocessor.
        cache_bytes: second-level cache.
        memory_bytes: on the card.
        bandwidth: bytes a second.
        clock: GHz.
    """

    kind: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    shared_bytes: int
    core_shared_bytes: int
    core_threads: int
    cache_bytes: int
    memory_bytes: int
    bandwidth: int
    clock: float

    def text(self) -> str:
        """XLA's `GpuTargetConfigProto`."""
        major, minor = self.capability
        return f"""
            platform_name: "CUDA"
            device_description_str: "{self.kind}"
            runtime_version {{ major: 12 minor: 8 }}
            dnn_version_info {{ major: 9 minor: 8 }}
            gpu_device_info {{
              cuda_compute_capability {{ major: {major} minor: {minor} }}
              threads_per_block_limit: 1024
              threads_per_warp: 32
              threads_per_core_limit: {self.core_threads}
              core_count: {self.cores}
              fpus_per_core: {self.lanes}
              registers_per_core_limit: 65536
              registers_per_block_limit: 65536
              shared_memory_per_block: 49152
              shared_memory_per_block_optin: {self.shared_bytes}
              shared_memory_per_core: {self.core_shared_bytes}
              block_dim_limit_x: 2147483647
              block_dim_limit_y: 65535
              block_dim_limit_z: 65535
              l2_cache_size: {self.cache_bytes}
              device_memory_size: {self.memory_bytes}
              memory_bandwidth: {self.bandwidth}
              clock_rate_ghz: {self.clock}
            }}"""


_TARGETS = {
    "h100": _Target(
        kind="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        cores=132,
        lanes=128,
        shared_bytes=227 * 1024,
        core_shared_bytes=228 * 1024,
        core_threads=2048,
        cache_bytes=50 * 2**20,
        memory_bytes=80 * 10**9,
        bandwidth=3_350 * 10**9,
        clock=1.98,
    ),
    "a100": _Target(
        kind="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        cores=108,
        lanes=64,
        shared_bytes=163 * 1024,
        core_shared_bytes=164 * 1024,
        core_threads=2048,
        cache_bytes=40 * 2**20,
        memory_bytes=80 * 10**9,
        bandwidth=2_039 * 10**9,
        clock=1.41,
    ),
    "rtx4090": _Target(
        kind="NVIDIA GeForce RTX 4090",
        capability=(8, 9),
        cores=128,
        lanes=128,
        shared_bytes=99 * 1024,
        core_shared_bytes=100 * 1024,
        core_threads=1536,
        cache_bytes=72 * 2**20,
        memory_bytes=24 * 10**9,
        bandwidth=1_008 * 10**9,
        clock=2.52,
    ),
}
KINDS = tuple(_TARGETS)


def has_compiler() -> bool:
    """Whether JAX's CUDA plugin is installed; it needs neither a GPU nor a driver to compile."""
    return any(importlib.util.find_spec(name) is not None for name in _PLUGINS)


@functools.cache
def devices(topology: str) -> tuple[Any, ...]:
    """The GPUs of a topology such as "h100:8": of one host up to 8, of hosts of 8 beyond that.

    Raises:
        KeyError: a kind that is none of `KINDS`.
    """
    kind, _, count = topology.partition(":")
    hosts, each = max(1, int(count) // _NODE), min(_NODE, int(count))
    found = topologies.get_topology_desc(
        platform="cuda", topology_name="", target_config=_TARGETS[kind].text(), topology=f"1x{hosts}x{each}"
    )
    return tuple(found.devices)
