"""The task on the shipped preset: generate, infill, chat, score, streaming, and every refusal."""

import re
from pathlib import Path

import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma import samplers
from tests.small_models import CONFIGS, random_backbone
from tests.tolerances import tolerance

PREFIX = "import os\n\n\ndef read_text(path):\n    with open(path) as f:\n"
SUFFIX = "\n\ndef write_text(path, text):\n    with open(path, 'w') as f:\n        f.write(text)\n"


@pytest.fixture(scope="module")
def lm():
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")


def test_generate_takes_and_gives_a_string_or_a_list(lm):
    one = lm.generate("def add(a, b):", max_length=24)
    assert isinstance(one, str)
    assert one.startswith("def add(a, b):")
    assert len(one) > len("def add(a, b):")
    assert lm.generate(["def add(a, b):", "import"], max_length=24)[0] == one
    assert lm.generate([], max_length=24) == []


def test_strip_prompt_leaves_the_continuation(lm):
    whole = lm.generate("def add(a, b):", max_new_tokens=9)
    assert lm.generate("def add(a, b):", max_new_tokens=9, strip_prompt=True) == whole[len("def add(a, b):") :]


def test_max_length_counts_the_prompt(lm):
    tokens = len(lm.preprocessor.encode_prompt("def add(a, b):"))
    by_length = lm.generate("def add(a, b):", max_length=tokens + 7, stop_token_ids=None)
    assert by_length == lm.generate("def add(a, b):", max_new_tokens=7, stop_token_ids=None)


def test_ids_in_give_ids_out_that_spell_the_same_text(lm):
    ids = lm.preprocessor.encode_prompt("def add(a, b):")
    token_ids = np.zeros((1, 32), "int32")
    token_ids[0, : len(ids)] = ids
    result = lm.generate({"token_ids": token_ids, "padding_mask": token_ids > 0}, stop_token_ids=None)
    assert result["token_ids"].shape == (1, 32)
    assert result["padding_mask"].all()
    text = lm.preprocessor.tokenizer.decode(result["token_ids"][0].tolist())
    assert text == lm.generate("def add(a, b):", max_length=32, stop_token_ids=None)


def test_a_model_without_preprocessor_generates_from_ids():
    lm = kcg.CodeGemmaCausalLM(random_backbone(CONFIGS["multi_query"]))
    inputs = {"token_ids": np.full((3, 12), 7), "padding_mask": np.arange(12) < np.array([[2], [5], [11]])}
    result = lm.generate(inputs, stop_token_ids=None)
    assert result["padding_mask"].all()
    with pytest.raises(ValueError, match="A preprocessor is needed to generate from text; this model has none"):
        lm.generate("text", stop_token_ids=None)


@pytest.mark.parametrize("layout", ["psm", "spm"])
def test_infill_fills_in_real_code_in_both_layouts(lm, layout):
    text = lm.infill(PREFIX, SUFFIX, layout=layout, max_new_tokens=48)
    assert text.strip()
    assert "f" in text
    assert not any(piece in text for piece in ("<|fim", "<|file_separator|>", "<eos>"))


def test_infill_of_lists_equals_infill_of_each(lm):
    prefixes, suffixes = [PREFIX, "x = ", "def f(a):\n    return "], [SUFFIX, "\n", "\n"]
    together = lm.infill(prefixes, suffixes, max_new_tokens=12)
    assert together == [lm.infill(p, s, max_new_tokens=12) for p, s in zip(prefixes, suffixes, strict=True)]


def test_several_samples_are_completions_that_a_seed_reproduces(lm):
    first = lm.infill("x = ", "\n", num_samples=4, max_new_tokens=10, seed=5)
    assert len({completion.text for completion in first}) > 1
    assert first == lm.infill("x = ", "\n", num_samples=4, max_new_tokens=10, seed=5)
    for completion in first:
        assert completion.logprob < 0
        assert completion.finish_reason in ("stop", "length")
        assert lm.preprocessor.tokenizer.decode(completion.token_ids) == completion.text


def test_a_completions_logprob_is_the_score_of_its_ids(lm):
    completion = lm.infill(PREFIX, SUFFIX, max_new_tokens=16, details=True)
    prompt = lm.preprocessor.encode_infill(PREFIX, SUFFIX, max_prompt_tokens=900).token_ids
    scores = lm._scorer.log_probs([prompt + completion.token_ids])[0]
    assert completion.logprob == pytest.approx(
        float(scores[len(prompt) - 1 :].sum()), abs=tolerance("summed_logprobs", "float32")
    )


@pytest.mark.parametrize("sampler", [None, "top_k", samplers.TopPSampler(p=0.9)])
@pytest.mark.parametrize("stop_at", [None, "line", "block", ["f."]])
def test_a_stream_joined_is_the_whole_text(lm, sampler, stop_at):
    call = {"max_new_tokens": 32, "sampler": sampler, "seed": 1, "stop_at": stop_at}
    assert "".join(lm.infill(PREFIX, SUFFIX, stream=True, **call)) == lm.infill(PREFIX, SUFFIX, **call)
    pieces = list(lm.generate("def f(", stream=True, **call))
    assert "".join(pieces) == lm.generate("def f(", strip_prompt=True, **call)


def test_a_stream_comes_in_pieces(lm):
    assert len(list(lm.generate("def f(", stream=True, max_new_tokens=64, stop_token_ids=None))) > 2


def test_a_stopped_line_has_its_line_break_only_where_it_stands_for_whole_lines(lm):
    whole = lm.infill(PREFIX, "        return x\n", stop_at="line", max_new_tokens=64, details=True)
    assert (whole.text.endswith("\n"), whole.finish_reason) == (True, "stop")
    assert not lm.infill(PREFIX, SUFFIX, stop_at="line", max_new_tokens=64).endswith("\n")


def test_beam_search_finds_at_least_greedys_probability(lm):
    greedy = lm.infill(PREFIX, SUFFIX, max_new_tokens=12, details=True)
    beam = lm.infill(PREFIX, SUFFIX, max_new_tokens=12, sampler=samplers.BeamSampler(num_beams=4), details=True)
    assert beam.text
    if len(beam.token_ids) == len(greedy.token_ids) == 12:
        assert beam.logprob >= greedy.logprob - tolerance("summed_logprobs", "float32")


def test_sentinels_in_user_text_are_text(lm):
    ids = lm.preprocessor.encode_infill("<|fim_middle|>", "<|file_separator|>", max_prompt_tokens=99).token_ids
    tokenizer = lm.preprocessor.tokenizer
    controls = [i for i in ids if i in (*tokenizer.infill_stop_ids, tokenizer.start_token_id)]
    assert sorted(controls) == sorted([2, 67, 68, 69])
    assert isinstance(lm.infill("<|fim_middle|>", "<|file_separator|>", max_new_tokens=4), str)


def test_what_does_not_fit_is_trimmed_at_the_far_ends_and_said(lm):
    completion = lm.infill(
        "# far\n" * 3000 + PREFIX,
        SUFFIX + "# far\n" * 3000,
        context_files=[("other.py", "y = 1\n" * 500)],
        max_new_tokens=8,
        details=True,
    )
    assert completion.trimmed.prefix > 0
    assert completion.trimmed.suffix > 0
    assert completion.trimmed.context > 0


def test_context_and_path_reach_the_model(lm):
    plain = lm.infill(PREFIX, SUFFIX, max_new_tokens=24, details=True)
    other = lm.infill(
        PREFIX,
        SUFFIX,
        path="a/b.py",
        context_files=[("c.py", "def close(f):\n    f.close()\n")],
        max_new_tokens=24,
        details=True,
    )
    assert plain.logprob != other.logprob


def test_chat_answers_a_conversation(lm):
    messages = [{"role": "user", "content": "def f():"}]
    answer = lm.chat(messages, max_new_tokens=8)
    assert isinstance(answer, str)
    assert "".join(lm.chat(messages, max_new_tokens=8, stream=True)) == answer


def test_compile_sets_the_default_sampler_and_none_the_seed_from_keras(lm):
    import keras

    lm.compile(sampler="top_k")
    try:
        keras.utils.set_random_seed(3)
        first = lm.generate("x", max_new_tokens=20)
        keras.utils.set_random_seed(3)
        assert lm.generate("x", max_new_tokens=20) == first
        assert lm.generate("x", max_new_tokens=20, sampler="greedy") != first
    finally:
        lm.compile()


def test_more_prompts_than_a_batch_keep_their_order(lm):
    prompts = [f"x{i} = " for i in range(35)]
    results = lm.generate(prompts, max_new_tokens=3)
    assert [result.startswith(prompt) for prompt, result in zip(prompts, results, strict=True)] == [True] * 35


def test_score_equals_the_log_softmax_of_the_logits(lm):
    import jax

    texts = ["def add(a, b):\n    return a + b\n", "import os"]
    scores = lm.score(texts)
    for text, got in zip(texts, scores, strict=True):
        ids, first = lm.preprocessor.encode_for_scoring(text)
        logits = lm({"token_ids": np.asarray([ids], "int32")})
        expected = np.asarray(jax.nn.log_softmax(logits[0]))[np.arange(len(ids) - 1), ids[1:]]
        assert first == 1
        np.testing.assert_allclose(got, expected, atol=tolerance("rescored", "float32"))
    np.testing.assert_allclose(lm.score(texts[1]), scores[1], atol=tolerance("logprob", "float32"))


def test_a_triples_score_is_that_of_its_middle(lm):
    middle = "        return f.read()\n"
    score = lm.score((PREFIX, SUFFIX, middle))
    assert len(score) == len(lm.preprocessor.tokenizer.encode(middle)) + 1
    assert score.sum() > lm.score((PREFIX, SUFFIX, "@@@ zq ###")).sum()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda lm: lm.generate("a b c d e f", max_length=3),
            ValueError,
            "A prompt must be shorter than max_length",
        ),
        (
            lambda lm: lm.generate("a", max_length=2000),
            ValueError,
            "must fit the context of 1024 tokens; prompt 0",
        ),
        (
            lambda lm: lm.generate("x = 1\n" * 2000),
            ValueError,
            "A prompt must be shorter than max_length; prompt 0 has",
        ),
        (
            lambda lm: lm.generate("a", max_length=9, max_new_tokens=3),
            ValueError,
            "Give max_length or max_new_tokens",
        ),
        (
            lambda lm: lm.generate("a", max_new_tokens=0),
            ValueError,
            "max_new_tokens must be a positive integer; got 0.",
        ),
        (
            lambda lm: lm.generate("a", stop_token_ids="all"),
            ValueError,
            'stop_token_ids must be "auto", None or ids',
        ),
        (
            lambda lm: lm.generate(["a", "b"], stream=True),
            ValueError,
            "Streaming takes one prompt, not in a list",
        ),
        (
            lambda lm: lm.generate("a", sampler="beam", stream=True),
            ValueError,
            "Streaming needs a sampler that settles",
        ),
        (
            lambda lm: lm.generate({"token_ids": np.ones((1, 3)), "padding_mask": [[0, 1, 1]]}),
            ValueError,
            "The real tokens of each row must come first; padding_mask has a gap",
        ),
        (
            lambda lm: lm.generate({"token_ids": np.full((1, 3), 9000), "padding_mask": [[1, 1, 0]]}),
            ValueError,
            "Prompt ids must lie in [0, 8192); prompt 0 holds 9000.",
        ),
        (
            lambda lm: lm.infill("a", ["b"]),
            ValueError,
            "got one text and a list of 1. Pass one suffix per prefix.",
        ),
        (
            lambda lm: lm.infill("a", "b", num_samples=0),
            ValueError,
            "num_samples must be a positive integer; got 0.",
        ),
        (
            lambda lm: lm.infill("a", "b", num_samples=2, sampler="greedy"),
            ValueError,
            "GreedySampler would give 2 times the same. Pass sampler='top_p'",
        ),
        (
            lambda lm: lm.infill("a", "b", max_new_tokens=1024),
            ValueError,
            "must leave room for a prompt in the context",
        ),
        (lambda lm: lm.infill("a", "b", layout="xyz"), ValueError, "xyz"),
        (
            lambda lm: lm.infill("a", "b", stop_at="word"),
            ValueError,
            "stop_at must be None, 'line', 'block' or a list",
        ),
        (
            lambda lm: lm.score("x = 1\n" * 2000),
            ValueError,
            "may have at most 1024 tokens, the model's context; text 0",
        ),
        (
            lambda lm: lm.chat([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
            ValueError,
            "user",
        ),
    ],
)
def test_bad_input_is_refused_with_a_way_out(lm, call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call(lm)


def test_a_keras_file_holds_model_vocabulary_and_options(lm, tmp_path):
    import keras

    changed = kcg.CodeGemmaCausalLM(lm.backbone, lm.preprocessor.replace(sequence_length=77))
    changed.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, kcg.CodeGemmaCausalLM)
    assert again.preprocessor.sequence_length == 77
    assert again.infill(PREFIX, SUFFIX, max_new_tokens=9) == lm.infill(PREFIX, SUFFIX, max_new_tokens=9)


def test_no_inference_path_imports_tensorflow_torch_or_kerashub():
    import subprocess
    import sys

    program = (
        "import sys, keras_codegemma as kcg\n"
        "lm = kcg.CodeGemmaCausalLM.from_preset('code_gemma_tiny')\n"
        "lm.generate('x', max_new_tokens=2); lm.infill('x', 'y', max_new_tokens=2); lm.score('x = 1')\n"
        "lm.chat([{'role': 'user', 'content': 'x'}], max_new_tokens=2)\n"
        "print(sorted({'tensorflow', 'torch', 'keras_hub', 'transformers'} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert result.stdout.strip() == "[]"
