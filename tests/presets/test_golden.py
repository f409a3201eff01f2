"""What transformers computed from the tiny model is reproduced through the shipped preset."""

import json
from pathlib import Path

import numpy as np
import pytest

import keras_codegemma as kcg
from tests.tolerances import tolerance

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "tiny_golden.json").read_text())
each_case = pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda case: f"{case['kind']}-{len(case['prompt_ids'])}"
)


@pytest.fixture(scope="module")
def tiny():
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")


@each_case
def test_golden_prompts_encode_to_the_same_ids(tiny, case):
    if case["kind"] == "text":
        ids = tiny.preprocessor.encode_prompt(case["prefix"])
    else:
        ids = tiny.preprocessor.encode_infill(
            case["prefix"], case["suffix"], layout=case["kind"], max_prompt_tokens=900
        ).token_ids
    assert ids == case["prompt_ids"]


@each_case
def test_golden_logits_and_log_probabilities_are_reproduced(tiny, case):
    ids = np.asarray([case["prompt_ids"]], np.int32)
    logits = np.asarray(tiny({"token_ids": ids}))[0]
    last = logits[-1]
    top = case["last_logits_top10"]
    assert np.argsort(-last)[:10].tolist() == top["ids"]
    largest = np.abs(last).max()
    assert np.abs(last[top["ids"]] - top["values"]).max() / largest <= tolerance("golden", "float32")
    assert np.abs(logits).mean() == pytest.approx(case["logits_abs_mean"], rel=tolerance("golden", "float32"))
    shifted = logits[:-1] - logits[:-1].max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    found = log_probs[np.arange(len(log_probs)), ids[0, 1:]]
    np.testing.assert_allclose(found, case["prompt_log_probs"], atol=1e-4)


@each_case
def test_golden_greedy_ids_are_reproduced(tiny, case):
    ids = np.asarray([case["prompt_ids"]], np.int32)
    result = tiny.generate(
        {"token_ids": ids, "padding_mask": np.ones_like(ids, bool)},
        max_new_tokens=48,
        stop_token_ids=GOLDEN["made_with"]["stop_ids"],
    )
    found = result["token_ids"][0][result["padding_mask"][0]][ids.shape[1] :].tolist()
    expected = [token for token in case["greedy_ids"] if token not in GOLDEN["made_with"]["stop_ids"]]
    assert [token for token in found if token not in GOLDEN["made_with"]["stop_ids"]] == expected
