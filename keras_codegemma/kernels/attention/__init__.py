"""Causal attention over whole rows, within segments: `attention`, for training and scoring."""

from keras_codegemma.axes import Array, Float, Int
from keras_codegemma.kernels.attention import chunked, gpu, native, reference, tpu
from keras_codegemma.kernels.attention.cases import EXAMPLES
from keras_codegemma.kernels.dispatch import PLATFORMS, Implementation, Operation, anything, as_reference
from keras_codegemma.kernels.partition import Partition

__all__ = ["OPERATION", "attention"]


def _tpu_supports(query: Array, key: Array, value: Array, segment_ids: Array, **_: str) -> str | None:
    return tpu.supports(query, key)


def _gpu_supports(query: Array, key: Array, value: Array, segment_ids: Array, **_: str) -> str | None:
    return gpu.supports(query, key)


def _as_query(query: Array, key: Array, value: Array, segment_ids: Array) -> Float[Array, "B T N H"]:
    return reference.attention(query, key, value, segment_ids).astype(query.dtype)


OPERATION = Operation(
    "attention",
    Implementation(name="splash", platforms=("tpu",), supports=_tpu_supports, run=tpu.attention),
    Implementation(name="triton", platforms=("cuda",), supports=_gpu_supports, run=gpu.attention),
    Implementation(name="native", platforms=("cpu",), supports=native.supports, run=native.attention),
    Implementation(name="chunked", platforms=PLATFORMS, supports=anything, run=chunked.attention),
    as_reference(_as_query),
    examples=lambda: {case.name: case.arguments("bfloat16") for case in EXAMPLES},
)


def attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B T K H"],
    value: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"],
    *,
    partition: Partition | None = None,
    implementation: str | None = None,
) -> Float[Array, "B T N H"]:
    """softmax(q k / sqrt(H)) v over the keys at or before each query that have its segment id.

    Differentiable with respect to query, key and value. Memory is linear in T, but for the reference.

    Args:
        query: not yet scaled.
        key: head n of the queries reads head n // (N / K).
        value: likewise.
        segment_ids: int32, 0 or more; padding (0) sees only padding.
        partition: the mesh that rows and heads are split over; None on one device.
        implementation: "splash", "triton", "native", "chunked" or "reference"; None for the best.

    Returns:
        In the dtype of `query`.

    Raises:
        ValueError: shapes that do not fit, or an implementation that cannot run here.
    """
    _check_shapes(query, key, value, segment_ids)
    if partition is None:
        return OPERATION(query, key, value, segment_ids, implementation=implementation)
    return partition.over_heads(
        lambda query, cached, segment_ids: OPERATION(query, *cached, segment_ids, implementation=implementation),
        query,
        (key, value),
        segment_ids,
    )


def _check_shapes(query: Array, key: Array, value: Array, segment_ids: Array) -> None:
    batch, time, heads, width = query.shape
    if key.shape != value.shape or key.shape[:2] != (batch, time) or key.shape[3] != width:
        raise ValueError(
            "Keys and values must be [B, T, K, H] with the B, T and H of the queries; got "
            f"query {query.shape}, key {key.shape}, value {value.shape}. Project them from the same rows."
        )
    if heads % key.shape[2]:
        raise ValueError(
            f"The key-value heads must divide the query heads; got {key.shape[2]} and {heads}. Check the configuration."
        )
    if segment_ids.shape != (batch, time):
        raise ValueError(
            f"Segment ids must be [B, T] = {(batch, time)}; got {segment_ids.shape}. Give each token one id."
        )
