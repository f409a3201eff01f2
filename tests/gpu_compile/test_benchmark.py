"""The GPU benchmark's programs, compiled for an H100: the day that a card is at hand is no day to mend them."""

import pytest

from tests.benchmarks.gpu_kernels import Measure, measures
from tests.gpu_compile.one_gpu import compile_for_one_gpu, kernels

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("measure", measures(), ids=lambda measure: measure.name)
def test_its_programs_compile(measure: Measure, monkeypatch):
    # Names of implementations are checked against the machine's own platform.
    monkeypatch.setattr("keras_codegemma.kernels.dispatch.this_platform", lambda: "cuda")
    for side, program in measure.sides.items():
        compiled = compile_for_one_gpu(program, *measure.operands, kind="h100")
        assert (kernels(compiled) > 0) == (side == "triton")
    assert (measure.bytes > 0) != (measure.flops > 0)
