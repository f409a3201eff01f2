"""The loss of a linear read-out over a large vocabulary, without its logits: `linear_cross_entropy`."""

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.dispatch import PLATFORMS, Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.linear_cross_entropy import chunked, reference, tpu

__all__ = ["OPERATION", "linear_cross_entropy"]


def _tpu_supports(hidden: Array, table: Array, labels: Array, **_: float) -> str | None:
    return tpu.supports(hidden, table)


OPERATION = Operation(
    "linear_cross_entropy",
    Implementation(name="pallas", platforms=("tpu",), supports=_tpu_supports, run=tpu.linear_cross_entropy),
    Implementation(name="chunked", platforms=PLATFORMS, supports=anything, run=chunked.linear_cross_entropy),
    as_reference(reference.linear_cross_entropy),
)


def linear_cross_entropy(
    hidden: Float[Array, "... D"],
    table: Float[Array, "V D"],
    labels: Int[Array, "..."],
    *,
    z_loss: float = 0.0,
    implementation: str | None = None,
) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
    """The cross-entropy of each row against its label, and the argmax for accuracy.

    loss = L - z[label] + z_loss L^2 with logits z = hidden table^T and L = log sum exp z. Differentiable with respect
    to hidden states and table; weights and means are the caller's. Logits are not rounded below float32.

    Args:
        hidden: states that are to predict `labels`.
        table: the embedding, of the dtype of `hidden`.
        labels: in [0, V); one outside costs L, as if its logit were 0, but for the reference.
        z_loss: 0 or more; weight of the squared L.
        implementation: "pallas", "chunked" or "reference"; None for the best.

    Returns:
        loss: float32, in nats; and the argmax, int32, the first of equals.

    Raises:
        ValueError: shapes or dtypes that do not fit, or an implementation that cannot run here.
    """
    if hidden.shape[:-1] != labels.shape or table.ndim != 2 or hidden.shape[-1] != table.shape[1]:
        raise ValueError(
            "Hidden states must be [..., D] with a table [V, D] and one label each; got "
            f"{hidden.shape}, {table.shape} and {labels.shape}. Flatten and shift them alike."
        )
    if hidden.dtype != table.dtype:
        raise ValueError(
            f"Hidden states and table must have one dtype; got {hidden.dtype} and {table.dtype}. Cast the table."
        )
    loss, best = OPERATION(
        hidden.reshape(-1, hidden.shape[-1]), table, labels.reshape(-1), z_loss=z_loss, implementation=implementation
    )
    return loss.reshape(labels.shape), best.reshape(labels.shape)
