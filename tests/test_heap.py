"""Memory that is freed and kept."""

import platform

import pytest

from tests.fresh_process import run_python

CODE = """
import resource, sys
from keras_codegemma import heap
if {keep}:
    assert heap.keep_freed_memory()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.sort(x * 2)[::-1].sum())
x = jnp.ones(16_000_000)
for _ in range(5):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told")
def test_a_step_faults_few_pages_when_freed_memory_is_kept():
    faults = {}
    for keep in (False, True):
        result = run_python("-c", CODE.format(keep=keep))
        faults[keep] = int(result.stdout)
    # 64 MB of temporaries three times over in each of five steps, in pages of 4 KB.
    assert faults[False] > 100_000
    # The heap may still grow by a piece now and then.
    assert faults[True] < faults[False] / 3
