"""`codegemma plan` with the TPU compiler at hand: the real steps are compiled, their bytes beside the model's."""

import json

import jaxtyping
import pytest
from click.testing import CliRunner

from keras_codegemma.cli import app

pytestmark = pytest.mark.libtpu


def test_plan_compiles_the_recommended_steps(monkeypatch):
    # The tests' checks of annotations want arrays; here caches and states are made of shapes.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    arguments = ["plan", "code_gemma_tiny", "--job", "serve", "--topology", "v5e:1x1", "--batch", "8", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    decode, prefill = (document["compiled"][name] for name in ("decode", "prefill"))
    best = document["recommended"]["chip_bytes"]
    held = best["weights"] + best["cache"] + best["batch"]
    assert decode["argument_bytes"] == pytest.approx(held, rel=0.1)
    assert prefill["peak_bytes"] > decode["argument_bytes"]
