"""Random weights and inputs that anyone can make again from a seed, so golden files store results only.

The numbers come from a hash of (seed, weight path, index), in 32-bit integer arithmetic, so they do not
depend on the version of any random generator.
"""

import zlib

import numpy as np

from keras_codegemma.config import CodeGemmaConfig

_BLOCK = 1 << 22


def uniform(name: str, *, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """float32 in [-1, 1), the same for the same name, shape and seed."""
    size = int(np.prod(shape))
    values = np.empty(size, np.float32)
    start = np.uint32(zlib.crc32(f"{seed}/{name}".encode()))
    for first in range(0, size, _BLOCK):
        x = np.arange(first, min(first + _BLOCK, size), dtype=np.uint32)
        x *= np.uint32(0x9E3779B1)
        x += start
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):  # the finaliser of MurmurHash3
            x ^= x >> np.uint32(shift)
            x *= np.uint32(factor)
        x ^= x >> np.uint32(16)
        values[first : first + len(x)] = (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - 1
    return values.reshape(shape)


def random_weight(path: str, shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    """One weight by its Keras path: kernels keep the variance of their input, norms lie in [-0.3, 0.3)."""
    values = uniform(path, shape=shape, seed=seed)
    if path.endswith("/scale"):
        return values * np.float32(0.3)
    if path.endswith("/embeddings"):
        fan_in = shape[1]
    elif path.endswith("attention_output/kernel"):
        fan_in = shape[0] * shape[1]
    else:
        fan_in = shape[-2]
    return values * np.float32((3 / fan_in) ** 0.5)


def random_weights(config: CodeGemmaConfig, *, seed: int) -> dict[str, np.ndarray]:
    """Every weight of a model, float32, by Keras path."""
    return {path: random_weight(path, shape, seed=seed) for path, shape in config.weight_shapes().items()}


def random_ids(name: str, *, shape: tuple[int, ...], vocabulary_size: int, seed: int) -> np.ndarray:
    """int32 ids in [3, vocabulary_size)."""
    unit = (uniform(f"ids/{name}", shape=shape, seed=seed).astype(np.float64) + 1) / 2
    return (3 + unit * (vocabulary_size - 3)).astype(np.int32)
