"""Prefill and decode against the full forward pass, and what compiles when."""

import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from keras_codegemma import generation
from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.cache import KVCache
from keras_codegemma.decode_state import draft
from keras_codegemma.generation import GenerationOptions, Generator, capacity_for, chunk_plan
from keras_codegemma.sampling import GreedySampler, RandomSampler, TopKSampler, TopPSampler
from tests.small_models import CONFIGS, logits_of, random_backbone, random_ids
from tests.tolerances import tolerance

CHUNKS = (16, 64, 256)


@pytest.fixture(scope="module", params=CONFIGS)
def generator(request):
    return Generator(random_backbone(CONFIGS[request.param]))


@pytest.fixture(scope="module")
def small():
    return Generator(random_backbone(CONFIGS["multi_query"]))


def run(generator, prompts, *, budget=8, stops=(), sampler=None, seed=0, steps=None, first_stream=0):
    budgets = budget if isinstance(budget, list) else [budget] * len(prompts)
    options = GenerationOptions(
        budgets=budgets,
        stop_ids=stops,
        sampler=sampler or GreedySampler(),
        seed=seed,
        first_stream=first_stream,
    )
    decoding = generator.begin(prompts, options)
    if steps is None:
        decoding.advance()
    while not all(decoding.finished):
        decoding.advance(steps)
    decoding.close()
    return decoding.rows()


def assert_greedy_by_full_forward(generator, prompt, row):
    """Each new id is the full forward's likeliest given all before it, with its log-probability."""
    logits = logits_of(generator.backbone, [*prompt, *row.token_ids])[len(prompt) - 1 : -1].astype(np.float64)
    assert row.token_ids == logits.argmax(-1).tolist()
    highest = logits.max(-1)
    expected = -np.log(np.exp(logits - highest[:, None]).sum(-1))
    np.testing.assert_allclose(row.logprobs, expected, atol=tolerance("logprob", "float32"))


@pytest.mark.parametrize("length", [1, 15, 16, 17, 64, 65, 256, 257, 300])
def test_cached_decode_equals_full_forward(generator, length):
    prompt = random_ids(np.random.default_rng(length), generator.backbone.config, length)
    row = run(generator, [prompt], budget=20)[0]
    assert (len(row.token_ids), row.finish_reason) == (20, "length")
    assert_greedy_by_full_forward(generator, prompt, row)


def test_prefill_and_decode_reproduce_the_full_forwards_logits_at_every_position(small):
    """Each position's hidden state, once decoded with everything before it in the cache."""
    backbone = small.backbone
    ids = random_ids(np.random.default_rng(7), backbone.config, 40)
    cache = KVCache.create(backbone.config, batch_size=1, capacity=64, dtype="float32")
    expected = logits_of(backbone, ids)

    @jax.jit
    def step(token, position, cache):
        hidden, cache = small.forward(small.weights(), token, position, cache, cache.lengths + 1)
        return small.logits(small.weights(), hidden[:, 0]), cache

    for position, token in enumerate(ids):
        logits, cache = step(jnp.asarray([[token]]), jnp.asarray([[position]]), cache)
        logits = np.asarray(logits)[0]
        assert (
            np.abs(logits - expected[position]).max() <= tolerance("cached_decode", "float32") * np.abs(expected).max()
        )


def test_batch_mates_padding_and_bucket_change_nothing(generator):
    rng = np.random.default_rng(11)
    prompts = [random_ids(rng, generator.backbone.config, n) for n in (3, 40, 290, 17, 64)]
    together = run(generator, prompts, budget=6)
    for prompt, row in zip(prompts, together, strict=True):
        alone = run(generator, [prompt], budget=6)[0]
        assert row.token_ids == alone.token_ids
        np.testing.assert_allclose(row.logprobs, alone.logprobs, atol=tolerance("logprob", "float32"))


def test_rows_have_their_own_budgets_and_stops(small):
    rng = np.random.default_rng(12)
    prompts = [random_ids(rng, small.backbone.config, n) for n in (5, 9, 30)]
    free = run(small, prompts, budget=10)
    stop = free[1].token_ids[4]
    before = free[1].token_ids.index(stop)
    rows = run(small, prompts, budget=[3, 10, 10], stops=(stop,))
    assert rows[1].token_ids == free[1].token_ids[:before]
    assert rows[1].finish_reason == "stop"
    assert rows[0].token_ids == [i for i in free[0].token_ids[:3] if i != stop][:3]
    assert len(rows[1].logprobs) == before


def test_decoding_in_segments_equals_decoding_at_once(small):
    prompts = [random_ids(np.random.default_rng(13), small.backbone.config, n) for n in (4, 21)]
    for sampler in (GreedySampler(), TopPSampler(p=0.9)):
        at_once = run(small, prompts, budget=9, sampler=sampler, seed=3)
        in_segments = run(small, prompts, budget=9, sampler=sampler, seed=3, steps=2)
        assert [row.token_ids for row in at_once] == [row.token_ids for row in in_segments]


def test_a_row_told_to_finish_gets_no_more_tokens(small):
    prompts = [[5, 6], [7, 8, 9]]
    decoding = small.begin(prompts, GenerationOptions(budgets=[20, 20], stop_ids=(), sampler=GreedySampler()))
    decoding.advance(3)
    decoding.finish(0)
    decoding.advance()
    decoding.close()
    first, second = decoding.rows()
    assert (len(first.token_ids), len(second.token_ids)) == (4, 20)
    assert second.token_ids == run(small, [prompts[1]], budget=20)[0].token_ids


@pytest.mark.parametrize("sampler", [RandomSampler(), TopKSampler(k=7), TopPSampler(p=0.8)], ids=lambda s: s.name)
def test_seeds_reproduce_and_streams_are_independent_of_batch_mates(small, sampler):
    prompt = [5, 6, 7]
    first = run(small, [prompt, [9]], sampler=sampler, seed=1, budget=12)
    assert run(small, [prompt, [9]], sampler=sampler, seed=1, budget=12) == first
    assert run(small, [prompt, [30, 31]], sampler=sampler, seed=1, budget=12)[0].token_ids == first[0].token_ids
    assert run(small, [prompt, [9]], sampler=sampler, seed=2, budget=12)[0].token_ids != first[0].token_ids
    # The same prompt in another row is another sample; asked for by its stream, it is the same again.
    rows = run(small, [prompt, prompt], sampler=sampler, seed=1, budget=12)
    assert rows[0].token_ids != rows[1].token_ids
    assert run(small, [prompt], sampler=sampler, seed=1, budget=12, first_stream=1)[0].token_ids == rows[1].token_ids


def test_after_the_first_call_of_a_bucket_nothing_compiles():
    generator = Generator(random_backbone(CONFIGS["multi_query"]))
    rng = np.random.default_rng(0)
    config = generator.backbone.config

    def call(length, budget, **options):
        run(generator, [random_ids(rng, config, length)], budget=budget, **options)

    call(100, 5)
    compiled = generator.compilations()
    assert compiled == 3  # one chunk size, start, decode
    for length, budget in [(17, 1), (64, 300), (65, 17), (128, 64), (200, 2), (256, 100)]:
        call(length, budget, stops=(3, 9), seed=length)
    assert generator.compilations() == compiled
    call(257, 3)
    assert generator.compilations() == compiled + 1  # the largest chunk
    for length, budget in [(300, 90), (400, 5), (320, 150)]:
        call(length, budget)
    assert generator.compilations() == compiled + 1
    for temperature in (0.5, 0.9):
        call(100, 5, sampler=TopPSampler(p=temperature, temperature=temperature))
    assert generator.compilations() == compiled + 3  # start and decode of another kind of sampler, once


def test_a_reused_cache_leaks_nothing_of_the_call_before(small):
    rng = np.random.default_rng(21)
    short, long = (random_ids(rng, small.backbone.config, n) for n in (5, 200))
    fresh = run(small, [short], budget=5)
    run(small, [long], budget=50)
    assert run(small, [short], budget=5) == fresh


@pytest.mark.parametrize("tokens", range(1, 1200, 7))
def test_a_chunk_plan_holds_the_prompt_and_wastes_less_than_one_chunk(tokens):
    plan = chunk_plan(tokens, CHUNKS)
    assert tokens <= sum(plan) < tokens + (16 if tokens <= 16 else 64)
    assert set(plan) == ({16} if tokens <= 16 else {64} if tokens <= 256 else {64, 256})


def test_capacity_is_a_power_of_two_and_room_for_drafts():
    assert [capacity_for(n) - 16 for n in (1, 1024, 1025, 5000, 8192)] == [1024, 1024, 2048, 8192, 8192]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1, 2, 3, 4, 5, 1, 2], [3, 4, 5]),
        ([7, 1, 2, 3, 8, 1, 2, 4, 9, 9, 1, 2], [4, 9, 9]),  # the last time counts
        ([5, 6, 7, 6, 7], [6, 7, 6]),  # a repetition goes on
        ([3, 9, 9, 9], [9, 9, 9]),
    ],
)
def test_a_draft_is_what_followed_the_last_two_ids_before(row, expected):
    padded = jnp.asarray([row + [77] * 5], "int32")
    assert draft(padded, jnp.asarray([len(row)], "int32"), size=3).tolist() == [expected]


@pytest.mark.parametrize("sampler", [GreedySampler(), RandomSampler(temperature=0.3), TopKSampler(k=2)], ids=repr)
def test_drafts_change_no_token(monkeypatch, sampler):
    backbone = random_backbone(CONFIGS["multi_head"])
    # Much to copy, so that drafts are taken, and refused, often.
    prompts = [[5, 6, 7, 8, 9] * 4, random_ids(np.random.default_rng(3), backbone.config, 30), [9]]
    drafted = [run(Generator(backbone), [p], budget=90, sampler=sampler, seed=4, stops=(11,))[0] for p in prompts]
    monkeypatch.setattr(generation, "DRAFT_TOKENS", 0)
    plain = [run(Generator(backbone), [p], budget=90, sampler=sampler, seed=4, stops=(11,))[0] for p in prompts]
    for a, b in zip(drafted, plain, strict=True):
        assert (a.token_ids, a.finish_reason) == (b.token_ids, b.finish_reason)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=tolerance("logprob", "float32"))


def test_drafts_save_passes_where_text_repeats_itself():
    # All weights zero but the embedding: the likeliest next id is the last one.
    config = CONFIGS["multi_query"]
    rng = np.random.default_rng(0)

    def source(path, shape, dtype):
        return rng.normal(size=shape).astype("float32") if "embeddings" in path else np.zeros(shape, "float32")

    generator = Generator(CodeGemmaBackbone(**config.to_dict(), weight_source=source))
    decoding = generator.begin([[5, 6]], GenerationOptions(budgets=[101], stop_ids=(), sampler=GreedySampler()))
    passes = 0
    while not decoding.finished[0]:
        decoding.advance(1)
        passes += 1
    assert decoding.rows()[0].token_ids == [6] * 101
    # The first id comes with the prompt. Then each pass gives the last id and three drafts.
    assert passes == 25


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([[]], {}, "A prompt must hold at least one id; prompt 0 is empty. Begin it with the <bos> id."),
        ([[5], [1, 320]], {}, "Prompt ids must lie in [0, 320); prompt 1 holds 320. Use the tokenizer"),
        ([[5, -1]], {}, "Prompt ids must lie in [0, 320); prompt 0 holds -1."),
        ([[5]], {"budget": 0}, "Each of the 1 prompts needs a budget of at least 1 new token; got [0]."),
        ([[5]], {"stops": tuple(range(9))}, "At most 8 stop ids can be given; got 9. Stop at text instead."),
    ],
)
def test_bad_requests_are_refused(small, prompts, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run(small, prompts, **options)


def test_time_per_token_follows_the_tokens_used_and_not_the_capacity(monkeypatch):
    backbone = random_backbone(CONFIGS["multi_head"])

    def seconds_per_token(capacity):
        monkeypatch.setattr(generation, "SMALLEST_CAPACITY", capacity)
        generator = Generator(backbone)
        run(generator, [[5] * 20], budget=200)
        times = []
        for _ in range(7):
            options = GenerationOptions(budgets=[200], stop_ids=(), sampler=GreedySampler())
            decoding = generator.begin([[5] * 20], options)
            decoding.rows()
            started = time.perf_counter()
            decoding.advance()
            decoding.rows()
            times.append((time.perf_counter() - started) / 200)
            decoding.close()
        return min(times)

    # 64 times the slots; if work followed them, attention alone would take 64 times as long.
    small, large = seconds_per_token(1024), seconds_per_token(65_536)
    assert large < 2 * small
