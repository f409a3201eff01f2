"""Log-likelihoods and greedy flags against a plain computation: one unpadded row, softmax in float64."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_codegemma as kcg
from keras_codegemma.evaluation.language.answers import Answers
from keras_codegemma.evaluation.language.likelihood import Likelihoods, Pair, fit, padded_count, padded_length
from tests.small_models import CONFIGS, logits_of, random_backbone, random_ids
from tests.tolerances import tolerance


@functools.cache
def forward(backbone: Any) -> Any:
    """Logits of rows as they are, without a mask; compiled for each length by itself."""

    def program(weights: Any, token_ids: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(backbone.variables, weights, strict=True))):
            hidden = backbone({"token_ids": token_ids, "padding_mask": jnp.ones_like(token_ids, bool)})
            return backbone.token_embedding(hidden, reverse=True)

    return jax.jit(program)


def plain(backbone: Any, pair: Pair) -> tuple[float, bool]:
    """By the definition: the whole row, unpadded, then the softmax in float64."""
    row = np.array([[*pair.context, *pair.continuation[:-1]]], "int32")
    weights = [variable.value for variable in backbone.variables]
    logits = np.asarray(forward(backbone)(weights, row)[0], np.float64)[-len(pair.continuation) :]
    peak = logits.max(axis=-1, keepdims=True)
    log_probs = logits - peak - np.log(np.exp(logits - peak).sum(axis=-1, keepdims=True))
    chosen = log_probs[np.arange(len(logits)), pair.continuation]
    return float(chosen.sum()), bool((logits.argmax(axis=-1) == pair.continuation).all())


def check(backbone: Any, pairs: list[Pair], **options: Any) -> list[tuple[float, bool]]:
    found = Likelihoods(backbone, **options).of(pairs, Answers())
    for (value, greedy), pair in zip(found, pairs, strict=True):
        expected, expected_greedy = plain(backbone, pair)
        assert abs(value - expected) < tolerance("harness_likelihood", "float32")
        assert greedy is expected_greedy
    return found


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("multi_query", ((1, 1), (63, 1), (2, 62), (64, 2), (1, 130))),
        ("multi_head", ((5, 3), (70, 1))),
    ],
)
def test_likelihoods_equal_a_plain_computation_batched_and_padded_or_not(name, sizes):
    backbone, rng = random_backbone(CONFIGS[name], seed=3), np.random.default_rng(1)
    pairs = [
        Pair(random_ids(rng, CONFIGS[name], before), random_ids(rng, CONFIGS[name], after)) for before, after in sizes
    ]
    check(backbone, pairs, batch_size=4)
    check(backbone, pairs[:1], batch_size=1)


def test_a_greedy_continuation_is_flagged_and_one_with_a_single_other_token_is_not():
    backbone = random_backbone(CONFIGS["multi_query"], seed=5)
    ids = [2, 17, 40]
    for _ in range(6):
        ids.append(int(logits_of(backbone, ids)[-1].argmax()))
    greedy = Pair(ids[:3], ids[3:])
    others = [Pair(ids[:3], [*ids[3:place], (ids[place] + 1) % 320, *ids[place + 1 :]]) for place in range(3, 9)]
    found = check(backbone, [greedy, *others], batch_size=8)
    assert [flag for _, flag in found] == [True, *[False] * 6]


def test_continuations_of_one_row_share_it_and_keep_their_own_answers():
    config = CONFIGS["grouped_query"]
    backbone, rng = random_backbone(config), np.random.default_rng(2)
    contexts = [random_ids(rng, config, 30) for _ in range(3)]
    # Four single tokens a context, as MMLU's letters; and two pairs that split the same row at other places.
    pairs = [Pair(context, [letter]) for context in contexts for letter in (7, 8, 9, 10)]
    pairs += [Pair(contexts[0][:20], [*contexts[0][20:], 7]), Pair(contexts[0][:29], [contexts[0][29], 8])]
    likelihoods = Likelihoods(backbone, batch_size=8)
    assert [len(batch) for batch in likelihoods._batches(pairs)] == [3]
    check(backbone, pairs, batch_size=8)


def test_the_tiny_preset_scores_real_text_as_a_plain_computation_does():
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    encode = lm.preprocessor.encode_prompt
    texts = [("def add(a, b):", "\n    return a + b\n"), ("import", " os")]
    pairs = [Pair(encode(context), encode(context + text)[len(encode(context)) :]) for context, text in texts * 2]
    found = check(lm.backbone, pairs, batch_size=4)
    assert found[:2] == found[2:]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(2, 30))
def test_a_fitted_pair_fills_the_context_and_loses_the_beginning_after_bos_only(before, after, limit):
    pair = Pair(list(range(100, 100 + before)), list(range(500, 500 + after)))
    if after > limit:
        with pytest.raises(ValueError, match=f"between 1 and {limit} tokens, the model's context; got {after}"):
            fit(pair, limit)
        return
    fitted, left_out = fit(pair, limit)
    assert fitted.continuation == pair.continuation
    assert fitted.context[0] == 100
    assert [*fitted.context[1:]] == pair.context[1 + left_out :]
    assert left_out == 0 or len(fitted.context) + after - 1 == limit
    assert len(fitted.context) + after - 1 <= max(limit, 1)


def test_an_empty_continuation_is_refused():
    with pytest.raises(ValueError, match=r"must have between 1 and 10 tokens, the model's context; got 0\. Leave this"):
        fit(Pair([2], []), 10)


@given(st.integers(1, 8192))
def test_padding_gives_few_lengths_and_costs_at_most_half(tokens):
    length = padded_length(tokens)
    assert length >= tokens
    assert length % 64 == 0
    assert length == 64 or length < 2 * tokens
    assert len({padded_length(size) for size in range(1, 8193)}) <= 14


@given(st.integers(1, 5000))
def test_counts_are_padded_to_few_sizes(targets):
    count = padded_count(targets)
    assert targets <= count < 4 * targets + 64
    assert count in (4, 16) or count % 64 == 0
