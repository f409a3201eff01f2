"""The gated unit of a feed-forward layer: `geglu` of its two halves, and `geglu_products`, which makes the halves too.

| | keeps for the backward pass | computes twice |
| --- | --- | --- |
| `geglu` | gate and up | the activation |
| `geglu_products` | x | the activation and both products |

The gradients are stated here, above the choice of a version, so what is kept is the same for every version.

`geglu` has a kernel of its own on CPUs alone: at 8192 rows the TPU compiler's version moves exactly the bytes of its
operands and results, forwards and backwards, as a kernel would (`tests/tpu_compile` holds it to that), and fewer where
it joins the products around it. `geglu_products` has one, since the compiler puts one half into HBM.
"""

from functools import partial

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Float
from keras_codegemma.kernels.dispatch import PLATFORMS, Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.geglu import native, plain, reference, tpu
from keras_codegemma.kernels.geglu.cases import EXAMPLES

__all__ = ["BACKWARD", "OPERATION", "PRODUCTS", "PRODUCTS_BACKWARD", "geglu", "geglu_products"]

OPERATION = Operation(
    "geglu",
    Implementation(name="native", platforms=("cpu",), supports=native.supports, run=native.geglu, splits=False),
    Implementation(name="xla", platforms=PLATFORMS, supports=anything, run=plain.geglu),
    as_reference(reference.geglu),
    examples=lambda: {case.name: case.arguments("bfloat16") for case in EXAMPLES},
)
BACKWARD = Operation(
    "geglu_backward",
    Implementation(
        name="native", platforms=("cpu",), supports=native.supports_backward, run=native.backward, splits=False
    ),
    Implementation(name="xla", platforms=PLATFORMS, supports=anything, run=plain.backward),
    as_reference(reference.backward),
    examples=lambda: {case.name: case.backward_arguments("bfloat16") for case in EXAMPLES if case.rows > 1},
)
PRODUCTS = Operation(
    "geglu_products",
    Implementation(name="pallas", platforms=("tpu",), supports=tpu.supports, run=tpu.geglu_products),
    Implementation(name="xla", platforms=PLATFORMS, supports=anything, run=plain.geglu_products),
    as_reference(reference.geglu_products),
    examples=lambda: {case.name: case.product_arguments("bfloat16") for case in EXAMPLES},
)
PRODUCTS_BACKWARD = Operation(
    "geglu_products_backward",
    Implementation(
        name="pallas",
        platforms=("tpu",),
        supports=lambda *x: tpu.supports(*x[:3]),
        run=tpu.products_backward,
    ),
    Implementation(name="xla", platforms=PLATFORMS, supports=anything, run=plain.products_backward),
    as_reference(reference.products_backward),
    examples=lambda: {case.name: case.products_backward_arguments("bfloat16") for case in EXAMPLES if case.rows > 1},
)


def geglu(
    gate: Float[Array, "*rows F"],
    up: Float[Array, "*rows F"],
    *,
    is_split: bool = False,
    implementation: str | None = None,
) -> Float[Array, "*rows F"]:
    """gelu(gate) * up with the tanh form of GELU, in float32, rounded once to the type of `gate`.

    Differentiable with respect to both.

    Args:
        gate: rows of any leading axes.
        up: of the same shape and dtype.
        is_split: whether operands may lie on a mesh, so that XLA must be able to split the operation.
        implementation: "native", "xla" or "reference"; None for the best.

    Raises:
        ValueError: shapes or dtypes that differ, or an implementation that cannot run here.
    """
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(
            f"Gate and up must have one shape and dtype; got {gate.shape} {gate.dtype} and {up.shape} {up.dtype}. "
            "Project both from the same rows."
        )
    # Without axes of one element, such as a decode step's time: XLA's CPU compiler lays them out anew, with a copy of
    # each half, before the choice of a version.
    long = [size for size in gate.shape[:-1] if size != 1]
    product: Array = _geglu(*(half.reshape(*long, half.shape[-1]) for half in (gate, up)), is_split, implementation)
    return product.reshape(gate.shape)


def geglu_products(
    x: Float[Array, "*rows D"],
    gate_kernel: Float[Array, "D F"],
    up_kernel: Float[Array, "D F"],
    *,
    implementation: str | None = None,
) -> Float[Array, "*rows F"]:
    """gelu(x gate_kernel) * (x up_kernel), summed in float32, in the type of `x`.

    Differentiable with respect to all three; the backward pass computes both products again.

    Args:
        x: rows of any leading axes.
        gate_kernel: of the dtype of `x`.
        up_kernel: likewise.
        implementation: "pallas", "xla" or "reference"; None for the best.

    Raises:
        ValueError: shapes or dtypes that do not fit, or an implementation that cannot run here.
    """
    if gate_kernel.shape != up_kernel.shape or gate_kernel.ndim != 2 or gate_kernel.shape[0] != x.shape[-1]:
        raise ValueError(
            "Both kernels must be [D, F] for rows [..., D]; got "
            f"{gate_kernel.shape}, {up_kernel.shape} and {x.shape}. Check the configuration."
        )
    if {gate_kernel.dtype, up_kernel.dtype} != {x.dtype}:
        raise ValueError(
            f"Rows and kernels must have one dtype; got {x.dtype}, {gate_kernel.dtype} and {up_kernel.dtype}. "
            "Cast the kernels."
        )
    flat = x.reshape(-1, x.shape[-1])
    product: Array = _products(flat, gate_kernel, up_kernel, implementation)
    return product.reshape(*x.shape[:-1], -1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _geglu(gate: Array, up: Array, is_split: bool, implementation: str | None) -> Array:
    return OPERATION(gate, up, is_split=is_split, implementation=implementation)


def _forward(gate: Array, up: Array, is_split: bool, implementation: str | None):
    return _geglu(gate, up, is_split, implementation), (gate, up)


def _backward(
    is_split: bool, implementation: str | None, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    return BACKWARD(*saved, gradient, is_split=is_split, implementation=implementation)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _products(x: Array, gate_kernel: Array, up_kernel: Array, implementation: str | None) -> Array:
    return PRODUCTS(x, gate_kernel, up_kernel, implementation=implementation)


def _products_forward(x: Array, gate_kernel: Array, up_kernel: Array, implementation: str | None):
    return PRODUCTS(x, gate_kernel, up_kernel, implementation=implementation), (x, gate_kernel, up_kernel)


def _products_backward(implementation: str | None, saved: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
    x, gate_kernel, up_kernel = saved
    of_gate, of_up = PRODUCTS_BACKWARD(x, gate_kernel, up_kernel, gradient, implementation=implementation)
    of_x = _product("mf,df->md", of_gate, gate_kernel) + _product("mf,df->md", of_up, up_kernel)
    of_kernels = (_product("md,mf->df", x, of_half).astype(x.dtype) for of_half in (of_gate, of_up))
    return of_x.astype(x.dtype), *of_kernels


def _product(equation: str, left: Array, right: Array) -> Array:
    return jnp.einsum(equation, left, right, preferred_element_type=jnp.float32)


_geglu.defvjp(_forward, _backward)
_products.defvjp(_products_forward, _products_backward)
