"""From one device to a pod: meshes, the layout of every weight, the choice of a mesh, and the start of many processes.

    parallel = kcg.distribution.auto(config, job="lora", rows=8, length=2048).parallel()
    keras.distribution.set_distribution(parallel)
    lm = kcg.CodeGemmaCausalLM.from_preset(...)       # weights go straight to their devices

| to | read |
| --- | --- |
| see how each weight is split | `sharding/rules.py` |
| see what Keras is told | `parallel.py` |
"""

from typing import Any

import jax
import keras

from keras_codegemma.distribution.parallel import CodeGemmaParallel, device_mesh, layout_map
from keras_codegemma.sharding import MeshShape

__all__ = ["CodeGemmaParallel", "MeshShape", "active", "device_mesh", "layout_map", "place"]


def active() -> CodeGemmaParallel | None:
    """The global distribution, where it is one of ours."""
    found = keras.distribution.distribution()
    return found if isinstance(found, CodeGemmaParallel) else None


def place(value: Any, spec: jax.sharding.PartitionSpec) -> jax.Array:
    """An array on the global distribution's mesh: each device is given its part of it, and no device the whole."""
    distribution = keras.distribution.distribution()
    assert distribution is not None
    sharding = jax.sharding.NamedSharding(distribution.device_mesh.backend_mesh, spec)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])
