"""Choosing among implementations: the first that can, the one that was named, and what is said about it."""

import logging
import re

import jax
import jax.numpy as jnp
import pytest

from keras_codegemma.kernels import dispatch
from keras_codegemma.kernels.dispatch import Implementation, Operation, as_reference


@pytest.fixture
def doubling(monkeypatch):
    """An operation with a version for TPUs, one that takes one element only, and a reference."""
    monkeypatch.setattr(dispatch, "OPERATIONS", {})
    monkeypatch.setattr(dispatch, "_logged", set())
    return Operation(
        "doubling",
        Implementation(name="tpu", platforms=("tpu",), supports=dispatch.anything, run=lambda x: x * 200),
        Implementation(
            name="single",
            platforms=("cpu",),
            supports=lambda x: None if x.shape == (1,) else f"it takes one element, got {x.shape}",
            run=lambda x: x * 20,
        ),
        as_reference(lambda x: x * 2),
    )


def test_the_first_implementation_that_can_runs(doubling):
    assert doubling(jnp.ones(1))[0] == 20
    assert doubling(jnp.ones(2))[0] == 2
    assert jax.jit(doubling)(jnp.ones(1))[0] == 20


def test_the_platform_is_the_one_a_program_is_lowered_for(doubling):
    lowered = jax.jit(doubling).trace(jnp.ones(1)).lower(lowering_platforms=("tpu",))
    assert "2.000000e+02" in lowered.as_text()


def test_a_choice_and_its_reasons_are_logged_once(doubling, caplog):
    caplog.set_level(logging.INFO, logger="keras_codegemma.kernels.dispatch")
    for size in (2, 2, 3):
        doubling(jnp.ones(size))
    assert [record.getMessage() for record in caplog.records] == [
        "doubling runs as reference; not tpu: it is for tpu, not cpu; not single: it takes one element, got (2,)."
    ]


def test_a_named_implementation_runs_or_says_why_not(doubling):
    assert doubling(jnp.ones(1), implementation="reference")[0] == 2
    with pytest.raises(ValueError, match=re.escape("cannot: it takes one element, got (2,). Pass implementation=None")):
        doubling(jnp.ones(2), implementation="single")
    with pytest.raises(ValueError, match="it cannot: it is for tpu, not cpu"):
        doubling(jnp.ones(1), implementation="tpu")
    with pytest.raises(ValueError, match=r"must be one of \['tpu', 'single', 'reference'\]; got 'fast'"):
        doubling(jnp.ones(1), implementation="fast")


def test_using_the_reference_also_traces_compiled_functions_again(doubling):
    compiled = jax.jit(doubling)
    assert compiled(jnp.ones(1))[0] == 20
    with dispatch.using("reference"):
        assert compiled(jnp.ones(1))[0] == 2
        assert doubling(jnp.ones(1), implementation="single")[0] == 20
    assert compiled(jnp.ones(1))[0] == 20
    with pytest.raises(ValueError, match="can take 'reference' or None, the best of each; got 'native'"):
        dispatch.using("native")


def test_a_survey_tells_what_runs_each_example(monkeypatch):
    monkeypatch.setattr(dispatch, "OPERATIONS", {})
    Operation(
        "copy",
        Implementation(name="tpu", platforms=("tpu",), supports=dispatch.anything, run=lambda x: x),
        as_reference(lambda x: x),
        examples=lambda: {"one": ((jax.ShapeDtypeStruct((1,), "float32"),), {})},
    )
    found = dispatch.survey()
    assert [(f.operation, f.example, f.taken, dict(f.refused)) for f in found] == [
        ("copy", "one", "reference", {"tpu": "it is for tpu, not cpu"})
    ]
