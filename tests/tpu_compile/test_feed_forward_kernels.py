"""Norm and gated unit at the real 2B and 7B shapes, compiled for v5e and v6e by the real compiler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels.geglu import cases as geglu_cases
from keras_codegemma.kernels.geglu import geglu, geglu_products
from keras_codegemma.kernels.geglu import tpu as geglu_tpu
from keras_codegemma.kernels.rms_norm import add_rms_norm, rms_norm
from keras_codegemma.kernels.rms_norm import cases as norm_cases
from keras_codegemma.kernels.rms_norm import tpu as norm_tpu
from tests.tpu_compile.topology import TOPOLOGIES, compile_for_one_chip, devices, fits

pytestmark = [pytest.mark.libtpu, pytest.mark.parametrize("topology", TOPOLOGIES)]

NORM_CASES = [case for case in (*norm_cases.REAL_2B, *norm_cases.REAL_7B) if case.residual]
GEGLU_CASES = [*geglu_cases.REAL_2B, *geglu_cases.REAL_7B]


def norm_operands(case: norm_cases.Case, dtype) -> tuple[jax.ShapeDtypeStruct, ...]:
    rows = jax.ShapeDtypeStruct((case.rows, case.width), dtype)
    return rows, rows, rows, rows, jax.ShapeDtypeStruct((case.width,), jnp.float32)


def norm(x, residual, of_total, of_normed, scale):
    """Both kernels, by name, since the compiler's own version stands before them."""
    total, normed = norm_tpu.rms_norm(x, residual, scale, epsilon=1e-6)
    return normed, norm_tpu.backward(total, scale, of_total, of_normed, epsilon=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("case", NORM_CASES, ids=lambda case: case.name)
def test_the_norm_compiles_within_its_stated_vmem(topology, case, dtype):
    itemsize = jnp.dtype(dtype).itemsize
    tiles = norm_tpu.tiles_for(case.rows, width=case.width, itemsize=itemsize)
    assert tiles is not None
    stated = norm_tpu.vmem_bytes(tiles, width=case.width, itemsize=itemsize)
    operands = norm_operands(case, dtype)
    assert fits(norm, operands, topology=topology, vmem_bytes=stated)
    if case.rows == 8192:
        assert not fits(norm, operands, topology=topology, vmem_bytes=stated // 4)


def test_the_norm_compiles_inside_shard_map(topology):
    mesh = jax.sharding.Mesh(np.asarray(devices(topology), dtype=object).reshape(2, 4), ("data", "model"))
    rows = jax.P("data", None)

    def local(*operands):
        normed, (of_rows, of_scale) = norm(*operands)
        return normed, of_rows, jax.lax.psum(of_scale, "data")

    sharded = jax.shard_map(
        local, mesh=mesh, in_specs=(*[rows] * 4, jax.P()), out_specs=(rows, rows, jax.P()), check_vma=False
    )
    text = _compiled_text(sharded, norm_operands(NORM_CASES[-1], jnp.bfloat16), mesh, (*[rows] * 4, jax.P()))
    assert text.count('custom_call_target="tpu_custom_call"') == 2
    assert "all-gather" not in text


def test_the_compilers_own_norm_is_split_over_a_mesh(topology):
    mesh = jax.sharding.Mesh(np.asarray(devices(topology), dtype=object).reshape(2, 4), ("data", "model"))
    rows = jax.P("data", None)

    def gradients(x, residual, scale):
        return jax.vjp(lambda *x: add_rms_norm(*x, epsilon=1e-6), x, residual, scale)[1]((x, residual))

    x, residual, *_, scale = norm_operands(NORM_CASES[2], jnp.bfloat16)
    text = _compiled_text(gradients, (x, residual, scale), mesh, (rows, rows, jax.P()))
    assert "all-gather" not in text


@pytest.mark.parametrize("case", [GEGLU_CASES[2], GEGLU_CASES[5]], ids=lambda case: case.name)
def test_the_compilers_gated_unit_moves_its_operands_and_results_once(topology, case):
    half = jax.ShapeDtypeStruct((case.rows, case.width), jnp.bfloat16)
    size = case.rows * case.width * 2
    for function, operands, arrays in (
        (geglu, (half, half), 3),
        (lambda gate, up, gradient: jax.vjp(geglu, gate, up)[1](gradient), (half, half, half), 5),
    ):
        cost = compile_for_one_chip(function, *operands, topology=topology).cost_analysis()
        assert cost["bytes accessed"] == pytest.approx(arrays * size, rel=1e-3)


def product_operands(case: geglu_cases.Case) -> tuple[jax.ShapeDtypeStruct, ...]:
    kernel = jax.ShapeDtypeStruct((case.inputs, case.width), jnp.bfloat16)
    x, gradient = (jax.ShapeDtypeStruct((case.rows, n), jnp.bfloat16) for n in (case.inputs, case.width))
    return x, kernel, kernel, gradient


def products(x, gate_kernel, up_kernel, gradient):
    result, pull = jax.vjp(geglu_products, x, gate_kernel, up_kernel)
    return result, pull(gradient)


@pytest.mark.parametrize("case", GEGLU_CASES, ids=lambda case: case.name)
def test_the_products_compile_and_need_about_their_stated_vmem(topology, case, monkeypatch):
    tiles = geglu_tpu.tiles_for(case.rows, inputs=case.inputs)
    stated = geglu_tpu.vmem_bytes(tiles, itemsize=2)
    assert stated <= geglu_tpu.VMEM_LIMIT_BYTES

    def backward(*operands):
        return geglu_tpu.products_backward(*operands)

    for limit, expected in ((stated, True), (stated // 4, False)):
        monkeypatch.setattr(geglu_tpu, "VMEM_LIMIT_BYTES", limit)
        jax.clear_caches()
        assert fits(backward, product_operands(case), topology=topology, vmem_bytes=limit) is expected


@pytest.mark.parametrize("case", [GEGLU_CASES[2], GEGLU_CASES[5]], ids=lambda case: case.name)
def test_the_products_put_neither_half_into_hbm(topology, case):
    x, gate_kernel, up_kernel, _ = product_operands(case)
    half = case.rows * case.width * 2
    forward = compile_for_one_chip(geglu_products, x, gate_kernel, up_kernel, topology=topology)
    assert 'custom_call_target="tpu_custom_call"' in (forward.as_text() or "")
    assert forward.memory_analysis().temp_size_in_bytes < half / 10
    # Backwards the gradients of both halves, for as long as they are multiplied, and the sums they go to.
    both = compile_for_one_chip(products, *product_operands(case), topology=topology)
    assert (both.as_text() or "").count('custom_call_target="tpu_custom_call"') == 2
    assert both.memory_analysis().temp_size_in_bytes < 2.7 * half


def test_the_products_compile_inside_shard_map(topology):
    mesh = jax.sharding.Mesh(np.asarray(devices(topology), dtype=object).reshape(2, 4), ("data", "model"))
    rows, columns, both = jax.P("data", None), jax.P(None, "model"), jax.P("data", "model")
    specs = (rows, columns, columns, both)
    sharded = jax.shard_map(
        lambda *operands: products(*operands)[0],
        mesh=mesh,
        in_specs=specs,
        out_specs=both,
        check_vma=False,
    )
    text = _compiled_text(sharded, product_operands(GEGLU_CASES[2]), mesh, specs)
    assert 'custom_call_target="tpu_custom_call"' in text
    assert "all-gather" not in text


def test_one_norm_alone_is_no_kernel_unless_it_is_named(topology):
    x, scale = jax.ShapeDtypeStruct((8, 2048), jnp.bfloat16), jax.ShapeDtypeStruct((2048,), jnp.float32)
    compiled = compile_for_one_chip(lambda x, s: rms_norm(x, s, epsilon=1e-6), x, scale, topology=topology)
    assert "tpu_custom_call" not in (compiled.as_text() or "")


def _compiled_text(function, operands, mesh, specs) -> str:
    placed = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.sharding.NamedSharding(mesh, spec))
        for x, spec in zip(operands, specs, strict=True)
    ]
    return jax.jit(function).lower(*placed).compile().as_text() or ""
