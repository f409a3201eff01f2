"""Beam search against exhaustive search, on a model small enough for it."""

import itertools

import numpy as np
import pytest

from keras_codegemma.beam_search import BeamSearch
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.generation import GenerationOptions, Generator
from keras_codegemma.sampling import BeamSampler, GreedySampler
from tests.small_models import CONFIGS, logits_of_rows, random_backbone
from tests.tolerances import tolerance

TINY_VOCABULARY = CodeGemmaConfig.from_dict({**CONFIGS["multi_query"].to_dict(), "vocabulary_size": 6})
LENGTH = 3
STOP = 4


@pytest.fixture(scope="module")
def generator():
    return Generator(random_backbone(TINY_VOCABULARY, seed=4))


def log_softmax(logits):
    wide = logits.astype(np.float64)
    return wide - wide.max() - np.log(np.exp(wide - wide.max()).sum())


def exhaustive(generator, prompt):
    """The best of all sequences that end with the stop id or have the full length."""
    sequences = {
        ids[: ids.index(STOP) + 1] if STOP in ids else ids for ids in itertools.product(range(6), repeat=LENGTH)
    }
    ordered = sorted(sequences)
    rows = logits_of_rows(generator.backbone, [[*prompt, *ids] for ids in ordered])
    scores = {
        ids: sum(log_softmax(logits[len(prompt) - 1 + i])[token] for i, token in enumerate(ids))
        for ids, logits in zip(ordered, rows, strict=True)
    }
    return max(scores.items(), key=lambda item: item[1])


def options(rows):
    return GenerationOptions(budgets=[LENGTH] * rows, stop_ids=(STOP,), sampler=BeamSampler(num_beams=36))


def test_a_beam_as_wide_as_the_tree_finds_the_best_sequence(generator):
    prompts = [[1, 2], [3, 3, 5, 0, 1], [2]]
    rows = BeamSearch(generator, 36).run(prompts, options(3))
    for prompt, row in zip(prompts, rows, strict=True):
        best, score = exhaustive(generator, prompt)
        stopped = best[-1] == STOP
        assert row.token_ids == list(best[:-1] if stopped else best)
        assert row.finish_reason == ("stop" if stopped else "length")
        assert len(row.logprobs) == len(row.token_ids)
        if not stopped:
            assert sum(row.logprobs) == pytest.approx(score, abs=tolerance("rescored", "float32"))


def test_one_beam_is_greedy(generator):
    prompts = [[1, 2], [3, 3, 5]]
    greedy = generator.begin(prompts, GenerationOptions(budgets=[9, 9], stop_ids=(STOP,), sampler=GreedySampler()))
    greedy.advance()
    beams = BeamSearch(generator, 1).run(
        prompts, GenerationOptions(budgets=[9, 9], stop_ids=(STOP,), sampler=BeamSampler(num_beams=1))
    )
    assert [row.token_ids for row in beams] == [row.token_ids for row in greedy.rows()]
