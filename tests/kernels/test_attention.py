"""Attention over whole rows: every version against the reference, values and gradients, over all cases."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels import native as library
from keras_codegemma.kernels.attention import OPERATION, attention, cases, chunked, gpu, native, reference, tpu
from tests.tolerances import tolerance

ON_GPU = jax.default_backend() == "gpu"
OPERANDS = ("query", "key", "value")
VERSIONS = {
    "native": native.attention,
    "chunked": lambda *operands: chunked.attention(*operands, block=32),
    "triton": lambda *operands: gpu.attention(
        *operands, tiles=gpu.Tiles(query=32, key=16, long=32, short=16), interpret=not ON_GPU
    ),
    "splash": lambda *operands: tpu.attention(*operands, tiles=tpu.Tiles(query=128, key=128), interpret=True),
}


@pytest.fixture
def native_attention(native_library) -> None:
    """Needs AVX-512 BF16, which is not everywhere."""
    if library.level("bfloat16") != native.LEVEL:
        pytest.skip(f"the native attention needs {native.LEVEL}; this processor has {library.level('bfloat16')}")


def operands(case: cases.Case, dtype: str) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng()
    shapes = [(case.batch, case.time, heads, case.head_dim) for heads in (case.heads, case.kv_heads, case.kv_heads)]
    segments = np.sort(rng.integers(0, 4, (case.batch, case.time)), axis=1)
    return *(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes), jnp.asarray(segments, jnp.int32)


def value_and_gradients(version, inputs, cotangent):
    *differentiable, segments = inputs

    def total(*differentiable):
        mixed = version(*differentiable, segments)
        return jnp.sum(mixed.astype(jnp.float32) * cotangent), mixed

    differentiate = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
    (_, mixed), gradients = differentiate(*differentiable)
    return mixed, *gradients


def assert_close(ours, theirs, *, dtype: str, scale: float, what: str) -> None:
    error = np.abs(np.asarray(ours, np.float32) - np.asarray(theirs, np.float32)).max() / scale
    assert error <= tolerance("attention", dtype), (what, error)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("version", "case"),
    [("chunked", case) for case in cases.TESTED] + [("splash", case) for case in cases.SMALL],
    ids=lambda x: getattr(x, "name", x),
)
def test_values_and_gradients_equal_the_reference(version, case, dtype):
    check_values_and_gradients(version, case, dtype)


@pytest.mark.parametrize("case", cases.GPU, ids=lambda case: case.name)
def test_triton_values_and_gradients_equal_the_reference(case):
    check_values_and_gradients("triton", case, "bfloat16")


@pytest.mark.parametrize(
    ("width", "dtype", "reason"),
    [
        (8, "bfloat16", "heads must be 16 to 256 wide, got 8"),
        (512, "bfloat16", "heads must be 16 to 256 wide, got 512"),
        (64, "float32", "queries and keys must both be bfloat16, got float32 and float32"),
    ],
)
def test_triton_says_why_it_refuses(width, dtype, reason):
    array = jax.ShapeDtypeStruct((1, 8, 2, width), dtype)
    assert gpu.supports(array, array) == reason
    with pytest.raises(ValueError, match=r"powers of two from 16 on; got \(64, 8, 32, 32\)"):
        gpu.Tiles(query=64, key=8, long=32, short=32)


@pytest.mark.parametrize("case", cases.NATIVE, ids=lambda case: case.name)
def test_native_values_and_gradients_equal_the_reference(native_attention, case):
    check_values_and_gradients("native", case, "bfloat16")


def check_values_and_gradients(version, case, dtype):
    inputs = operands(case, dtype)
    cotangent = np.random.default_rng().normal(size=inputs[0].shape).astype(np.float32)
    theirs = value_and_gradients(reference.attention, inputs, cotangent)
    ours = value_and_gradients(VERSIONS[version], inputs, cotangent)
    # Of one token with one key the exact gradients of query and key are zero, so sizes are taken over all gradients.
    sizes = [np.abs(np.asarray(x, np.float32)).max() for x in theirs]
    for what, our, their, scale in zip(
        ("output", *OPERANDS), ours, theirs, (sizes[0], *[max(sizes[1:])] * 3), strict=True
    ):
        assert_close(our, their, dtype=dtype, scale=scale, what=what)


def test_a_segment_does_not_see_what_another_holds():
    case = cases.Case(batch=1, time=40, heads=2, kv_heads=1, head_dim=8)
    query, key, value, _ = operands(case, "float32")
    segments = jnp.asarray([[1] * 20 + [2] * 20], jnp.int32)
    before = attention(query, key, value, segments)
    changed = attention(query, key.at[:, :20].add(1.0), value.at[:, :20].add(1.0), segments)
    assert np.array_equal(before[:, 20:], changed[:, 20:])
    assert not np.allclose(before[:, :20], changed[:, :20])


def test_native_skips_what_no_query_sees(native_attention):
    """Whole tiles of another segment, or later ones, may hold anything but change nothing, gradients included."""
    case = cases.Case(batch=1, time=200, heads=4, kv_heads=1, head_dim=32)
    query, key, value, _ = operands(case, "bfloat16")
    segments = jnp.asarray([[1] * 128 + [2] * 72], jnp.int32)
    cotangent = (
        np.random.default_rng().normal(size=query.shape).astype(np.float32) * (np.arange(200) < 128)[:, None, None]
    )
    found = value_and_gradients(native.attention, (query, key, value, segments), cotangent)
    poisoned = [x.at[:, 128:].set(jnp.nan) for x in (query, key, value)]
    again = value_and_gradients(native.attention, (*poisoned, segments), cotangent)
    for before, after in zip(found, again, strict=True):
        np.testing.assert_array_equal(np.asarray(before[:, :128]), np.asarray(after[:, :128]))


def test_native_is_taken_for_bfloat16_and_works_within_other_transformations(native_attention):
    inputs = operands(cases.Case(batch=2, time=70, heads=4, kv_heads=2, head_dim=32), "bfloat16")
    assert OPERATION.choose("cpu", *inputs).taken.name == "native"
    cotangent = np.ones(inputs[0].shape, np.float32)
    plain = value_and_gradients(attention, inputs, cotangent)
    again = value_and_gradients(jax.checkpoint(attention), inputs, cotangent)
    batched = jax.vmap(attention)(*(x[:, None] for x in inputs))[:, 0]
    for ours, theirs in zip((*again, batched), (*plain, plain[0]), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_native_rows_do_not_depend_on_each_other(native_attention):
    """Few rows have a task for each query head, many for each key-value head; sums must be close either way."""
    inputs = operands(cases.Case(batch=9, time=130, heads=4, kv_heads=1, head_dim=32), "bfloat16")
    cotangent = np.random.default_rng().normal(size=inputs[0].shape).astype(np.float32)
    together = value_and_gradients(native.attention, inputs, cotangent)
    alone = value_and_gradients(native.attention, [x[4:5] for x in inputs], cotangent[4:5])
    np.testing.assert_array_equal(np.asarray(together[0][4:5]), np.asarray(alone[0]))
    for ours, theirs in zip(together[1:], alone[1:], strict=True):
        assert_close(ours[4:5], theirs, dtype="bfloat16", scale=float(jnp.abs(theirs).max()), what="gradient")


@pytest.mark.parametrize(
    ("width", "dtype", "reason"),
    [
        (24, "bfloat16", "heads must be a multiple of 16 wide, got 24"),
        (32, "float32", "queries, keys and values must be bfloat16, got float32"),
    ],
)
def test_native_says_why_it_refuses(width, dtype, reason):
    inputs = operands(cases.Case(batch=1, time=8, heads=2, kv_heads=1, head_dim=width), dtype)
    assert native.supports(*inputs) == reason


def test_the_same_input_gives_the_same_output_twice():
    inputs = operands(cases.SMALL[0], "bfloat16")
    assert np.array_equal(attention(*inputs), attention(*inputs))


def test_backward_memory_grows_linearly_with_the_length():
    def temporary_bytes(time: int) -> int:
        row = jax.ShapeDtypeStruct((1, time, 8, 256), jnp.bfloat16)
        shared = jax.ShapeDtypeStruct((1, time, 1, 256), jnp.bfloat16)
        segments = jax.ShapeDtypeStruct((1, time), jnp.int32)

        def loss(query, key, value, segments):
            return attention(query, key, value, segments).astype(jnp.float32).sum()

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
        return gradient.lower(row, shared, shared, segments).compile().memory_analysis().temp_size_in_bytes

    sizes = [temporary_bytes(time) for time in (1024, 2048, 4096, 8192)]
    assert all(later <= 2.1 * earlier for earlier, later in itertools.pairwise(sizes)), sizes


def test_chunked_is_taken_here_and_the_reason_against_splash_is_kept():
    inputs = operands(cases.SMALL[0], "float32")
    choice = OPERATION.choose("cpu", *inputs)
    assert choice.taken.name == "chunked"
    assert choice.refused == {
        "splash": "it is for tpu, not cpu",
        "triton": "it is for cuda, not cpu",
        "native": "queries, keys and values must be bfloat16, got float32",
    }
    assert OPERATION.choose("tpu", *inputs).taken.name == "splash"
    assert OPERATION.choose("cuda", *operands(cases.GPU[0], "bfloat16")).taken.name == "triton"


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        ((1, 100, 2, 128), "float32", "the length must be a multiple of 128, got 100"),
        ((1, 128, 2, 64), "float32", "the head width must be a multiple of 128, got 64"),
        ((1, 128, 2, 128), "float16", "queries and keys must both be bfloat16 or float32, got float16 and float16"),
    ],
)
def test_splash_says_why_it_refuses(shape, dtype, reason):
    array = jax.ShapeDtypeStruct(shape, dtype)
    assert tpu.supports(array, array) == reason


def test_bad_input_is_refused_with_the_numbers():
    query, key, value, segments = operands(cases.AWKWARD[0], "float32")
    with pytest.raises(ValueError, match=r"Keys and values must be \[B, T, K, H\].*key \(2, 36, 1, 16\)"):
        attention(query, key[:, 1:], value, segments)
    with pytest.raises(ValueError, match="must divide the query heads; got 2 and 3"):
        attention(query[:, :, :3], jnp.repeat(key, 2, 2), jnp.repeat(value, 2, 2), segments)
    with pytest.raises(ValueError, match=r"Segment ids must be \[B, T\] = \(2, 37\); got \(2, 36\)"):
        attention(query, key, value, segments[:, 1:])
    with pytest.raises(ValueError, match="'splash' of attention must be able to run here; it cannot: it is for tpu"):
        attention(query, key, value, segments, implementation="splash")
    with pytest.raises(ValueError, match="Attention tiles must be multiples of 128; got query=100, key=128"):
        tpu.Tiles(query=100, key=128)
