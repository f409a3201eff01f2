"""Products with int4 weights at the real 2B and 7B shapes, compiled for v5e and v6e by the real compiler."""

import jax
import numpy as np
import pytest

from keras_codegemma.kernels.quantized_matmul import QuantizedWeight, cases, quantized_matmul, tpu
from tests.tpu_compile.topology import TOPOLOGIES, compile_for_one_chip, devices, fits

pytestmark = [pytest.mark.libtpu, pytest.mark.parametrize("topology", TOPOLOGIES)]

CASES = [
    case
    for case in (*cases.REAL_2B, *cases.REAL_7B)
    if case.mode == "int4" and case.rows in (1, 256) and case.outputs != case.inputs
    if case.group_size == 128 or (case.rows == 1 and case.inputs == 2048)
]


def arrays(case: cases.Case) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Activations, and data and scale of one weight."""
    (x, weights), _ = case.arguments("bfloat16")
    return x, weights[0].data, weights[0].scale


def product(x, data, scale):
    """By whatever the dispatcher takes on a TPU."""
    return quantized_matmul(x, [QuantizedWeight(data=data, scale=scale)])[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_compiles_within_its_stated_vmem_and_reads_weights_once_for_one_row(topology, case):
    operands = arrays(case)
    stated = tpu.vmem_bytes(tpu.tiles_for(case.rows, inputs=case.inputs))
    assert stated <= tpu.VMEM_LIMIT_BYTES
    assert fits(product, operands, topology=topology, vmem_bytes=stated)
    compiled = compile_for_one_chip(product, *operands, topology=topology)
    assert 'custom_call_target="tpu_custom_call"' in (compiled.as_text() or "")
    cost = compiled.cost_analysis()
    assert cost["flops"] == pytest.approx(2 * case.rows * case.outputs * case.inputs, rel=0.01)
    if case.rows == 1:
        read = sum(x.size * x.dtype.itemsize for x in operands[1:])
        assert cost["bytes accessed"] <= 1.1 * read


def test_a_quarter_of_its_stated_vmem_is_too_little(topology, monkeypatch):
    case = next(case for case in CASES if case.rows == 256)
    limit = tpu.vmem_bytes(tpu.tiles_for(case.rows, inputs=case.inputs)) // 4
    monkeypatch.setattr(tpu, "VMEM_LIMIT_BYTES", limit)
    jax.clear_caches()
    assert not fits(product, arrays(case), topology=topology, vmem_bytes=limit)


def test_int8_is_made_floats_within_the_compilers_product(topology):
    case = next(case for case in cases.REAL_2B if case.mode == "int8" and case.rows == 1)
    compiled = compile_for_one_chip(product, *arrays(case), topology=topology)
    assert "tpu_custom_call" not in (compiled.as_text() or "")
    assert compiled.memory_analysis().temp_size_in_bytes < case.outputs * case.inputs / 100


def test_it_compiles_inside_shard_map(topology):
    case = next(case for case in CASES if case.rows == 256)
    mesh = jax.sharding.Mesh(np.asarray(devices(topology), dtype=object).reshape(2, 4), ("data", "model"))
    rows, outputs, both = jax.P("data", None), jax.P("model", None), jax.P("data", "model")
    specs = (rows, outputs, outputs)
    sharded = jax.shard_map(product, mesh=mesh, in_specs=specs, out_specs=both, check_vma=False)
    placed = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.sharding.NamedSharding(mesh, spec))
        for x, spec in zip(arrays(case), specs, strict=True)
    ]
    text = jax.jit(sharded).lower(*placed).compile().as_text() or ""
    assert 'custom_call_target="tpu_custom_call"' in text
    assert "all-gather" not in text


def test_operands_on_a_mesh_are_left_to_the_compiler(topology):
    operands = arrays(CASES[0])

    def split(x, data, scale):
        return quantized_matmul(x, [QuantizedWeight(data=data, scale=scale)], is_split=True)[0]

    compiled = compile_for_one_chip(split, *operands, topology=topology)
    assert "tpu_custom_call" not in (compiled.as_text() or "")
