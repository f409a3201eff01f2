"""From one device to many: meshes, and the layout of every weight.

    shape = kcg.distribution.MeshShape(fsdp=4, model=2)
    parallel = kcg.distribution.CodeGemmaParallel(shape, kcg.presets.find("code_gemma_2b_en").config)
    keras.distribution.set_distribution(parallel)
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_2b_en")      # weights go straight to their devices

| to | read |
| --- | --- |
| see how each weight is split | `sharding/rules.py` |
| see what Keras is told | `parallel.py` |
| see how a mesh is chosen | `choice.py`, `planning/` |
| see how batches of several processes are filled up | `rows.py` |
| see how several processes start, agree and end | `hosts.py`, `watch.py`, `together.py` |
"""

from typing import Any

import jax
import keras

from keras_codegemma.distribution.choice import auto
from keras_codegemma.distribution.hosts import Hosts, check_agreement, end_job, initialize
from keras_codegemma.distribution.parallel import CodeGemmaParallel, device_mesh, layout_map
from keras_codegemma.distribution.together import any_process, fetch, is_first, wait_for_all
from keras_codegemma.kernels.partition import Partition, Storage
from keras_codegemma.sharding import MeshShape

__all__ = [
    "CodeGemmaParallel",
    "Hosts",
    "MeshShape",
    "active",
    "any_process",
    "auto",
    "check_agreement",
    "device_mesh",
    "end_job",
    "fetch",
    "initialize",
    "is_first",
    "layout_map",
    "place",
    "storage_of",
    "wait_for_all",
]


def active() -> CodeGemmaParallel | None:
    """The global distribution, where it is one of ours."""
    found = keras.distribution.distribution()
    return found if isinstance(found, CodeGemmaParallel) else None


def may_split() -> bool:
    """Whether arrays may lie on a mesh, by a distribution of ours or any other, so that XLA must split products."""
    return keras.distribution.distribution() is not None


def active_partition() -> Partition | None:
    """The mesh of the global distribution, as layers that are built under it keep it; None without one of ours."""
    found = active()
    return None if found is None else found.partition


def storage_of(variable: keras.Variable) -> Storage | None:
    """How a weight lies on the global distribution's mesh; None without one of ours."""
    found = active()
    if found is None:
        return None
    return Storage(partition=found.partition, axes=tuple(found.get_variable_layout(variable).axes))


def place(value: Any, spec: jax.sharding.PartitionSpec) -> jax.Array:
    """An array on the global distribution's mesh: each device is given its part of it, and no device the whole."""
    distribution = keras.distribution.distribution()
    assert distribution is not None
    sharding = jax.sharding.NamedSharding(distribution.device_mesh.backend_mesh, spec)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])
