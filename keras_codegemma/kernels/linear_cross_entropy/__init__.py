"""The loss of a linear read-out over a large vocabulary, without its logits.

`statistics` gives, for each row, what losses and metrics need of its logits; `linear_cross_entropy` the loss itself.
"""

from functools import partial

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.dispatch import PLATFORMS, Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.linear_cross_entropy import chunked, native, reference, tpu
from keras_codegemma.kernels.linear_cross_entropy.cases import EXAMPLES
from keras_codegemma.kernels.linear_cross_entropy.mesh import over_mesh
from keras_codegemma.kernels.linear_cross_entropy.reference import Statistics, Table
from keras_codegemma.kernels.partition import Storage
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight

__all__ = ["OPERATION", "Statistics", "linear_cross_entropy", "statistics"]


def _tpu_supports(hidden: Array, table: Table, labels: Array) -> str | None:
    return tpu.supports(hidden, table)


OPERATION = Operation(
    "linear_cross_entropy",
    Implementation(name="pallas", platforms=("tpu",), supports=_tpu_supports, run=tpu.statistics),
    Implementation(name="native", platforms=("cpu",), supports=native.supports, run=native.statistics),
    Implementation(
        name="chunked_cpu", platforms=("cpu",), supports=anything, run=partial(chunked.statistics, as_bits=True)
    ),
    Implementation(name="chunked", platforms=PLATFORMS, supports=anything, run=chunked.statistics),
    as_reference(reference.statistics),
    examples=lambda: {case.name: case.arguments("bfloat16") for case in EXAMPLES},
)


def statistics(
    hidden: Float[Array, "... D"],
    table: Table,
    labels: Int[Array, "..."],
    *,
    storage: Storage | None = None,
    implementation: str | None = None,
) -> Statistics:
    """Of each row's logits z = hidden table^T: log sum exp, the label's, the largest and its index.

    The first two are differentiable with respect to hidden states and, unless quantised, the table. Logits are not
    rounded below float32 and never exist all at once, but for the reference.

    Args:
        hidden: states that are to predict `labels`.
        table: the embedding [V, D], of the dtype of `hidden`; or quantised.
        labels: in [0, V). One outside has the logit 0, but for the reference.
        storage: how the table lies on a mesh, with rows [B, T] whose B the batch axes may divide; None on one device.
        implementation: "pallas", "native", "chunked_cpu", "chunked" or "reference"; None for the best.

    Returns:
        Arrays of the shape of `labels`.

    Raises:
        ValueError: shapes or dtypes that do not fit, or an implementation that cannot run here.
    """
    if hidden.shape[:-1] != labels.shape or len(table.shape) != 2 or hidden.shape[-1] != table.shape[1]:
        raise ValueError(
            "Hidden states must be [..., D] with a table [V, D] and one label each; got "
            f"{hidden.shape}, {table.shape} and {labels.shape}. Flatten and shift them alike."
        )
    if not isinstance(table, QuantizedWeight) and hidden.dtype != table.dtype:
        raise ValueError(
            f"Hidden states and table must have one dtype; got {hidden.dtype} and {table.dtype}. Cast the table."
        )
    if storage is not None:
        return over_mesh(
            lambda *operands: OPERATION(*operands, implementation=implementation), hidden, table, labels, storage
        )
    found = OPERATION(hidden.reshape(-1, hidden.shape[-1]), table, labels.reshape(-1), implementation=implementation)
    return Statistics(*(x.reshape(labels.shape) for x in found))


def linear_cross_entropy(
    hidden: Float[Array, "... D"],
    table: Table,
    labels: Int[Array, "..."],
    *,
    z_loss: float = 0.0,
    storage: Storage | None = None,
    implementation: str | None = None,
) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
    """The cross-entropy of each row against its label, and the argmax for accuracy.

    loss = L - z[label] + z_loss L^2 with L = log sum exp z (the last term keeps L near 0: Chowdhery et al., 2022, PaLM,
    section 5). Weights and means are the caller's.

    Args:
        hidden, table, labels, storage, implementation: as `statistics` takes them.
        z_loss: 0 or more; weight of the squared L.

    Returns:
        loss: float32, in nats; and the argmax, int32, the first of equals.

    Raises:
        ValueError: as `statistics`.
    """
    found = statistics(hidden, table, labels, storage=storage, implementation=implementation)
    loss = found.log_total - found.label_logit
    return (loss + z_loss * jnp.square(found.log_total) if z_loss else loss), found.best
