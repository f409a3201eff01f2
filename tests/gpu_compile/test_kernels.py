"""Every GPU kernel at the real 2B and 7B shapes, compiled by the real compiler for GPUs with much and little room."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from keras_codegemma.dry_run import gpus
from keras_codegemma.kernels.attention import attention
from keras_codegemma.kernels.attention import cases as attention_cases
from keras_codegemma.kernels.attention import gpu as attention_gpu
from keras_codegemma.kernels.decode_attention import cases as decode_cases
from keras_codegemma.kernels.decode_attention import decode_attention
from keras_codegemma.kernels.linear_cross_entropy import linear_cross_entropy
from keras_codegemma.kernels.quantized_matmul import cases as product_cases
from keras_codegemma.kernels.quantized_matmul import gpu as product_gpu
from keras_codegemma.kernels.quantized_matmul import plain, quantized_matmul
from tests.gpu_compile.one_gpu import compile_for_one_gpu, kernels, temporary_bytes

pytestmark = pytest.mark.cuda
every_kind = pytest.mark.parametrize("kind", gpus.KINDS)
most_and_least = pytest.mark.parametrize("kind", ["h100", "rtx4090"])
"""Of the shared memory that a block can have."""
PRODUCTS = [
    case for case in (*product_cases.REAL_2B, *product_cases.REAL_7B) if case.rows in (1, 64) and case.inputs != 3072
]


def attention_operands(case: attention_cases.Case):
    return case.arguments("bfloat16")[0]


def attention_gradients(*operands):
    def total(query, key, value, segment_ids):
        return attention(query, key, value, segment_ids).astype(jnp.float32).sum()

    return jax.grad(total, argnums=(0, 1, 2))(*operands)


def decode(query, key, value, lengths, key_scale=None, value_scale=None):
    return decode_attention(query, key, value, lengths, key_scale=key_scale, value_scale=value_scale)


def product(x, weights):
    return quantized_matmul(x, weights)


@most_and_least
@pytest.mark.parametrize("case", [*attention_cases.REAL_2B, *attention_cases.REAL_7B], ids=lambda case: case.name)
def test_attention_compiles(kind, case):
    compiled = compile_for_one_gpu(attention_gradients, *attention_operands(case), kind=kind)
    assert kernels(compiled) == 3  # forwards, the sums along the output, backwards


@every_kind
def test_large_tiles_of_attention_are_for_gpus_with_room(kind, monkeypatch):
    monkeypatch.setattr(attention_gpu, "tiles_for_this_gpu", lambda: attention_gpu.LARGE_TILES)
    operands = attention_operands(attention_cases.REAL_2B[1])
    jax.clear_caches()
    if kind in ("h100", "a100"):
        assert kernels(compile_for_one_gpu(attention_gradients, *operands, kind=kind)) == 3
    else:
        with pytest.raises(jax.errors.JaxRuntimeError, match="Shared memory size limit exceeded"):
            compile_for_one_gpu(attention_gradients, *operands, kind=kind)
    jax.clear_caches()


@most_and_least
def test_attentions_backward_memory_is_at_most_linear_in_the_length(kind):
    def temporary(time: int) -> int:
        case = attention_cases.Case(batch=1, time=time, heads=8, kv_heads=1, head_dim=256)
        return temporary_bytes(compile_for_one_gpu(attention_gradients, *attention_operands(case), kind=kind))

    sizes = [temporary(time) for time in (1024, 2048, 4096, 8192)]
    assert all(later <= 2.05 * earlier for earlier, later in itertools.pairwise(sizes)), sizes


@most_and_least
@pytest.mark.parametrize("cache_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("case", [*decode_cases.REAL_2B, *decode_cases.REAL_7B], ids=lambda case: case.name)
def test_decode_attention_compiles_and_makes_little_beside_the_cache(kind, case, cache_dtype):
    query, key, value, lengths, *_ = case.arguments("bfloat16")[0]
    cache = [jax.ShapeDtypeStruct(x.shape, cache_dtype) for x in (key, value)]
    scales = [jax.ShapeDtypeStruct(key.shape[:3], jnp.float32)] * 2 if cache_dtype == "int8" else []
    compiled = compile_for_one_gpu(decode, query, *cache, lengths, *scales, kind=kind)
    assert kernels(compiled) == 1
    if case.time == 1:
        assert temporary_bytes(compiled) <= 0.3 * sum(x.size * x.dtype.itemsize for x in cache)


@most_and_least
@pytest.mark.parametrize("case", PRODUCTS, ids=lambda case: case.name)
def test_quantized_products_compile_and_make_no_floats_of_the_weights(kind, case):
    (x, weights), options = case.arguments("bfloat16")
    assert product_gpu.supports(x, weights, **options) is None
    compiled = compile_for_one_gpu(product, x, weights, kind=kind)
    assert kernels(compiled) == len(weights)
    if case.rows == 1:
        assert temporary_bytes(compiled) <= 0.2 * case.weights * case.outputs * case.inputs * 2


@most_and_least
def test_many_rows_are_the_compilers(kind):
    (x, weights), _ = next(case for case in product_cases.REAL_2B if case.rows == 256).arguments("bfloat16")
    assert kernels(compile_for_one_gpu(product, x, weights, kind=kind)) == 0


@most_and_least
def test_the_compilers_own_int4_product_of_one_row_would_write_the_weights_floats(kind):
    """Why there is a kernel."""
    case = next(case for case in product_cases.REAL_2B if case.mode == "int4" and case.rows == 1)
    (x, weights), options = case.arguments("bfloat16")
    compiled = compile_for_one_gpu(lambda x, w: plain.quantized_matmul(x, w, **options), x, weights[:1], kind=kind)
    print(
        f"\n{kind}: {temporary_bytes(compiled) / 1e6:.1f} MB beside {case.outputs * case.inputs / 2e6:.1f} of weights"
    )
    assert temporary_bytes(compiled) > case.outputs * case.inputs / 2


@most_and_least
def test_the_losses_memory_is_a_small_part_of_the_logits(kind):
    """Loss and both gradients of 2B at 8192 tokens."""
    rows, width, vocabulary = 8192, 2048, 256_000

    def gradients(hidden, table, labels):
        def mean(hidden, table):
            return linear_cross_entropy(hidden, table, labels, z_loss=1e-4)[0].mean()

        return jax.grad(mean, argnums=(0, 1))(hidden, table)

    operands = (
        jax.ShapeDtypeStruct((rows, width), jnp.bfloat16),
        jax.ShapeDtypeStruct((vocabulary, width), jnp.bfloat16),
        jax.ShapeDtypeStruct((rows,), jnp.int32),
    )
    found = temporary_bytes(compile_for_one_gpu(gradients, *operands, kind=kind))
    print(f"\n{kind}: {found / 1e9:.2f} GB, float32 logits alone {rows * vocabulary * 4 / 1e9:.2f}")
    assert found <= rows * vocabulary * 4 / 2
