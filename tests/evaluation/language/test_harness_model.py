"""Our model as the harness' `LM`: how texts become ids, what is cut, and what comes back."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance

import keras_codegemma as kcg
from keras_codegemma.evaluation.language.likelihood import Pair
from keras_codegemma.evaluation.language.model import Shortened, as_harness_model, asked, fingerprint, rolling
from tests.evaluation.language.small_lm import CONTEXT, small_lm
from tests.small_models import CONFIGS, logits_of, random_backbone
from tests.tolerances import tolerance

BOS = 2


@pytest.fixture(scope="module")
def lm():
    return small_lm()


def requests(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=one, idx=0, metadata=("task", number, 1))
        for number, one in enumerate(arguments)
    ]


def scored_by_hand(lm: Any, ids: list[int], count: int) -> float:
    """The last `count` ids, from all logits of the row; the softmax in float64."""
    logits = logits_of(lm.backbone, ids[:-1]).astype(np.float64)[-count:]
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(log_probs[np.arange(count), ids[-count:]].sum())


def test_log_likelihoods_are_those_of_the_tokens_after_the_context_in_the_joint_encoding(lm):
    pairs = [("def add(a, b):\n    return", " a + b"), ("x = ", "1"), ("", "import os"), ("Answer:", " yes")]
    found = as_harness_model(lm, batch_size=3).loglikelihood(requests("loglikelihood", *pairs))
    encode = lm.preprocessor.tokenizer.encode
    # The space at the end of the second context belongs to the continuation.
    for (value, _), (context, text) in zip(found, [pairs[0], ("x =", " 1"), *pairs[2:]], strict=True):
        ids, before = [BOS, *encode(context + text)], [BOS, *encode(context)]
        expected = scored_by_hand(lm, ids, len(ids) - len(before))
        assert abs(value - expected) < tolerance("harness_likelihood", "float32")


def test_the_harness_itself_gets_the_same_pairs_as_from_its_own_model(lm):
    model = as_harness_model(lm)
    context, text = model._encode_pair("Where?  ", "Here.")
    encode = lm.preprocessor.tokenizer.encode
    assert context == [BOS, *encode("Where?")]
    assert context + text == [BOS, *encode("Where?  Here.")]
    assert model.prefix_token_id == BOS
    assert model.eot_token_id == 1
    assert model.tok_encode("a b", add_special_tokens=False) == encode("a b")


def test_text_that_spells_a_sentinel_stays_text(lm):
    ids = as_harness_model(lm).tok_encode("<bos><|fim_prefix|>")
    assert ids[0] == BOS
    assert not {BOS, 67} & set(ids[1:])


def test_contexts_that_are_too_long_lose_their_beginning_and_are_counted(lm):
    text = "".join(f"a{number} = {number}\n" for number in range(60))
    ids = [BOS, *lm.preprocessor.tokenizer.encode(text + "b =")]
    cut = Shortened()
    model = as_harness_model(lm, shortened=cut)
    found = model.loglikelihood(requests("loglikelihood", ("b =", " 1"), (text + "b =", " 1")))
    answer = lm.preprocessor.tokenizer.encode("b = 1")[len(lm.preprocessor.tokenizer.encode("b =")) :]
    left_out = len(ids) + len(answer) - 1 - CONTEXT
    assert cut.tokens == {("task", 1): left_out}
    expected = scored_by_hand(lm, [BOS, *ids[1 + left_out :], *answer], len(answer))
    assert abs(found[1][0] - expected) < tolerance("harness_likelihood", "float32")


def test_generate_until_equals_generate_and_counts_cuts(lm):
    long = "".join(f"a{number} = {number}\n" for number in range(60))
    options = {"until": ["\n", ""], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}
    cut = Shortened()
    found = as_harness_model(lm, shortened=cut).generate_until(
        requests("generate_until", ("def add(a, b):\n", options), (long, options))
    )
    assert found[0] == lm.generate("def add(a, b):\n", max_new_tokens=8, stop_at=["\n"], strip_prompt=True)
    assert list(cut.tokens) == [("task", 1)]


def test_the_budget_of_a_generating_request_is_the_harness_default_where_it_names_none():
    assert asked("t", {"until": "\n"}).max_new_tokens == 256
    assert asked("t", {"until": ["a"], "max_gen_toks": 5}).until == ("a",)
    with pytest.raises(ValueError, match=r"Requests must ask for greedy decoding; got .*Set do_sample to false"):
        asked("t", {"until": ["a"], "do_sample": True, "temperature": 0.7})


def test_rolling_windows_score_each_token_once_with_the_most_context():
    ids = list(range(10, 20))
    assert rolling(ids, start=2, context_length=4) == [
        Pair([2], [10, 11, 12, 13]),
        Pair([2, 13], [14, 15, 16]),
        Pair([2, 16], [17, 18, 19]),
    ]
    assert rolling(ids[:6], start=2, context_length=4) == [Pair([2], ids[:4]), Pair([2, 12, 13], ids[4:6])]
    assert rolling(ids[:3], start=2, context_length=4) == [Pair([2], ids[:3])]
    assert rolling([], start=2, context_length=4) == []


def test_rolling_log_likelihoods_of_a_short_text_are_its_score(lm):
    texts = [("import os\n",), ("def f(x):\n    return x\n",)]
    found = as_harness_model(lm).loglikelihood_rolling(requests("loglikelihood_rolling", *texts))
    # `score` counts <eos> as well.
    expected = [float(lm.score(text)[:-1].sum()) for (text,) in texts]
    assert found == pytest.approx(expected, abs=tolerance("harness_likelihood", "float32"))


def test_a_model_without_preprocessor_is_refused():
    lm = kcg.CodeGemmaCausalLM(random_backbone(CONFIGS["multi_query"]))
    with pytest.raises(ValueError, match="A model to evaluate on text must have a preprocessor; this one has none"):
        as_harness_model(lm)


def test_fingerprints_tell_weights_and_dtypes_apart():
    def of(**options: Any) -> str:
        return fingerprint(kcg.CodeGemmaCausalLM(random_backbone(CONFIGS["multi_query"], **options)))

    assert of(seed=1) == of(seed=1)
    assert len({of(seed=1), of(seed=2), of(seed=1, dtype="bfloat16")}) == 3


def test_shortened_keeps_the_most_that_a_problem_lost():
    cut = Shortened()
    for task, number, left_out in (("a", 1, 3), ("a", 1, 5), ("a", 1, 4), ("b", 1, 0)):
        cut.note(SimpleNamespace(task_name=task, doc_id=number), left_out)
    assert cut.tokens == {("a", 1): 5}
