"""The norm, alone and of a sum: every version against the reference, values and gradients, over all cases."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma.kernels import rms_norm as module
from keras_codegemma.kernels.rms_norm import add_rms_norm, cases, native, plain, reference, rms_norm, tpu
from tests.kernels.levels import runs_at
from tests.tolerances import tolerance

EPSILON = 1e-6
TILES = tpu.Tiles(rows=16)  # so that most cases have several, and the last reaches beyond the rows
VERSIONS = {
    "native": (native.rms_norm, native.backward),
    "xla": (plain.rms_norm, plain.backward),
    "pallas": (
        partial(tpu.rms_norm, tiles=TILES, interpret=True),
        partial(tpu.backward, tiles=TILES, interpret=True),
    ),
}
RUNS = [(name, case) for name in ("xla", "native") for case in cases.TESTED] + [
    ("pallas", case) for case in (*cases.CUT, *cases.SMALL)
]


def operands(case: cases.Case, dtype: str) -> list[jax.Array]:
    """Rows, residual, gradients of the sum and of the result; and the scale."""
    rng = np.random.default_rng([case.rows, case.width])
    rows = [jnp.asarray(rng.normal(size=(case.rows, case.width)) * size, dtype) for size in (3, 1, 1, 2)]
    return [*rows, jnp.asarray(rng.normal(size=case.width), jnp.float32)]


def error(ours: jax.Array, theirs: jax.Array) -> float:
    wide = np.asarray(theirs, np.float64)
    return np.abs(np.asarray(ours, np.float64) - wide).max() / np.abs(wide).max()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("version", "case"), RUNS, ids=lambda x: getattr(x, "name", x))
def test_values_and_gradients_equal_the_reference(native_library, version, case, dtype):
    x, residual, of_total, of_normed, scale = operands(case, dtype)
    forward, backward = VERSIONS[version]
    total, normed = forward(x, residual if case.residual else None, scale, epsilon=EPSILON)
    assert np.array_equal(total, x + residual if case.residual else x)
    assert total.dtype == normed.dtype == x.dtype
    wide = total.astype(jnp.float32)
    assert error(normed, reference.rms_norm(wide, None, scale, epsilon=EPSILON)[1]) <= tolerance("rms_norm", dtype)

    gradients = of_total if case.residual else None, of_normed
    ours = backward(total, scale, *gradients, epsilon=EPSILON)
    wide_gradients = (None if g is None else g.astype(jnp.float32) for g in gradients)
    theirs = reference.backward(wide, scale, *wide_gradients, epsilon=EPSILON)
    assert ours[0].dtype == x.dtype
    # A row of one value has no gradient but the sum's: what remains is rounding of terms that cancel.
    assert case.width == 1 or error(ours[0], theirs[0]) <= tolerance("rms_norm", dtype)
    assert error(ours[1], theirs[1]) <= tolerance("rms_norm", "float32")


@pytest.mark.parametrize("implementation", [None, "reference"])
def test_the_public_functions_have_the_gradients_of_the_formula(implementation):
    x, residual, of_total, of_normed, scale = operands(cases.Case(rows=6, width=24, residual=True), "float32")
    rows, tensor = (6, 24), (2, 3, 24)

    def formula(x, residual, scale):
        total = x + residual
        return total, total * jax.lax.rsqrt(jnp.mean(total**2, -1, keepdims=True) + EPSILON) * (1 + scale)

    def ours(x, residual, scale):
        shaped = (x.reshape(tensor), residual.reshape(tensor), scale)
        return [y.reshape(rows) for y in add_rms_norm(*shaped, epsilon=EPSILON, implementation=implementation)]

    def alone(x, residual, scale):
        total = x + residual
        return total, rms_norm(total, scale, epsilon=EPSILON, implementation=implementation)

    expected = jax.vjp(formula, x, residual, scale)[1]((of_total, of_normed))
    for version, container in ((ours, list), (alone, tuple)):
        got = jax.jit(lambda *x, f=version, c=container: jax.vjp(f, *x)[1](c((of_total, of_normed))))(
            x, residual, scale
        )
        for our, their in zip(got, expected, strict=True):
            assert error(our, their) <= tolerance("rms_norm", "float32")


@pytest.mark.parametrize("level", ["avx512", "avx2", "portable"])
def test_native_equals_the_reference_at_every_level(any_level, level):
    if not runs_at(level):
        return
    x, residual, of_total, of_normed, scale = operands(cases.Case(rows=150, width=77, residual=True), "float32")
    ours = add_rms_norm(x, residual, scale, epsilon=EPSILON, implementation="native")
    for our, their in zip(ours, reference.rms_norm(x, residual, scale, epsilon=EPSILON), strict=True):
        assert error(our, their) <= tolerance("rms_norm", "float32")
    gradients = module.BACKWARD(ours[0], scale, of_total, of_normed, epsilon=EPSILON, implementation="native")
    for our, their in zip(
        gradients, reference.backward(ours[0], scale, of_total, of_normed, epsilon=EPSILON), strict=True
    ):
        assert error(our, their) <= tolerance("rms_norm", "float32")


def test_few_rows_and_rows_on_a_mesh_are_the_compilers(native_library):
    many, few = jnp.ones((64, 128)), jnp.ones((63, 128))
    for rows, is_split, reason in (
        (many, True, "the operands may lie on a mesh, and XLA cannot split it"),
        (few, False, "it is for 64 rows or more, got 63"),
    ):
        choice = module.OPERATION.choose("cpu", rows, None, jnp.ones(128), epsilon=EPSILON, is_split=is_split)
        assert choice.taken.name == "xla"
        assert choice.refused["native"] == reason
    assert module.OPERATION.choose("cpu", many, None, jnp.ones(128), epsilon=EPSILON).taken.name == "native"


def test_nan_stays_in_its_row(native_library):
    x = jnp.ones((70, 128), jnp.bfloat16).at[65, 3].set(jnp.nan)
    normed = np.asarray(rms_norm(x, jnp.ones(128), epsilon=EPSILON, implementation="native"), np.float32)
    assert np.isnan(normed[65]).all()
    assert (np.delete(normed, 65, 0) == 2).all()


def test_the_compilers_version_stands_first_and_the_kernel_is_named():
    arguments, options = cases.REAL_2B[0].arguments("bfloat16")
    for platform in ("tpu", "cuda"):
        assert module.OPERATION.choose(platform, *arguments, **options).taken.name == "xla"
    by_name = {implementation.name: implementation for implementation in module.OPERATION.implementations}
    assert by_name["pallas"].refusal("tpu", *arguments, **options) is None
    with pytest.raises(ValueError, match="it cannot: it is for tpu, not cpu"):
        rms_norm(jnp.ones((1, 128)), jnp.ones(128), epsilon=EPSILON, implementation="pallas")


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        ((4, 100), "float32", "the width must be a multiple of 128, got 100"),
        ((4, 128), "float16", "rows and scale must be bfloat16 or float32, got float16 and float32"),
        ((0, 128), "float32", "there must be at least one row"),
        ((4, 2**15), "float32", f"the kernel would need 25165824 bytes of VMEM of {12 * 2**20}"),
    ],
)
def test_the_tpu_kernel_says_why_it_refuses(shape, dtype, reason):
    x, scale = jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct(shape[1:], "float32")
    assert tpu.supports(x, scale) == reason


def test_tiles_fit_and_cover():
    for case in (*cases.REAL_2B, *cases.REAL_7B, *cases.SMALL):
        for itemsize in (2, 4):
            tiles = tpu.tiles_for(case.rows, width=case.width, itemsize=itemsize)
            assert tiles is not None
            assert tpu.vmem_bytes(tiles, width=case.width, itemsize=itemsize) <= tpu.VMEM_BYTES
            assert tiles.rows <= -(-case.rows // 16) * 16
    with pytest.raises(ValueError, match="Row tiles must be multiples of 16; got 10"):
        tpu.Tiles(rows=10)


def test_bad_input_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match=r"A scale must be \[D\] for rows \[..., D\]; got \(3,\) and \(2, 4\)"):
        rms_norm(jnp.ones((2, 4)), jnp.ones(3), epsilon=EPSILON)
    with pytest.raises(ValueError, match=r"got \(2, 4\) bfloat16 for \(2, 4\) float32"):
        add_rms_norm(jnp.ones((2, 4)), jnp.ones((2, 4), jnp.bfloat16), jnp.ones(4), epsilon=EPSILON)
