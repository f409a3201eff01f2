"""Attention of a few new tokens over a long cache with per-row lengths: `decode_attention`."""

import jax.numpy as jnp

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.decode_attention import blocks, gpu, native, reference, tpu
from keras_codegemma.kernels.decode_attention.cases import EXAMPLES
from keras_codegemma.kernels.dispatch import PLATFORMS, Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.partition import Partition

__all__ = ["OPERATION", "decode_attention"]


def _tpu_supports(query: Array, key: Array, *_: Array | None) -> str | None:
    return tpu.supports(query, key)


def _gpu_supports(query: Array, key: Array, *_: Array | None) -> str | None:
    return gpu.supports(query, key)


def _as_query(query: Array, *operands: Array | None) -> Float[Array, "B T N H"]:
    return reference.decode_attention(query, *operands).astype(query.dtype)  # type: ignore[arg-type]


OPERATION = Operation(
    "decode_attention",
    Implementation(name="pallas", platforms=("tpu",), supports=_tpu_supports, run=tpu.decode_attention),
    Implementation(name="triton", platforms=("cuda",), supports=_gpu_supports, run=gpu.decode_attention),
    Implementation(name="native", platforms=("cpu",), supports=native.supports, run=native.decode_attention),
    Implementation(name="blocks", platforms=PLATFORMS, supports=anything, run=blocks.decode_attention),
    as_reference(_as_query),
    examples=lambda: {case.name: case.arguments("bfloat16") for case in EXAMPLES},
)


def decode_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    lengths: Int[Array, " B"],
    *,
    key_scale: Float[Array, "B S K"] | None = None,
    value_scale: Float[Array, "B S K"] | None = None,
    partition: Partition | None = None,
    implementation: str | None = None,
) -> Float[Array, "B T N H"]:
    """Causal attention of T new tokens a row over its cache, into which their own keys are already written.

    Query t of row b stands at position lengths[b] + t and sees the slots up to it. Work is proportional to the used
    length (of each row's own, or with "blocks" the longest row's), not to the capacity. What slots hold beyond a row's
    tokens does not matter, NaN included.

    Args:
        query: not yet scaled.
        key: cached keys: floats, or int8 with `key_scale`.
        value: likewise.
        lengths: int32, tokens of each row before these; lengths + T <= S.
        key_scale: float32, what one slot's int8 entries of one head are multiplied with.
        value_scale: likewise.
        partition: the mesh that rows and heads are split over; None on one device.
        implementation: "pallas", "triton", "native", "blocks" or "reference"; None for the best.

    Returns:
        In the dtype of `query`.

    Raises:
        ValueError: shapes or dtypes that do not fit, or an implementation that cannot run here.
    """
    _check(query, key, value, lengths)
    for name, cached, scale in (("key", key, key_scale), ("value", value, value_scale)):
        if (cached.dtype == jnp.int8) != (scale is not None) or (scale is not None and scale.shape != key.shape[:3]):
            raise ValueError(
                f"An int8 cache needs a scale [B, S, K] for its {name}s, another none; got {cached.dtype} "
                f"{cached.shape} and a scale of {None if scale is None else scale.shape}. Pass {name}_scale to match."
            )
    if partition is None:
        return OPERATION(query, key, value, lengths, key_scale, value_scale, implementation=implementation)

    def local(query: Array, cached: tuple[Array, Array, Array | None, Array | None], lengths: Array) -> Array:
        key, value, key_scale, value_scale = cached
        return OPERATION(query, key, value, lengths, key_scale, value_scale, implementation=implementation)

    return partition.over_heads(local, query, (key, value, key_scale, value_scale), lengths)


def _check(query: Array, key: Array, value: Array, lengths: Array) -> None:
    batch, time, heads, width = query.shape
    if key.shape != value.shape or key.shape[0] != batch or key.shape[3] != width or heads % key.shape[2]:
        raise ValueError(
            "A cache must be [B, S, K, H] with the B and H of the queries and a K that divides their heads; got query "
            f"{query.shape}, key {key.shape}, value {value.shape}. Check the configuration."
        )
    if lengths.shape != (batch,) or time > key.shape[1]:
        raise ValueError(
            f"There must be one length a row and room for the {time} new tokens; got lengths {lengths.shape} for "
            f"{batch} rows and {key.shape[1]} slots. Create a longer cache."
        )
