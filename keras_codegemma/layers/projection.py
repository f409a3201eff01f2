"""Products of activations with weights: the function `contract`, and the dense layer made of it.

Every large product of the model goes through `contract`, or through `quantized_matmul` where the weight is quantised.
Both run on flat rows of activations, [B T, ...]: compilers and kernels are fast at matrices, not at [B, 1, D].
Gradients name their accumulation type like the products themselves, which the automatic rule would not do: it would
multiply a float32 cotangent with bfloat16 weights, in float32.
"""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_codegemma import distribution
from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.matmul import matmul
from keras_codegemma.kernels.partition import Storage
from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, dequantize, quantized_matmul, quantized_shapes
from keras_codegemma.kernels.weight_gradient import weight_gradient
from keras_codegemma.quantization import Form, Quantization, as_kernel, matrix_shape, split_policy_name


def contract(
    equation: str, x: Float[Array, "B T ..."], kernel: Float[Array, "..."], *, storage: Storage | None = None
) -> Float[Array, "B T ..."]:
    """Multiplies activations with a kernel by an einsum equation, accumulating in float32.

    Args:
        equation: two operands, `x` first; both batch and time stand first in `x` and in the result, and every other
            letter of `x` is summed over.
        x: activations, any float type.
        kernel: weights; cast to the type of `x`.
        storage: how the kernel lies on a mesh; None on one device, or to leave it to the compiler.

    Returns:
        The product, in the type of `x`.
    """
    return _contract(equation, storage, x, kernel.astype(x.dtype))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _contract(equation: str, storage: Storage | None, x: Array, kernel: Array) -> Array:
    kernel = kernel if storage is None else storage.gather(kernel)
    return einsum_accumulating_in_float32(equation, x, kernel, out_dtype=x.dtype)


def _contract_forward(
    equation: str, storage: Storage | None, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _contract(equation, storage, x, kernel), (x, kernel)


def _contract_backward(
    equation: str, storage: Storage | None, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    operands, result = equation.split("->")
    x_letters, kernel_letters = operands.split(",")
    # No letter is summed within one operand, so each gradient is again a product of the other two.
    used = kernel if storage is None else storage.gather(kernel)  # again: what was gathered is not kept
    x_gradient = einsum_accumulating_in_float32(
        f"{result},{kernel_letters}->{x_letters}", gradient, used, out_dtype=x.dtype
    )

    def product(x: Array, gradient: Array) -> Array:
        equation = f"{x_letters},{result}->{kernel_letters}"
        found = weight_gradient(equation, x, gradient, is_split=distribution.may_split())
        return found.astype(kernel.dtype)

    if storage is None or not storage.can_scatter(x.shape[0]):
        return x_gradient, product(x, gradient)
    scattered = storage.scattered(product, x_letters, result, kernel_letters)
    return x_gradient, scattered(x, gradient)


_contract.defvjp(_contract_forward, _contract_backward)


def einsum_accumulating_in_float32(
    equation: str, x: Array, y: Array, *, out_dtype: Any = jnp.float32
) -> Float[Array, "..."]:
    """`jnp.einsum` of two arrays of one float type, summed in float32 and rounded once, to `out_dtype`."""
    operands, result = equation.split("->")
    x_letters, y_letters = operands.split(",")
    rows = x_letters[:2]
    if not result.startswith(rows):
        return jnp.einsum(equation, x, y, preferred_element_type=jnp.float32).astype(out_dtype)
    batch, time = x.shape[:2]
    flat = x.reshape(batch * time, *x.shape[2:])
    layout = _layout(x_letters[2:], y_letters, result[2:])
    if layout is None:
        product = jnp.einsum(equation.replace(rows, "m"), flat, y, preferred_element_type=jnp.float32)
        return product.reshape(batch, time, *product.shape[1:]).astype(out_dtype)
    sizes = dict(zip(y_letters, y.shape, strict=True))
    inputs = prod(x.shape[2:])
    if layout != "heads_first":
        y = y.reshape((inputs, -1) if layout == "inputs_first" else (-1, inputs))
    rows, is_split = flat.reshape(batch * time, inputs), distribution.may_split()
    product = matmul(rows, y, layout=layout, out_dtype=out_dtype, is_split=is_split)
    return product.reshape(batch, time, *(sizes[letter] for letter in result[2:]))


def _layout(inputs: str, kernel: str, outputs: str) -> str | None:
    """The layout of a kernel with these letters, as `matmul` calls it; None for a product that is none of its."""
    if kernel == inputs + outputs:
        return "inputs_first"
    if kernel == outputs + inputs:
        return "outputs_first"
    return "heads_first" if len(outputs) == 2 and kernel == outputs[0] + inputs + outputs[1] else None


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
        einsum_accumulating_in_float32("btv,vd->btd", gradient, table, out_dtype=hidden.dtype),
        einsum_accumulating_in_float32("btv,btd->vd", gradient, hidden, out_dtype=table.dtype),
    )


logits_product.defvjp(_logits_forward, _logits_backward)


class Projection(keras.layers.EinsumDense):
    """A bias-free dense layer over named axes, in floats or quantised, with optional low-rank adapters (LoRA).

    The last letter of the equation's kernel is an output axis. With LoRA enabled the result is
    x W + (alpha / rank) (x A) B, computed from right to left, so that A B is never formed.

    Args:
        equation: as `contract` takes it.
        output_shape: the result's axes after batch and time, with None for time first, as in `EinsumDense`.
        **options: passed to `keras.layers.EinsumDense`; no bias, no activation. A quantised dtype policy, such as
            "int8_from_bfloat16", creates the quantised variables at once.
    """

    def __init__(
        self, equation: str, output_shape: tuple[int | None, ...], *, scale_initializer: Any = "ones", **options
    ):
        super().__init__(equation, output_shape, **options)
        self._scale_initializer = scale_initializer
        self._storage: Storage | None = None
        if self.bias_axes is not None or options.get("activation") is not None:
            raise ValueError(
                "A Projection has neither bias nor activation; got "
                f"bias_axes={self.bias_axes!r}, activation={options.get('activation')!r}. Use keras.layers.EinsumDense."
            )

    def build(self, input_shape):
        super().build(input_shape)
        self._storage = distribution.storage_of(self._kernel)

    @property
    def form(self) -> Form:
        """How the float kernel lies."""
        operands, result = self.equation.split("->")
        x_letters, kernel_letters = operands.split(",")
        layout = _layout(x_letters[2:], kernel_letters, result[2:])
        assert layout in ("inputs_first", "heads_first"), self.equation
        return "join_heads" if len(x_letters) == 4 else layout

    @property
    def float_kernel(self) -> Array:
        """The kernel in the equation's shape, without adapters; of a quantised layer, float32, made at each use."""
        weight = self.quantized_weight
        if weight is None:
            return self._kernel.value
        return as_kernel(self.form, dequantize(weight), self.original_kernel_shape)

    @property
    def quantized_weight(self) -> QuantizedWeight | None:
        """The quantised weight [N, K], or None."""
        if self.quantization_mode is None:
            return None
        return QuantizedWeight(data=self._kernel.value, scale=self.kernel_scale.value)

    def call(self, inputs, training=None):
        """inputs: [B, T, ...] by the equation. Returns [B, T, ...] in the compute dtype."""
        return project([self], inputs)[0]

    quantized_call = call

    def adapt(self, inputs, output):
        """The result with the adapters' share, where the layer has any."""
        if not self.lora_enabled:
            return output
        operands, result = self.equation.split("->")
        x_letters, kernel_letters = operands.split(",")
        # The rank replaces the kernel's last axis: A is [..., R] and B is [R, last].
        reduced = result[:-1] + "r"
        low = contract(f"{x_letters},{kernel_letters[:-1]}r->{reduced}", inputs, self.lora_kernel_a.value)
        high = contract(f"{reduced},r{kernel_letters[-1]}->{result}", low, self.lora_kernel_b.value)
        assert self.lora_alpha is not None
        assert self.lora_rank is not None
        return output + (self.lora_alpha / self.lora_rank) * high

    def compute_output_spec(self, inputs, training=None):
        """Says the result's shape without tracing a product."""
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    # Quantisation

    def quantize(self, mode=None, type_check=True, config=None):
        """Replaces the kernel by a quantised one; see `CodeGemmaBackbone.quantize`."""
        if self.lora_enabled:
            raise ValueError(
                f"A layer must be quantised before it gets adapters; {self.path} has some. Quantise first, or save the "
                "model, which merges them, and quantise what was saved."
            )
        quantization = quantization_for(mode, config)
        shape = tuple(self._kernel.shape)
        weight = quantization.quantize(self._kernel.path, jax.device_get(self._kernel.value))
        policy = quantization.policy_name(self.dtype_policy.name)
        self._tracker.unlock()
        delete_variable(self, "_kernel")
        self._add_quantized(quantization, shape, lambda *_, **__: weight.data, lambda *_, **__: weight.scale)
        self._tracker.lock()
        self.dtype_policy = policy

    def quantized_build(self, kernel_shape, mode, config=None):
        """Creates the quantised variables of a layer whose dtype policy is quantised."""
        quantization, _ = split_policy_name(self.dtype_policy.name)
        assert quantization is not None
        self._add_quantized(quantization, tuple(kernel_shape), self.kernel_initializer, self._scale_initializer)

    def _add_quantized(self, quantization: Quantization, shape: tuple[int, ...], data: Any, scale: Any) -> None:
        self._is_quantized = True
        self.original_kernel_shape = shape
        matrix = matrix_shape(self.form, shape)
        self._kernel, self.kernel_scale = add_quantized_weights(
            self, quantization, matrix, name="kernel", initializers=(data, scale)
        )

    def enable_lora(self, rank, lora_alpha=None, a_initializer="he_uniform", b_initializer="zeros"):
        """As in `EinsumDense`, also over a quantised kernel, which stays as it is."""
        if self.quantization_mode is None:
            super().enable_lora(rank, lora_alpha, a_initializer, b_initializer)
            return
        if self.lora_enabled:
            raise ValueError("lora is already enabled. This can only be done once per layer.")
        self._tracker.unlock()
        *reduced, last = self.original_kernel_shape
        self.lora_kernel_a = self.add_weight(
            name="lora_kernel_a", shape=(*reduced, rank), initializer=a_initializer, dtype="float32"
        )
        self.lora_kernel_b = self.add_weight(
            name="lora_kernel_b", shape=(rank, last), initializer=b_initializer, dtype="float32"
        )
        self._tracker.lock()
        self.lora_enabled = True
        self.lora_rank = rank
        self.lora_alpha = lora_alpha if lora_alpha is not None else rank

    def save_own_variables(self, store):
        """Floats as in `EinsumDense`; quantised, the data and the scale. Adapters are merged in, as Keras does."""
        if self.quantization_mode is None:
            super().save_own_variables(store)
            return
        weight = self.quantized_weight
        assert weight is not None
        if self.lora_enabled:
            quantization, _ = split_policy_name(self.dtype_policy.name)
            assert quantization is not None
            weight = quantization.quantize(self._kernel.path, merged_kernel(self))
        store["0"], store["1"] = weight.data, weight.scale

    def load_own_variables(self, store):
        """The counterpart of `save_own_variables`."""
        if self.quantization_mode is None:
            super().load_own_variables(store)
            return
        self._kernel.assign(store["0"])
        self.kernel_scale.assign(store["1"])
        if self.lora_enabled:
            self.lora_kernel_a.assign(jnp.zeros_like(self.lora_kernel_a.value))
            self.lora_kernel_b.assign(jnp.zeros_like(self.lora_kernel_b.value))


def merged_kernel(layer: Projection) -> np.ndarray:
    """The float kernel, plus (alpha / rank) A B in float32 where the layer has adapters."""
    kernel = distribution.fetch(layer.float_kernel)
    if not layer.lora_enabled:
        return kernel
    a, b = (distribution.fetch(x.value).astype(np.float32) for x in (layer.lora_kernel_a, layer.lora_kernel_b))
    assert layer.lora_alpha is not None
    assert layer.lora_rank is not None
    return kernel.astype(np.float32) + np.float32(layer.lora_alpha / layer.lora_rank) * (a @ b)


def project(layers: list[Projection], x: Float[Array, "B T ..."]) -> list[Array]:
    """Several projections of the same activations; those that are quantised alike in one call."""
    weights = [layer.quantized_weight for layer in layers]
    if any(weight is None for weight in weights):
        outputs = [contract(layer.equation, x, layer._kernel.value, storage=layer._storage) for layer in layers]
    else:
        flat = x.reshape(*x.shape[:2], -1)
        quantized = [weight for weight in weights if weight is not None]
        products = quantized_matmul(flat, quantized, is_split=distribution.may_split())
        outputs = [
            product.reshape(*x.shape[:2], *layer.partial_output_shape[1:])
            for layer, product in zip(layers, products, strict=True)
        ]
    return [layer.adapt(x, output) for layer, output in zip(layers, outputs, strict=True)]


def quantization_for(mode: str | None, config: Any) -> Quantization:
    """What Keras's arguments of `quantize` ask for.

    Raises:
        ValueError: a mode that is neither int8 nor int4, quantisers of one's own, or a block size that is none of ours.
    """
    if mode not in ("int8", "int4"):
        raise ValueError(f"Weights are quantised to 'int8' or 'int4'; got {mode!r}. Choose one of these.")
    if config is not None and _quantizers(config) != _quantizers(type(config)()):
        raise ValueError(
            "Weights alone are quantised, and always in the same way; got a config with quantisers of its own. Leave "
            "them out."
        )
    return Quantization.of(mode, getattr(config, "block_size", None))


def _quantizers(config: keras.quantizers.QuantizationConfig) -> list[tuple[Any, ...]]:
    # Not by their get_config: serialising them would import TensorFlow where that is installed.
    both = (config.weight_quantizer, config.activation_quantizer)
    return [(type(each), *(getattr(each, name, None) for name in ("axis", "value_range", "epsilon"))) for each in both]


def add_quantized_weights(
    layer: keras.layers.Layer,
    quantization: Quantization,
    shape: tuple[int, int],
    *,
    name: str,
    initializers: tuple[Any, Any],
) -> tuple[keras.Variable, keras.Variable]:
    """Data and scale of a matrix [N, K], never trained and never cast, as `<name>` and `<name>_scale`."""
    specs = quantized_shapes(shape, quantization.mode, quantization.group_size)
    data, scale = (
        layer.add_weight(
            name=name + suffix,
            shape=spec.shape,
            dtype=str(spec.dtype),
            initializer=initializer,
            trainable=False,
            autocast=False,
        )
        for spec, suffix, initializer in zip(specs, ("", "_scale"), initializers, strict=True)
    )
    return data, scale


def delete_variable(layer: keras.layers.Layer, name: str) -> None:
    """Deletes a variable of a layer whose tracker is unlocked; its memory is free at once, as nothing else holds it.

    Keras's own deletion looks through the whole process for garbage each time, 0.2 s in a small one and 2 s in a large,
    and a model of 18 blocks has 127 variables to quantise.
    """
    layer._untrack_variable(getattr(layer, name))
    object.__delattr__(layer, name)


def kernel_initializers(initializer_for: Any, name: str) -> dict[str, Any]:
    """Options of a `Projection` of this name: initializers of its kernel and, where quantised, of its scale."""
    if initializer_for is None:
        return {}
    return {
        "kernel_initializer": initializer_for(f"{name}/kernel"),
        "scale_initializer": initializer_for(f"{name}/kernel_scale"),
    }
