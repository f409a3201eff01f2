"""What the tests that compile whole steps share."""

import jaxtyping
import pytest


@pytest.fixture
def shapes_stand_for_arrays():
    """The tests' checks of annotations want arrays; here caches and states are made of shapes."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
