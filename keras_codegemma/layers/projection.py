"""Products of activations with weights: the function `contract`, and the dense layer made of it.

Every large product of the model goes through `contract`, so that what each platform needs to be fast is said once:

- In bfloat16 the accumulation type is named. XLA's CPU compiler then uses the processor's bfloat16 instructions;
  without it the same product takes two to twenty times as long. Gradients name it too, which the automatic rule
  would not do: it would multiply a float32 cotangent with bfloat16 weights, in float32.
- In bfloat16 a single row is padded to two. XLA's CPU compiler has a slow path for one row only (a 1024 x 3072
  product: 3.7 ms for one row, 0.3 ms for two; `tests/benchmarks/generate_speed.py` times whole models).
- A kernel [N, D, H], heads first, is a batched product over N; as one product, XLA's CPU compiler would transpose
  the whole weight at each use.
"""

from functools import partial

import jax
import jax.numpy as jnp
import keras

from keras_codegemma.axes import Array, Float

_HEADS_FIRST = "md,ndh->mnh"
_PUNCTUATION = str.maketrans("", "", ",->")


def contract(equation: str, x: Float[Array, "B T ..."], kernel: Float[Array, "..."]) -> Float[Array, "B T ..."]:
    """Multiplies activations with a kernel by an einsum equation, accumulating in float32.

    Args:
        equation: two operands, `x` first; both batch and time stand first in `x` and in the result, and every other
            letter of `x` is summed over.
        x: activations, any float type.
        kernel: weights; cast to the type of `x`.

    Returns:
        The product, in the type of `x`.
    """
    return _contract(equation, x, kernel.astype(x.dtype))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _contract(equation: str, x: Array, kernel: Array) -> Array:
    return einsum_accumulating_in_float32(equation, x, kernel).astype(x.dtype)


def _contract_forward(equation: str, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _contract(equation, x, kernel), (x, kernel)


def _contract_backward(equation: str, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    operands, result = equation.split("->")
    x_letters, kernel_letters = operands.split(",")
    # No letter is summed within one operand, so each gradient is again a product of the other two.
    x_gradient = einsum_accumulating_in_float32(f"{result},{kernel_letters}->{x_letters}", gradient, kernel)
    kernel_gradient = einsum_accumulating_in_float32(f"{x_letters},{result}->{kernel_letters}", x, gradient)
    return x_gradient.astype(x.dtype), kernel_gradient.astype(kernel.dtype)


_contract.defvjp(_contract_forward, _contract_backward)


def einsum_accumulating_in_float32(equation: str, x: Array, y: Array) -> Float[Array, "..."]:
    """`jnp.einsum` of two arrays of one float type; the result is float32, whatever the operands are."""
    operands, result = equation.split("->")
    letters, _ = operands.split(",")
    rows = letters[:2]
    if not result.startswith(rows):
        return _plain_einsum(equation, x, y)
    # Batch and time as one axis of rows: XLA's CPU compiler finds its fast product for a matrix, not for [B, 1, D].
    batch, time = x.shape[:2]
    flat = equation.replace(rows, "m")
    product = _rows_einsum(flat, x.reshape(batch * time, *x.shape[2:]), y)
    return product.reshape(batch, time, *product.shape[1:])


def _rows_einsum(equation: str, x: Array, y: Array) -> Array:
    on_cpu = partial(_heads_first if _is_heads_first(equation) else _plain_einsum, equation)
    pad_row = x.dtype == jnp.bfloat16 and x.shape[0] == 1
    if not pad_row and on_cpu.func is _plain_einsum:
        return _plain_einsum(equation, x, y)

    def cpu(x: Array, y: Array) -> Array:
        if pad_row:
            return on_cpu(jnp.pad(x, ((0, 1),) + ((0, 0),) * (x.ndim - 1)), y)[:1]
        return on_cpu(x, y)

    return jax.lax.platform_dependent(x, y, cpu=cpu, default=partial(_plain_einsum, equation))


def _plain_einsum(equation: str, x: Array, y: Array) -> Array:
    return jnp.einsum(equation, x, y, preferred_element_type=jnp.float32)


def _is_heads_first(equation: str) -> bool:
    canonical = dict(zip(dict.fromkeys(equation.translate(_PUNCTUATION)), "mdnh", strict=False))
    return equation.translate(str.maketrans(canonical)) == _HEADS_FIRST


def _heads_first(equation: str, x: Array, kernel: Array) -> Array:
    """`md,ndh->mnh` without transposing the kernel: one product per head over a broadcast `x`."""
    rows = jnp.broadcast_to(x, (kernel.shape[0], *x.shape))  # N M D
    product = jax.lax.dot_general(
        rows, kernel, (((2,), (1,)), ((0,), (0,))), preferred_element_type=jnp.float32
    )  # N M H
    return product.transpose(1, 0, 2)


@jax.custom_vjp
def logits_product(hidden: Float[Array, "B T D"], table: Float[Array, "V D"]) -> Float[Array, "B T V"]:
    """Hidden states times the embedding's rows: float32 logits from operands of one type.

    The result is not rounded to bfloat16, unlike in KerasHub: at 256,000 rows, rounding makes ties.
    """
    return einsum_accumulating_in_float32("btd,vd->btv", hidden, table)


def _logits_forward(hidden: Array, table: Array) -> tuple[Array, tuple[Array, Array]]:
    return logits_product(hidden, table), (hidden, table)


def _logits_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    hidden, table = saved
    gradient = gradient.astype(hidden.dtype)
    return (
        einsum_accumulating_in_float32("btv,vd->btd", gradient, table).astype(hidden.dtype),
        einsum_accumulating_in_float32("btv,btd->vd", gradient, hidden).astype(table.dtype),
    )


logits_product.defvjp(_logits_forward, _logits_backward)


class Projection(keras.layers.EinsumDense):
    """A bias-free dense layer over named axes, with optional low-rank adapters (LoRA).

    The last letter of the equation's kernel is an output axis. With LoRA enabled the result is
    x W + (alpha / rank) (x A) B, computed from right to left, so that A B is never formed.

    Args:
        equation: as `contract` takes it.
        output_shape: the result's axes after batch and time, with None for time first, as in `EinsumDense`.
        **options: passed to `keras.layers.EinsumDense`; no bias, no activation.
    """

    def __init__(self, equation: str, output_shape: tuple[int | None, ...], **options):
        super().__init__(equation, output_shape, **options)
        if self.bias_axes is not None or options.get("activation") is not None:
            raise ValueError(
                "A Projection has neither bias nor activation; got "
                f"bias_axes={self.bias_axes!r}, activation={options.get('activation')!r}. Use keras.layers.EinsumDense."
            )

    def call(self, inputs, training=None):
        """inputs: [B, T, ...] by the equation. Returns [B, T, ...] in the compute dtype."""
        output = contract(self.equation, inputs, self._kernel.value)
        if self.lora_enabled:
            output = output + self._adapter(inputs)
        return output

    def _adapter(self, inputs):
        operands, result = self.equation.split("->")
        x_letters, kernel_letters = operands.split(",")
        # The rank replaces the kernel's last axis: A is [..., R] and B is [R, last].
        reduced = result[:-1] + "r"
        low = contract(f"{x_letters},{kernel_letters[:-1]}r->{reduced}", inputs, self.lora_kernel_a.value)
        high = contract(f"{reduced},r{kernel_letters[-1]}->{result}", low, self.lora_kernel_b.value)
        assert self.lora_alpha is not None
        assert self.lora_rank is not None
        return (self.lora_alpha / self.lora_rank) * high

    def compute_output_spec(self, inputs, training=None):
        """Says the result's shape without tracing a product."""
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)
