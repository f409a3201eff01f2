"""The key-value cache: where tokens go, and what integers keep of them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma.cache import DTYPES, KVCache, LayerCache, bytes_per_token
from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B
from keras_codegemma.generation import Generator, capacity_for
from keras_codegemma.layers.attention import attend_cached
from tests.fresh_process import ROOT
from tests.small_models import CONFIGS
from tests.tolerances import tolerance


def cache_of(dtype: str, lengths: list[int], *, slots: int = 8, heads: int = 2, width: int = 4) -> LayerCache:
    scale = jnp.zeros((len(lengths), slots, heads)) if dtype == "int8" else None
    empty = jnp.zeros((len(lengths), slots, heads, width), dtype)
    return LayerCache(
        key=empty, value=empty, lengths=jnp.asarray(lengths, jnp.int32), key_scale=scale, value_scale=scale
    )


def test_a_cache_takes_each_rows_tokens_at_its_own_length():
    new = jnp.arange(8.0).reshape(2, 2, 1, 2) + 1
    written = cache_of("float32", [1, 4], slots=6, heads=1, width=2).write(new, -new)
    expected = np.zeros((2, 6, 1, 2))
    expected[0, 1:3], expected[1, 4:6] = new[0], new[1]
    np.testing.assert_array_equal(np.asarray(written.key), expected)
    np.testing.assert_array_equal(np.asarray(written.value), -expected)


def test_integers_times_their_scales_are_what_was_written_within_half_a_step():
    rng = np.random.default_rng(0)
    key, value = (rng.normal(size=(2, 3, 2, 4)) * 10.0 ** rng.integers(-3, 4, (2, 3, 2, 1)) for _ in range(2))
    key[0, 1, 0] = 0
    written = cache_of("int8", [1, 5]).write(jnp.asarray(key, "float32"), jnp.asarray(value, "float32"))
    assert written.key.dtype == written.value.dtype == jnp.int8
    for row, start in enumerate((1, 5)):
        for new, integers, scale in (
            (key, written.key, written.key_scale),
            (value, written.value, written.value_scale),
        ):
            read = np.asarray(integers, np.float64) * np.asarray(scale, np.float64)[..., None]
            step = np.abs(new[row]).max(-1, keepdims=True) / 127
            assert (np.abs(read[row, start : start + 3] - new[row]) <= 0.5001 * step).all()
            assert not read[row, :start].any()


def test_what_is_not_finite_is_not_hidden_by_rounding():
    new = jnp.ones((1, 1, 2, 4)).at[0, 0, 1, 2].set(jnp.nan)
    written = cache_of("int8", [0]).write(new, new)
    assert np.isnan(np.asarray(written.key_scale)[0, 0]).tolist() == [False, True]


def test_attention_reads_integers_as_the_numbers_that_they_stand_for():
    rng = np.random.default_rng(1)
    key, value, query = (jnp.asarray(rng.normal(size=(2, 3, heads, 4)), "float32") for heads in (2, 2, 4))
    cache = cache_of("int8", [0, 4]).write(key, value)
    as_floats = LayerCache(
        key=cache.key * cache.key_scale[..., None],
        value=cache.value * cache.value_scale[..., None],
        lengths=cache.lengths,
    )
    ours, theirs = (np.asarray(attend_cached(query, one)) for one in (cache, as_floats))
    assert np.abs(ours - theirs).max() <= tolerance("attention", "float32") * np.abs(theirs).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_takes_the_bytes_that_are_stated(dtype):
    config = CONFIGS["multi_query"]
    cache = KVCache.create(config, batch_size=3, capacity=16, dtype=dtype)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(cache)) - cache.lengths.nbytes
    assert held == 3 * 16 * bytes_per_token(config, dtype)
    assert len(cache.key_scales) == (config.num_layers if dtype == "int8" else 0)


def test_the_published_models_take_half_in_integers():
    of = [bytes_per_token(config, dtype) for config in (CODE_GEMMA_2B, CODE_GEMMA_7B) for dtype in ("bfloat16", "int8")]
    assert of == [18_432, 9_360, 458_752, 232_960]


def test_rows_are_taken_with_their_scales():
    cache = KVCache.create(CONFIGS["multi_query"], batch_size=2, capacity=4, dtype="int8")
    scales = tuple(scale.at[1].set(2.0) for scale in cache.key_scales)
    taken = replace(cache, key_scales=scales).take_rows(jnp.asarray([1, 1, 0]))
    assert [float(taken.key_scales[0][row, 0, 0]) for row in range(3)] == [2.0, 2.0, 0.0]


@pytest.fixture(scope="module")
def lm():
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")


def test_a_trained_model_generates_from_integers_nearly_the_same(lm):
    prompts = ["def quicksort(items):\n    if len(items) <= 1:\n", "import os\n\n\ndef read_text(path):\n", "x"]
    sampler = kcg.samplers.BeamSampler(num_beams=2)
    floats = lm.generate(prompts, max_new_tokens=16), lm.generate(prompts[0], max_new_tokens=8, sampler=sampler)
    place = "def add(a, b):\n    return ", "\n\n\nprint(add(1, 2))\n"
    details = lm.infill(*place, details=True)
    lm.cache_dtype = "int8"
    assert lm.cache_dtype == "int8"
    assert floats == (
        lm.generate(prompts, max_new_tokens=16),
        lm.generate(prompts[0], max_new_tokens=8, sampler=sampler),
    )
    again = lm.infill(*place, details=True)
    assert again.text == details.text
    lm.cache_dtype = None
    assert lm.infill(*place, details=True) == details


def test_the_next_token_over_integers_is_as_likely_as_over_floats(lm):
    tokenizer = lm.preprocessor.tokenizer
    ids = [tokenizer.start_token_id, *tokenizer.encode((ROOT / "keras_codegemma" / "cache.py").read_text())]
    found = []
    for dtype in ("float32", "int8"):
        generator = Generator(lm.backbone)
        generator.cache_dtype = dtype
        logits, rows = jax.jit(generator.logits), []
        for length in range(50, 500, 50):
            cache, hidden = generator.run_prefill([ids[:length]], capacity=capacity_for(512))
            assert cache.keys[0].dtype == dtype
            rows.append(jax.nn.log_softmax(logits(generator.weights(), hidden)[0]))
            generator.release(cache)
        found.append(np.stack(rows).astype(np.float64))
    floats, integers = found
    divergence = (np.exp(floats) * (floats - integers)).sum(-1)
    assert 0 < divergence.mean() <= tolerance("int8_cache", "float32")


def test_other_dtypes_are_refused(lm):
    with pytest.raises(ValueError, match=r"None or one of \('float32', 'bfloat16', 'int8'\); got 'int4'\. Use 'int8'"):
        lm.cache_dtype = "int4"
    assert lm.cache_dtype is None
