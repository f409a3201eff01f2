"""Every TPU kernel at the real 2B and 7B shapes, compiled for v5e and v6e by the real compiler."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels.attention import attention
from keras_codegemma.kernels.attention import cases as attention_cases
from keras_codegemma.kernels.attention import tpu as attention_tpu
from keras_codegemma.kernels.decode_attention import cases as decode_cases
from keras_codegemma.kernels.decode_attention import decode_attention
from keras_codegemma.kernels.decode_attention import tpu as decode_tpu
from keras_codegemma.kernels.linear_cross_entropy import cases as loss_cases
from keras_codegemma.kernels.linear_cross_entropy import linear_cross_entropy
from keras_codegemma.kernels.linear_cross_entropy import tpu as loss_tpu
from keras_codegemma.kernels.partition import Partition, Storage
from tests.tpu_compile.topology import TOPOLOGIES, compile_for_one_chip, devices, fits

pytestmark = [pytest.mark.libtpu, pytest.mark.parametrize("topology", TOPOLOGIES)]


def bf16(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.bfloat16)


def int32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def attention_operands(case: attention_cases.Case) -> tuple[jax.ShapeDtypeStruct, ...]:
    shared = bf16(case.batch, case.time, case.kv_heads, case.head_dim)
    return bf16(case.batch, case.time, case.heads, case.head_dim), shared, shared, int32(case.batch, case.time)


def attention_gradients(*operands):
    def total(query, key, value, segment_ids):
        return attention(query, key, value, segment_ids).astype(jnp.float32).sum()

    return jax.grad(total, argnums=(0, 1, 2))(*operands)


def decode_operands(case: decode_cases.Case, cache_dtype) -> tuple[jax.ShapeDtypeStruct, ...]:
    shape = (case.batch, case.slots, case.kv_heads, case.head_dim)
    cache = jax.ShapeDtypeStruct(shape, cache_dtype)
    scales = (jax.ShapeDtypeStruct(shape[:3], jnp.float32),) * 2 if cache_dtype == jnp.int8 else ()
    return bf16(case.batch, case.time, case.heads, case.head_dim), cache, cache, int32(case.batch), *scales


def decode(query, key, value, lengths, key_scale=None, value_scale=None):
    return decode_attention(query, key, value, lengths, key_scale=key_scale, value_scale=value_scale)


def loss_operands(case: loss_cases.Case) -> tuple[jax.ShapeDtypeStruct, ...]:
    return bf16(case.rows, case.width), bf16(case.vocabulary, case.width), int32(case.rows)


def loss_gradients(*operands):
    def mean(hidden, table, labels):
        return linear_cross_entropy(hidden, table, labels, z_loss=1e-4)[0].mean()

    return jax.grad(mean, argnums=(0, 1))(*operands)


@pytest.mark.parametrize("case", [*attention_cases.REAL_2B, *attention_cases.REAL_7B], ids=lambda case: case.name)
def test_attention_compiles_within_its_stated_vmem(topology, case):
    operands = attention_operands(case)
    stated = attention_tpu.vmem_bytes(attention_tpu.tiles_for(case.time), head_dim=case.head_dim, itemsize=2)
    assert fits(attention_gradients, operands, topology=topology, vmem_bytes=stated)
    assert not fits(attention_gradients, operands, topology=topology, vmem_bytes=stated // 4)
    text = compile_for_one_chip(attention_gradients, *operands, topology=topology).as_text() or ""
    assert text.count('custom_call_target="tpu_custom_call"') == 3  # forward, query gradient, key and value gradients


def test_attentions_backward_memory_is_at_most_linear_in_the_length(topology):
    def temporary_bytes(time: int) -> int:
        case = attention_cases.Case(batch=1, time=time, heads=8, kv_heads=1, head_dim=256)
        compiled = compile_for_one_chip(attention_gradients, *attention_operands(case), topology=topology)
        return compiled.memory_analysis().temp_size_in_bytes

    # At most twice the queries in float32 at every length; short rows stay in VMEM and take none.
    for time in (1024, 2048, 4096, 8192):
        assert temporary_bytes(time) <= 2 * time * 8 * 256 * 4, time


def test_attention_compiles_inside_shard_map(topology):
    mesh = jax.sharding.Mesh(np.asarray(devices(topology), dtype=object).reshape(2, 4), ("data", "model"))
    case = attention_cases.Case(batch=2, time=2048, heads=8, kv_heads=1, head_dim=256)
    query, key, value, segments = attention_operands(case)
    rows, heads = jax.P("data", None, None, None), jax.P("data", None, "model", None)
    specs = (heads, rows, rows, jax.P("data", None))
    sharded = jax.shard_map(attention, mesh=mesh, in_specs=specs, out_specs=heads, check_vma=False)
    placed = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.sharding.NamedSharding(mesh, spec))
        for x, spec in zip((query, key, value, segments), specs, strict=True)
    ]
    text = jax.jit(sharded).lower(*placed).compile().as_text() or ""
    assert 'custom_call_target="tpu_custom_call"' in text
    assert "all-gather" not in text


@pytest.mark.parametrize("cache_dtype", [jnp.bfloat16, jnp.int8], ids=["bfloat16", "int8"])
@pytest.mark.parametrize("case", [*decode_cases.REAL_2B, *decode_cases.REAL_7B], ids=lambda case: case.name)
def test_decode_attention_compiles_within_its_stated_vmem(topology, case, cache_dtype):
    operands = decode_operands(case, cache_dtype)
    stated = decode_tpu.vmem_bytes(
        query_rows=case.time * case.heads // case.kv_heads,
        block=decode_tpu.block_for(case.slots),
        head_dim=case.head_dim,
        itemsize=2,
        cache_itemsize=jnp.dtype(cache_dtype).itemsize,
    )
    assert fits(decode, operands, topology=topology, vmem_bytes=stated)
    assert not fits(decode, operands, topology=topology, vmem_bytes=stated // 4)


@pytest.mark.parametrize("case", [*loss_cases.REAL_2B, *loss_cases.REAL_7B], ids=lambda case: case.name)
def test_the_loss_compiles_and_keeps_no_logits(topology, case):
    compiled = compile_for_one_chip(loss_gradients, *loss_operands(case), topology=topology)
    assert 'custom_call_target="tpu_custom_call"' in (compiled.as_text() or "")
    logits_bytes = case.rows * case.vocabulary * 4
    assert compiled.memory_analysis().temp_size_in_bytes < logits_bytes / 60


@pytest.mark.parametrize("case", [*loss_cases.REAL_2B, *loss_cases.REAL_7B], ids=lambda case: case.name)
def test_the_loss_kernel_needs_about_its_stated_vmem(topology, case, monkeypatch):
    module = loss_tpu
    stated = module.vmem_bytes(module.Tiles(), width=case.width, itemsize=2)

    def statistics(hidden, table, labels):
        return module.statistics(hidden, table, labels, tiles=module.Tiles(), interpret=False)

    for limit, expected in ((stated, True), (stated // 4, False)):
        monkeypatch.setattr(module, "VMEM_LIMIT_BYTES", limit)
        jax.clear_caches()
        assert fits(statistics, loss_operands(case), topology=topology, vmem_bytes=limit) is expected


def test_the_loss_compiles_inside_shard_map_with_a_table_in_parts(topology):
    """Rows over two devices that store half the width each, the vocabulary over four: what training of 2B does."""
    mesh = jax.sharding.Mesh(np.asarray(devices(topology), dtype=object).reshape(1, 2, 4), ("replica", "fsdp", "model"))
    partition = Partition(mesh=mesh, batch=("replica", "fsdp"), model="model")
    storage = Storage(partition=partition, axes=("model", "fsdp"))
    case = loss_cases.REAL_2B[0]
    hidden, table, labels = bf16(2, 1024, case.width), bf16(case.vocabulary, case.width), int32(2, 1024)

    def mean(hidden, table, labels):
        return linear_cross_entropy(hidden, table, labels, z_loss=1e-4, storage=storage)[0].mean()

    rows = partition.sharding("fsdp")
    placed = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
        for x, where in ((hidden, rows), (table, storage.stored), (labels, rows))
    ]
    gradients = jax.jit(jax.grad(mean, argnums=(0, 1)), out_shardings=(rows, storage.stored))
    compiled = gradients.lower(*placed).compile()
    text = compiled.as_text() or ""
    assert 'custom_call_target="tpu_custom_call"' in text
    # A quarter of the table is gathered and its gradient comes back in eighths: these two, and blocks of logits.
    assert re.search(r"bf16\[64000,2048\][^\n]* all-gather", text)
    assert re.search(r"reduce-scatter", text)
    assert compiled.memory_analysis().temp_size_in_bytes < 0.6e9
