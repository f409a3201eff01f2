"""What the GPU is that programs are compiled on, where there is one."""

import jax

OLDEST = (8, 0)
"""Ampere: the first with products of bfloat16, and with the shared memory that the kernels take."""
_ROOMY = frozenset({(8, 0), (9, 0), (10, 0), (10, 3)})
"""Compute capabilities with 163 KiB of shared memory or more for a block (CUDA programming guide, technical
specifications per compute capability)."""


def capability() -> tuple[int, int] | None:
    """The compute capability of this machine's first GPU; None without one, or where JAX does not say."""
    if jax.default_backend() != "gpu":
        return None
    major, _, minor = str(getattr(jax.devices()[0], "compute_capability", "")).partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def refusal() -> str | None:
    """Why this machine's GPU cannot run the kernels; None where it can, or where there is none."""
    found = capability()
    if found is None or found >= OLDEST:
        return None
    return f"it needs a GPU of compute capability {_text(OLDEST)} or newer, this one has {_text(found)}"


def is_roomy() -> bool:
    """Whether it has the shared memory of data centres' GPUs."""
    return capability() in _ROOMY


def _text(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))
