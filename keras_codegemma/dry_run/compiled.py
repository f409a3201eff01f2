"""What a compiled step says of itself: bytes on each chip, and which collectives move how much.

Counts are of the program's text, so an operation in the body of a loop counts once: a decode loop is one step.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import jax

_COLLECTIVES = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
# The compiler writes a fused collective out several times, with one channel; its own steps of an asynchronous one are
# no further collectives. Scattered sums and permutes are written once each, those within shard_map all with channel 1.
_COLLECTIVE = re.compile(
    rf"%(?P<name>\S+) = (?P<result>\(.*?\)|\S+) (?P<kind>{_COLLECTIVES})(-start)?\(.*channel_id=(?P<channel>\d+)"
)
_WRITTEN_ONCE = ("reduce-scatter", "collective-permute")
_ARRAY = re.compile(r"\b(?P<dtype>[a-z]+\d+(?:e\dm\d\w*)?|pred)\[(?P<dims>[\d,]*)\]")
_KERNELS = ('custom_call_target="tpu_custom_call"', 'custom_call_target="__gpu$xla.gpu.triton"')


@dataclass(frozen=True, kw_only=True)
class Collective:
    """Attributes: kind, as XLA names it; result, the bytes of its result on each chip, of all its arrays together."""

    kind: str
    result_bytes: int


@dataclass(frozen=True, kw_only=True)
class CompiledStep:
    """What one step needs on each chip, by the compiler.

    Attributes:
        argument_bytes: weights, optimiser state, cache and inputs.
        temporary_bytes: everything that the step makes and drops.
        peak_bytes: the most that is alive at once, arguments included.
        program_bytes: the code, which lies in the same memory.
        flops: of one chip, as the compiler counts them; kernels of ours count what they state.
        kernels: calls of our kernels.
        collectives: each one of the program.
    """

    argument_bytes: int
    temporary_bytes: int
    peak_bytes: int
    program_bytes: int
    flops: float
    kernels: int
    collectives: tuple[Collective, ...]

    @property
    def chip_bytes(self) -> int:
        """What the step needs of a chip's memory: the most that is alive at once, and the code."""
        return self.peak_bytes + self.program_bytes

    def counts(self, *, at_least_bytes: int = 0) -> Mapping[str, int]:
        """How many collectives of each kind have a result of so many bytes or more."""
        return Counter(found.kind for found in self.collectives if found.result_bytes >= at_least_bytes)


def read(compiled: jax.stages.Compiled) -> CompiledStep:
    """What a compiled program says."""
    memory = compiled.memory_analysis()
    assert memory is not None
    text = compiled.as_text() or ""
    costs = compiled.cost_analysis() or {}
    return CompiledStep(
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        peak_bytes=memory.peak_memory_in_bytes,
        program_bytes=memory.generated_code_size_in_bytes,
        flops=float(costs.get("flops", math.nan)),
        kernels=sum(text.count(kernel) for kernel in _KERNELS),
        collectives=tuple(collectives(text)),
    )


def collectives(text: str) -> list[Collective]:
    """The collectives of a program's text, one for each kind and channel; those that are written once, by name."""
    found: dict[tuple[str, str], Collective] = {}
    for line in text.splitlines():
        if match := _COLLECTIVE.search(line):
            arrays = [_bytes(array["dtype"], array["dims"]) for array in _ARRAY.finditer(match["result"])]
            # What starts an asynchronous collective returns operand and result.
            size = max(arrays) if "-start(" in match[0] else sum(arrays)
            key = match["name"] if match["kind"] in _WRITTEN_ONCE else match["channel"]
            found[match["kind"], key] = Collective(kind=match["kind"], result_bytes=size)
    return list(found.values())


def _bytes(dtype: str, dims: str) -> int:
    bits = 8 if dtype == "pred" else int(re.findall(r"\d+", dtype)[0])
    return math.prod(int(size) for size in dims.split(",") if size) * max(bits, 8) // 8
