"""Products: every platform form against plain numpy, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from keras_codegemma.layers.projection import Projection, contract, logits_product
from tests.tolerances import tolerance

# Shapes and types of every call in this file are checked against the annotations.
contract = jaxtyped(typechecker=beartype)(contract)

CASES = {
    "dense": ("btd,df->btf", (24, 40)),
    "heads_first": ("btd,ndh->btnh", (3, 24, 8)),
    "heads_first_one_head": ("bsd,kdh->bskh", (1, 24, 8)),
    "join_heads": ("btnh,nhd->btd", (3, 8, 24)),
}


def arrays(equation: str, kernel_shape: tuple[int, ...], rows: tuple[int, int], dtype) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(list(kernel_shape) + list(rows))
    tail = kernel_shape[:2] if equation.startswith("btnh") else (kernel_shape[-2],)
    x = rng.normal(size=(*rows, *tail))
    kernel = rng.normal(size=kernel_shape)
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


@pytest.mark.parametrize("rows", [(1, 1), (1, 2), (2, 1), (3, 5)])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_contract_equals_a_float64_einsum_of_the_same_operands(case, rows, dtype):
    equation, shape = CASES[case]
    x, kernel = arrays(equation, shape, rows, dtype)
    expected = np.einsum(equation, np.asarray(x, np.float64), np.asarray(kernel, np.float64))
    result = jax.jit(lambda x, kernel: contract(equation, x, kernel))(x, kernel)
    assert result.dtype == dtype
    # One rounding of the result: half a unit in the last place of the type.
    bound = tolerance("product", dtype)
    np.testing.assert_allclose(
        np.asarray(result, np.float64), expected, rtol=bound, atol=bound * np.abs(expected).max()
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_equal_those_of_a_plain_float32_einsum(case, dtype):
    equation, shape = CASES[case]
    x, kernel = arrays(equation, shape, (2, 3), dtype)
    weight = jnp.asarray(np.random.default_rng(5).normal(size=contract(equation, x, kernel).shape), dtype)

    def loss(product, x, kernel):
        return jnp.sum((product(equation, x, kernel) * weight).astype(jnp.float32))

    ours = jax.grad(lambda x, kernel: loss(contract, x, kernel), (0, 1))(x, kernel)
    wide = (x.astype("float32"), kernel.astype("float32"))
    plain = jax.grad(lambda x, kernel: loss(jnp.einsum, x, kernel), (0, 1))(*wide)
    bound = tolerance("gradient", dtype)
    for got, expected in zip(ours, plain, strict=True):
        assert got.dtype == dtype
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(np.asarray(got, np.float32), np.asarray(expected), rtol=bound, atol=bound * scale)


def test_logits_are_float32_and_their_gradients_have_the_operands_type():
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(1, 3, 16)), "bfloat16")
    table = jnp.asarray(rng.normal(size=(50, 16)), "bfloat16")
    logits, pullback = jax.vjp(logits_product, hidden, table)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(
        np.asarray(logits),
        np.asarray(hidden, np.float32) @ np.asarray(table, np.float32).T,
        rtol=tolerance("operation", "float32"),
        atol=tolerance("operation", "float32"),
    )
    bound = tolerance("logits_gradient", "bfloat16")
    cotangent = jnp.asarray(rng.normal(size=logits.shape), "float32")
    for got, like, expected in zip(
        pullback(cotangent),
        (hidden, table),
        (
            np.einsum("btv,vd->btd", cotangent, np.asarray(table, np.float32)),
            np.einsum("btv,btd->vd", cotangent, np.asarray(hidden, np.float32)),
        ),
        strict=True,
    ):
        assert got.dtype == like.dtype
        np.testing.assert_allclose(
            np.asarray(got, np.float32), expected, rtol=bound, atol=bound * np.abs(expected).max()
        )


@pytest.mark.parametrize("case", CASES)
def test_adapters_add_their_product_scaled_by_alpha_over_rank(case):
    equation, shape = CASES[case]
    x, _ = arrays(equation, shape, (2, 3), "float32")
    layer = Projection(equation, (None, *contract(equation, x, jnp.zeros(shape)).shape[2:]))
    layer.build(x.shape)
    before = layer(x)
    layer.enable_lora(2, lora_alpha=6.0)
    np.testing.assert_array_equal(np.asarray(layer(x)), np.asarray(before))
    rng = np.random.default_rng(1)
    layer.lora_kernel_b.assign(rng.normal(size=layer.lora_kernel_b.shape))
    merged = layer._kernel + 3.0 * np.matmul(np.asarray(layer.lora_kernel_a), np.asarray(layer.lora_kernel_b))
    np.testing.assert_allclose(
        np.asarray(layer(x)),
        np.einsum(equation, x, merged),
        rtol=tolerance("adapter", "float32"),
        atol=tolerance("adapter", "float32"),
    )


def test_a_bias_or_activation_is_refused():
    with pytest.raises(ValueError, match=r"A Projection has neither bias nor activation; got bias_axes='f'"):
        Projection("btd,df->btf", (None, 4), bias_axes="f")
