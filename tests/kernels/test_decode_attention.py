"""Attention over a cache: every version against the reference; unwritten slots are NaN throughout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels import native as kernels
from keras_codegemma.kernels.decode_attention import (
    OPERATION,
    blocks,
    cases,
    decode_attention,
    gpu,
    native,
    reference,
    tpu,
)
from tests.tolerances import tolerance

ON_GPU = jax.default_backend() == "gpu"
VERSIONS = {
    "blocks": blocks.decode_attention,
    "native": lambda *operands: native.decode_attention(*operands[:4]),
    "pallas": lambda *operands: tpu.decode_attention(*operands, interpret=True),
}


NATIVE_CASES = tuple(case for case in cases.TESTED if case.head_dim % 16 == 0)


def operands(case: cases.Case, cache_dtype: str) -> tuple[jax.Array | None, ...]:
    """Random queries and cache; what lies beyond each row's tokens is NaN, or scaled by NaN."""
    rng = np.random.default_rng()
    shape = (case.batch, case.slots, case.kv_heads, case.head_dim)
    lengths = rng.integers(0, case.slots - case.time + 1, case.batch)
    unwritten = np.arange(case.slots) >= lengths[:, None] + case.time
    query = jnp.asarray(
        rng.normal(size=(case.batch, case.time, case.heads, case.head_dim)),
        "bfloat16" if cache_dtype == "int8" else cache_dtype,
    )
    if cache_dtype == "int8":
        key, value = (jnp.asarray(rng.integers(-127, 128, shape), jnp.int8) for _ in range(2))
        scales = [np.where(unwritten[..., None], np.nan, rng.uniform(0.005, 0.02, shape[:3])) for _ in range(2)]
        return query, key, value, jnp.asarray(lengths, jnp.int32), *(jnp.asarray(x, jnp.float32) for x in scales)
    cache = [np.where(unwritten[..., None, None], np.nan, rng.normal(size=shape)) for _ in range(2)]
    return query, *(jnp.asarray(x, cache_dtype) for x in cache), jnp.asarray(lengths, jnp.int32), None, None


@pytest.mark.parametrize("cache_dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(
    ("version", "case"),
    [("blocks", case) for case in cases.TESTED] + [("pallas", case) for case in cases.SMALL],
    ids=lambda x: getattr(x, "name", x),
)
def test_values_equal_the_reference(version, case, cache_dtype):
    inputs = operands(case, cache_dtype)
    theirs = np.asarray(reference.decode_attention(*inputs))
    ours = np.asarray(jax.jit(VERSIONS[version])(*inputs), np.float32)
    dtype = "float32" if cache_dtype == "float32" else "bfloat16"
    assert np.isfinite(theirs).all()
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() <= tolerance("attention", dtype)


@pytest.mark.parametrize("cache_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("case", cases.GPU, ids=lambda case: case.name)
def test_triton_values_equal_the_reference(case, cache_dtype):
    inputs = operands(case, cache_dtype)
    theirs = np.asarray(reference.decode_attention(*inputs))
    ours = np.asarray(
        jax.jit(lambda *operands: gpu.decode_attention(*operands, interpret=not ON_GPU))(*inputs), np.float32
    )
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() <= tolerance("attention", "bfloat16")


def test_triton_reads_each_length_whole_and_nothing_beyond():
    """Around the ends of blocks and of parts, in a capacity that neither divides."""
    case = cases.Case(batch=1, time=2, heads=4, kv_heads=1, head_dim=64, slots=300)
    query, key, value, *_ = operands(case, "bfloat16")
    key, value = jnp.nan_to_num(key), jnp.nan_to_num(value)
    ours = jax.jit(lambda *operands: gpu.decode_attention(*operands, interpret=not ON_GPU))
    for length in (0, 1, 125, 126, 127, 128, 129, 255, 256, 297, 298):
        lengths = jnp.asarray([length], jnp.int32)
        theirs = np.asarray(reference.decode_attention(query, key, value, lengths))
        beyond = np.arange(case.slots)[None, :, None, None] >= length + case.time
        found = ours(query, *(jnp.where(beyond, jnp.nan, x) for x in (key, value)), lengths)
        difference = np.abs(np.asarray(found, np.float32) - theirs).max()
        assert difference <= tolerance("attention", "bfloat16") * np.abs(theirs).max(), length


def test_a_triton_row_is_the_same_to_the_last_bit_alone_in_a_batch_and_in_a_longer_cache():
    case = cases.Case(batch=3, time=3, heads=8, kv_heads=1, head_dim=64, slots=300)
    query, key, value, lengths, _, _ = operands(case, "bfloat16")
    run = jax.jit(lambda *operands: gpu.decode_attention(*operands, interpret=not ON_GPU))
    longer = [jnp.pad(x[:1], ((0, 0), (0, 212), (0, 0), (0, 0)), constant_values=jnp.nan) for x in (key, value)]
    assert np.array_equal(run(query, key, value, lengths)[:1], run(query[:1], *longer, lengths[:1]))


@pytest.mark.parametrize(
    ("dtypes", "width", "slots", "reason"),
    [
        (("bfloat16", "bfloat16"), 80, 64, "heads must be 16, 32, 64, 128 or 256 wide, got 80"),
        (("bfloat16", "bfloat16"), 64, 15, "the cache must have 16 slots or more, got 15"),
        (("float32", "float32"), 64, 64, "queries must be bfloat16, got float32"),
        (("bfloat16", "float32"), 64, 64, "the cache must be bfloat16 or int8, got float32"),
    ],
)
def test_triton_says_why_it_refuses(dtypes, width, slots, reason):
    query = jax.ShapeDtypeStruct((1, 1, 2, width), dtypes[0])
    assert gpu.supports(query, jax.ShapeDtypeStruct((1, slots, 1, width), dtypes[1])) == reason


@pytest.mark.parametrize("cache_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("level", [None, "avx512", "avx2", "portable"])
@pytest.mark.parametrize("case", NATIVE_CASES, ids=lambda case: case.name)
def test_native_values_equal_the_reference(case, level, cache_dtype, any_level):
    try:
        kernels.limit_level(level)
    except ValueError as error:
        pytest.skip(f"not on this processor: {error}")
    inputs = operands(case, cache_dtype)
    theirs = np.asarray(reference.decode_attention(*inputs))
    ours = np.asarray(jax.jit(native.decode_attention)(*inputs[:4]), np.float32)
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() <= tolerance("attention", cache_dtype)


def test_a_native_row_is_the_same_to_the_last_bit_alone_in_a_batch_and_in_a_longer_cache(native_library):
    case = cases.Case(batch=16, time=3, heads=8, kv_heads=1, head_dim=64, slots=600)
    query, key, value, lengths, _, _ = operands(case, "float32")
    together = native.decode_attention(query, key, value, lengths)
    longer = [jnp.pad(x[:1], ((0, 0), (0, 100), (0, 0), (0, 0)), constant_values=jnp.nan) for x in (key, value)]
    assert np.array_equal(together[:1], native.decode_attention(query[:1], *longer, lengths[:1]))


def test_native_lengths_beyond_the_cache_read_nothing_outside(native_library):
    case = cases.Case(batch=1, time=2, heads=2, kv_heads=1, head_dim=16, slots=70)
    query, key, value, _, _, _ = operands(case, "float32")
    key, value = jnp.nan_to_num(key), jnp.nan_to_num(value)
    full = native.decode_attention(query, key, value, jnp.asarray([69], jnp.int32))
    beyond = native.decode_attention(query, key, value, jnp.asarray([10_000], jnp.int32))
    assert np.array_equal(full, beyond)
    assert not native.decode_attention(query, key, value, jnp.asarray([-5], jnp.int32)).any()


@pytest.mark.parametrize(
    ("dtypes", "head_dim", "reason"),
    [
        (("float32", "float32"), 8, "heads must be a multiple of 16 wide, got 8"),
        (("float16", "float32"), 16, "queries must be bfloat16 or float32, got float16"),
        (("float32", "float16"), 16, "the cache must be bfloat16 or float32, got float16 and float16"),
    ],
)
def test_the_native_version_says_why_it_refuses(dtypes, head_dim, reason):
    query = jax.ShapeDtypeStruct((1, 1, 2, head_dim), dtypes[0])
    key = jax.ShapeDtypeStruct((1, 32, 1, head_dim), dtypes[1])
    assert native.supports(query, key, key, jax.ShapeDtypeStruct((1,), "int32")) == reason


@pytest.mark.parametrize("version", VERSIONS)
def test_every_length_of_a_row_is_right(version, native_library):
    case = cases.Case(batch=1, time=2, heads=2, kv_heads=1, head_dim=128, slots=256)
    query, key, value, _, _, _ = operands(case, "float32")
    key, value = jnp.nan_to_num(key), jnp.nan_to_num(value)
    ours = jax.jit(VERSIONS[version])
    for length in (0, 1, 125, 126, 127, 128, 129, 253, 254):
        lengths = jnp.asarray([length], jnp.int32)
        theirs = reference.decode_attention(query, key, value, lengths)
        difference = np.abs(np.asarray(ours(query, key, value, lengths)) - theirs).max()
        assert difference <= tolerance("attention", "float32") * np.abs(theirs).max(), length


def test_a_row_does_not_depend_on_its_neighbour():
    case = cases.Case(batch=2, time=3, heads=4, kv_heads=2, head_dim=8, slots=600)
    query, key, value, _, _, _ = operands(case, "float32")
    key, value = jnp.nan_to_num(key), jnp.nan_to_num(value)
    short = decode_attention(query, key, value, jnp.asarray([5, 7], jnp.int32))
    long = decode_attention(query, key, value, jnp.asarray([5, 590], jnp.int32))
    assert np.array_equal(short[0], long[0])


@pytest.mark.parametrize(
    ("query", "key", "reason"),
    [
        (((1, 1, 2, 64), "float32"), ((1, 128, 1, 64), "float32"), "the head width must be a multiple of 128, got 64"),
        (
            ((1, 1, 2, 128), "float32"),
            ((1, 100, 1, 128), "float32"),
            "the cache's capacity must be a multiple of 128, got 100",
        ),
        (
            ((1, 1, 2, 128), "float16"),
            ((1, 128, 1, 128), "float16"),
            "queries must be bfloat16 or float32, got float16",
        ),
        (
            ((1, 1, 2, 128), "float32"),
            ((1, 128, 1, 128), "bfloat16"),
            "the cache must be int8 or of the queries' dtype, got bfloat16 for float32",
        ),
    ],
)
def test_the_tpu_kernel_says_why_it_refuses(query, key, reason):
    assert tpu.supports(jax.ShapeDtypeStruct(*query), jax.ShapeDtypeStruct(*key)) == reason


def test_choice_follows_the_platform():
    inputs = operands(cases.SMALL[0], "bfloat16")
    assert OPERATION.choose("cpu", *inputs).taken.name == ("blocks" if kernels.absence() else "native")
    assert OPERATION.choose("tpu", *inputs).taken.name == "pallas"


def test_bad_input_is_refused_with_the_numbers():
    query, key, value, lengths, _, _ = operands(cases.AWKWARD[0], "float32")
    with pytest.raises(ValueError, match=r"A cache must be \[B, S, K, H\].*value \(2, 39, 1, 16\)"):
        decode_attention(query, key, value[:, 1:], lengths)
    with pytest.raises(ValueError, match=r"got lengths \(1,\) for 2 rows and 40 slots"):
        decode_attention(query, key, value, lengths[:1])
    with pytest.raises(ValueError, match=r"needs a scale .* for its keys, another none; got int8"):
        decode_attention(query, key.astype(jnp.int8), value.astype(jnp.int8), lengths)


@pytest.mark.parametrize("cache_dtype", ["float32", "int8"])
def test_chunks_too_long_for_vmem_are_attended_in_pieces(cache_dtype, monkeypatch):
    inputs = operands(cases.Case(batch=2, time=21, heads=4, kv_heads=2, head_dim=128, slots=384), cache_dtype)
    needed = tpu.vmem_bytes(
        query_rows=42, block=128, head_dim=128, itemsize=inputs[0].dtype.itemsize, cache_itemsize=inputs[1].itemsize
    )
    monkeypatch.setattr(tpu, "VMEM_LIMIT_BYTES", needed - 1)
    traced = jax.make_jaxpr(VERSIONS["pallas"])(*inputs)
    assert str(traced).count("pallas_call") == 2
    theirs = np.asarray(reference.decode_attention(*inputs))
    ours = np.asarray(jax.jit(VERSIONS["pallas"])(*inputs), np.float32)
    dtype = "float32" if cache_dtype == "float32" else "bfloat16"
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() <= tolerance("attention", dtype)
