"""Cross-entropy of a linear read-out, as in a textbook: all logits at once, float32."""

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int


def linear_cross_entropy(
    hidden: Float[Array, "M D"], table: Float[Array, "V D"], labels: Int[Array, " M"], *, z_loss: float = 0.0
) -> tuple[Float[Array, " M"], Int[Array, " M"]]:
    """The loss of each row and the row of the table that it likes best.

    With logits z = hidden table^T and L = log sum exp z: loss = L - z[label] + z_loss L^2 (the last term keeps L near
    0: Chowdhery et al., 2022, PaLM, section 5).

    Returns:
        loss: float32 [M], in nats, and the argmax: int32 [M], the first of equals.
    """
    logits = jnp.einsum("md,vd->mv", hidden.astype(jnp.float32), table.astype(jnp.float32), precision="highest")
    log_total = jax.nn.logsumexp(logits, axis=-1)
    of_label = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return log_total - of_label + z_loss * log_total**2, jnp.argmax(logits, axis=-1).astype(jnp.int32)
