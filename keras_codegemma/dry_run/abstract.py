"""A model whose weights are shapes only: built as any other, on a mesh of devices that need not exist.

Keras creates variables without values inside a `StatelessScope`; here they keep none. Programs are then lowered with
`ShapeDtypeStruct`s in their place, so a 7B model takes no more memory than a small one.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import keras
from keras.src.backend.common import global_state  # no public name lets go of variables that wait for their values

from keras_codegemma.backbone import DEFAULT_LORA_TARGETS
from keras_codegemma.causal_lm import CodeGemmaBackbone, CodeGemmaCausalLM
from keras_codegemma.distribution import CodeGemmaParallel


def abstract_model(
    parallel: CodeGemmaParallel,
    *,
    dtype: str,
    lora_rank: int | None = None,
    lora_targets: tuple[str, ...] = DEFAULT_LORA_TARGETS,
) -> CodeGemmaCausalLM:
    """A model of the distribution's architecture, each variable with its layout and without a value.

    Args:
        parallel: over any devices, also those of a topology that is only compiled for.
        dtype: policy, as of `CodeGemmaBackbone`.
        lora_rank: adds adapters and freezes the rest.
        lora_targets: as of `CodeGemmaBackbone.enable_lora`.
    """
    with parallel.scope(), without_values():
        backbone = CodeGemmaBackbone(**parallel.config.to_dict(), dtype=dtype)
        if lora_rank is not None:
            backbone.enable_lora(lora_rank, target_names=lora_targets)
        lm = CodeGemmaCausalLM(backbone)
    for variable in lm.variables:
        variable._layout = parallel.get_variable_layout(variable)
    return lm


@contextmanager
def without_values() -> Iterator[None]:
    """Within it, variables are created without values, and never get any."""
    before = list(global_state.get_global_attribute("uninitialized_variables") or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Keras would fill in whatever stands here the next time that it is asked for values.
        global_state.set_global_attribute("uninitialized_variables", before)


def abstract_optimizer(optimizer: keras.optimizers.Optimizer, lm: CodeGemmaCausalLM) -> None:
    """Gives an optimiser its slots, without values, laid out as their weights."""
    with without_values():
        optimizer.build(lm.trainable_variables)


def specs(variables: Iterable[Any], parallel: CodeGemmaParallel) -> list[jax.ShapeDtypeStruct]:
    """The shape, dtype and sharding of each variable; of those without a layout, whole on every device."""
    found = []
    for variable in variables:
        layout = getattr(variable, "_layout", None)
        sharding = replicated(parallel) if layout is None else layout.backend_layout
        found.append(jax.ShapeDtypeStruct(tuple(variable.shape), variable.dtype, sharding=sharding))
    return found


def replicated(parallel: CodeGemmaParallel) -> jax.sharding.NamedSharding:
    """Whole on every device of the mesh."""
    return jax.sharding.NamedSharding(parallel.device_mesh.backend_mesh, jax.sharding.PartitionSpec())


def rows(parallel: CodeGemmaParallel, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """A batch's array, its rows over the batch axes."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=parallel.row_layout(len(shape)).backend_layout)
