"""The preprocessor: prompts that fit and say what was cut, training examples, batches, and refusals."""

import json
import math
import pickle
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from keras_codegemma import chat, fim
from keras_codegemma.fim import CONTROL_PIECES
from keras_codegemma.preprocessor import CodeGemmaCausalLMPreprocessor, Trimmed
from keras_codegemma.prompt_budget import MINIMUM_TOKENS_AT_CURSOR
from keras_codegemma.tokenizer import CodeGemmaTokenizer

ROOT = Path(__file__).parents[1]
TINY_MODEL = ROOT / "presets/code_gemma_tiny/assets/tokenizer/vocabulary.spm"
TOKENIZER = CodeGemmaTokenizer(TINY_MODEL)
PREPROCESSOR = CodeGemmaCausalLMPreprocessor(TOKENIZER)

PAD, EOS, BOS = 0, 1, 2
FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, SEPARATOR = 67, 68, 69, 70

CODE = "def add(a, b):\n    return a + b\n\n\n"
CHAT = [
    {"role": "user", "content": "Write x."},
    {"role": "assistant", "content": "x = 1"},
    {"role": "user", "content": "Now y."},
    {"role": "assistant", "content": "y = 2"},
]

line = st.sampled_from(
    [
        "    return x\n",
        "\n",
        "# 漢字かな\n",
        "x = '😀😀😀'\r\n",
        "a" * 90,
        "def f(x):\n",
        " " * 50,
        "\t\t",
        "é",
    ]
)
any_text = st.lists(line | st.sampled_from(CONTROL_PIECES) | st.text(max_size=6), max_size=30).map("".join)
any_path = st.sampled_from(["a.py", "src/pkg/module.py", "ünï cödé.py"])


def encode(text: str) -> list[int]:
    return TOKENIZER.encode(text)


def make(**options) -> CodeGemmaCausalLMPreprocessor:
    return CodeGemmaCausalLMPreprocessor(TOKENIZER, **options)


def infill_ids(prefix: str, suffix: str, **options) -> list[int]:
    return [BOS, *TOKENIZER.encode_parts(fim.format(prefix, suffix, **options))]


# Prompts.


def test_prompt_begins_with_one_bos():
    assert PREPROCESSOR.encode_prompt("x = 1") == [BOS, *encode("x = 1")]
    assert PREPROCESSOR.encode_prompt("") == [BOS]
    assert make(add_start_token=False).encode_prompt("x")[0] == BOS


def test_raw_prompt_that_spells_bos_gets_only_one():
    ids = [BOS, FIM_PREFIX, *encode("x"), FIM_SUFFIX, FIM_MIDDLE]
    raw = "<|fim_prefix|>x<|fim_suffix|><|fim_middle|>"
    assert PREPROCESSOR.encode_prompt("<bos>" + raw, parse_special=True) == ids
    assert PREPROCESSOR.encode_prompt(raw, parse_special=True) == ids


def test_spelled_bos_stays_text_in_a_plain_prompt():
    assert PREPROCESSOR.encode_prompt("<bos>x") == [BOS, *encode("<bos>x")]


def test_chat_prompt_is_the_template_after_bos():
    messages = CHAT[:3]
    assert PREPROCESSOR.encode_chat(messages) == [BOS, *TOKENIZER.encode_parts(chat.format(messages))]


@pytest.mark.parametrize("layout", fim.LAYOUTS)
def test_infill_that_fits_is_written_whole(layout):
    options = {"path": "a.py", "context_files": [("b.py", "import os\n"), ("c.py", "")], "layout": layout}
    prompt = PREPROCESSOR.encode_infill("x = ", "\ny", max_prompt_tokens=1000, **options)
    assert prompt.token_ids == infill_ids("x = ", "\ny", **options)
    assert prompt.trimmed == Trimmed(prefix=0, suffix=0, context=0)
    assert prompt.layout == layout


def test_infill_layout_is_the_preprocessors_unless_given():
    assert PREPROCESSOR.encode_infill("a", "b", max_prompt_tokens=50).layout == "psm"
    assert make(fim_layout="spm").encode_infill("a", "b", max_prompt_tokens=50).layout == "spm"
    assert make(fim_layout="spm").encode_infill("a", "b", max_prompt_tokens=50, layout="psm").layout == "psm"


def test_budget_of_exactly_the_prompts_tokens_trims_nothing():
    ids = infill_ids(CODE, CODE, path="a.py", context_files=[("b.py", CODE)])
    prompt = PREPROCESSOR.encode_infill(
        CODE, CODE, path="a.py", context_files=[("b.py", CODE)], max_prompt_tokens=len(ids)
    )
    assert prompt.token_ids == ids


@given(
    prefix=any_text,
    suffix=any_text,
    path=st.none() | any_path,
    files=st.lists(st.tuples(any_path, any_text), max_size=3),
    budget=st.integers(1, 300),
    layout=st.sampled_from(fim.LAYOUTS),
)
@example(prefix="a" * 90, suffix="", path=None, files=[], budget=20, layout="psm")
@example(prefix="😀" * 90, suffix="漢" * 90, path=None, files=[], budget=21, layout="spm")
@example(prefix="<|fim_prefix|>" * 9, suffix="<|fim_prefix|>" * 9, path=None, files=[], budget=25, layout="psm")
def test_trimmed_prompt_keeps_exact_ends_of_the_texts_within_the_budget(prefix, suffix, path, files, budget, layout):
    try:
        prompt = PREPROCESSOR.encode_infill(
            prefix, suffix, path=path, context_files=files, layout=layout, max_prompt_tokens=budget
        )
    except ValueError:
        # Refused only where not even the text next to the cursor fits.
        num_fixed = len(infill_ids("", "", path=path))
        assert budget < num_fixed + min(MINIMUM_TOKENS_AT_CURSOR, len(encode(prefix)) + len(encode(suffix)))
        return
    trimmed = prompt.trimmed
    kept_prefix = prefix[trimmed.prefix :]
    kept_suffix = suffix[: len(suffix) - trimmed.suffix]
    ending = infill_ids(kept_prefix, kept_suffix, path=path, layout=layout)[1:]
    assert len(prompt.token_ids) <= budget
    assert prompt.token_ids[0] == BOS
    assert prompt.token_ids[len(prompt.token_ids) - len(ending) :] == ending

    # Context is lost first: what is left of it are the ends of the last files, whole but for the first one.
    context_ids = prompt.token_ids[1 : len(prompt.token_ids) - len(ending)]
    kept_files = kept_context(context_ids, files, num_trimmed=trimmed.context)
    assert context_ids == TOKENIZER.encode_parts(
        fim.format("", "", context_files=kept_files)[:-3][: 2 * len(kept_files)]
    )
    if trimmed.prefix or trimmed.suffix:
        assert not kept_files
        assert trimmed.context == sum(len(text) for _, text in files)

    # A side is cut only where it has more than its share, and never down to nothing.
    room = budget - len(infill_ids("", "", path=path))
    assert not trimmed.prefix or len(encode(prefix)) > room - room // 4
    assert not trimmed.suffix or len(encode(suffix)) > room // 4
    assert bool(kept_prefix) == bool(prefix)
    assert bool(kept_suffix) == bool(suffix)


def kept_context(context_ids: list[int], files: list[tuple[str, str]], *, num_trimmed: int) -> list[tuple[str, str]]:
    num_kept = context_ids.count(SEPARATOR)
    kept = files[len(files) - num_kept :]
    num_left = num_trimmed - sum(len(text) for _, text in files[: len(files) - num_kept])
    return [(path, text[num_left:] if i == 0 else text) for i, (path, text) in enumerate(kept)]


def test_context_goes_before_prefix_and_suffix_far_files_first_then_far_lines():
    near = "".join(f"near_{i} = {i}\n" for i in range(20))
    files = [("far.py", "far = 1\n"), ("near.py", near)]
    whole = infill_ids("x = ", "\n", path="x.py", context_files=files)

    prompt = PREPROCESSOR.encode_infill(
        "x = ", "\n", path="x.py", context_files=files, max_prompt_tokens=len(whole) - 1
    )
    assert prompt.token_ids == infill_ids("x = ", "\n", path="x.py", context_files=files[1:])
    assert prompt.trimmed == Trimmed(prefix=0, suffix=0, context=len("far = 1\n"))

    prompt = PREPROCESSOR.encode_infill(
        "x = ", "\n", path="x.py", context_files=files, max_prompt_tokens=len(whole) - 60
    )
    text = TOKENIZER.decode(prompt.token_ids, keep_special=True)
    kept = text.removeprefix("<bos>near.py\n").partition("<|file_separator|>")[0]
    assert near.endswith(kept)
    assert kept.startswith("near_")
    assert prompt.trimmed == Trimmed(prefix=0, suffix=0, context=len("far = 1\n") + len(near) - len(kept))
    assert prompt.token_ids[-5:] == whole[-5:]


def test_prefix_and_suffix_share_the_room_three_to_one():
    prompt = PREPROCESSOR.encode_infill(CODE * 200, CODE * 200, max_prompt_tokens=404)
    num_prefix = prompt.token_ids.index(FIM_SUFFIX) - 2
    num_suffix = prompt.token_ids.index(FIM_MIDDLE) - prompt.token_ids.index(FIM_SUFFIX) - 1
    assert 280 < num_prefix <= 300
    assert 80 < num_suffix <= 120


def test_room_that_one_side_does_not_need_goes_to_the_other():
    prompt = PREPROCESSOR.encode_infill("x\n", CODE * 200, max_prompt_tokens=404)
    assert prompt.trimmed.prefix == 0
    assert len(prompt.token_ids) > 380
    prompt = PREPROCESSOR.encode_infill(CODE * 200, "\ny", max_prompt_tokens=404)
    assert prompt.trimmed.suffix == 0
    assert len(prompt.token_ids) > 380


def test_cuts_fall_on_line_starts_in_code():
    text = "".join(f"value_{i} = compute({i})\n" for i in range(500))
    prompt = PREPROCESSOR.encode_infill(text, text, max_prompt_tokens=300)
    assert text[prompt.trimmed.prefix - 1] == "\n"
    assert text[: len(text) - prompt.trimmed.suffix].endswith("\n")


def test_long_line_at_the_cursor_is_cut_between_characters():
    prompt = PREPROCESSOR.encode_infill("first\n" + "漢字" * 500, "字漢" * 500 + "\n", max_prompt_tokens=100)
    assert 0 < prompt.trimmed.prefix < 1006
    assert 0 < prompt.trimmed.suffix < 1001
    assert len(prompt.token_ids) > 90
    assert "\ufffd" not in TOKENIZER.decode(prompt.token_ids)


def test_empty_line_at_the_cursor_does_not_cost_the_lines_before_it():
    prompt = PREPROCESSOR.encode_infill("a" * 400 + "\n", "", max_prompt_tokens=60)
    assert prompt.trimmed.prefix < 401 - 50


def test_huge_file_costs_what_is_kept_of_it():
    text = CODE * (5_000_000 // len(CODE))
    start = time.perf_counter()
    encode(text)
    whole_seconds = time.perf_counter() - start

    start = time.perf_counter()
    prompt = PREPROCESSOR.encode_infill(text, text, context_files=[("a.py", text)], max_prompt_tokens=8192)
    seconds = time.perf_counter() - start
    assert seconds < whole_seconds / 4
    assert 8000 < len(prompt.token_ids) <= 8192


def test_budget_that_cannot_hold_the_text_at_the_cursor_is_refused():
    message = (
        r"must hold the 8 tokens of <bos>, sentinels and path, and at least 16 around the cursor; got "
        r"max_prompt_tokens=23\. Give at least 24:"
    )
    assert len(infill_ids("", "", path="a.py")) == 8
    with pytest.raises(ValueError, match=message):
        PREPROCESSOR.encode_infill(CODE, CODE, path="a.py", max_prompt_tokens=23)
    assert len(PREPROCESSOR.encode_infill(CODE, CODE, path="a.py", max_prompt_tokens=24).token_ids) <= 24


def test_short_texts_need_only_their_own_room():
    ids = infill_ids("x", "y")
    assert PREPROCESSOR.encode_infill("x", "y", max_prompt_tokens=len(ids)).token_ids == ids
    with pytest.raises(ValueError, match="at least 2 around the cursor"):
        PREPROCESSOR.encode_infill("x", "y", max_prompt_tokens=len(ids) - 1)


@pytest.mark.parametrize("budget", [0, -5])
def test_budget_below_one_is_refused(budget):
    with pytest.raises(ValueError, match=rf"max_prompt_tokens must be at least 1; got {budget}\. Give a number"):
        PREPROCESSOR.encode_infill("a", "b", max_prompt_tokens=budget)


def test_infill_refuses_what_fim_refuses():
    with pytest.raises(TypeError, match=r"The prefix must be plain text \(str\); got bytes"):
        PREPROCESSOR.encode_infill(b"a", "b", max_prompt_tokens=50)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="A FIM layout must be"):
        PREPROCESSOR.encode_infill("a", "b", layout="smp", max_prompt_tokens=50)
    with pytest.raises(ValueError, match="A path must be one line"):
        PREPROCESSOR.encode_infill("a", "b", path="a\nb", max_prompt_tokens=50)


# Training examples.


def test_text_is_learned_whole_and_ends_with_eos():
    ids, weights = PREPROCESSOR.encode_example(CODE, rng=Random(0))
    assert ids == [BOS, *encode(CODE), EOS]
    assert weights == [0.0] + [1.0] * (len(ids) - 1)


def test_start_and_end_tokens_can_be_left_out():
    preprocessor = make(add_start_token=False, add_end_token=False)
    ids, weights = preprocessor.encode_example(CODE, rng=Random(0))
    assert ids == encode(CODE)
    assert weights == [0.0] + [1.0] * (len(ids) - 1)
    ids, _ = preprocessor.encode_example(("a", "b", "c"), rng=Random(0))
    assert ids[0] in (FIM_PREFIX, FIM_SUFFIX)
    assert ids[-1] == encode("c")[-1]


def test_empty_text_without_start_and_end_is_empty():
    assert make(add_start_token=False, add_end_token=False).encode_example("", rng=Random(0)) == ([], [])


@pytest.mark.parametrize(("spm_rate", "layout"), [(0.0, "psm"), (1.0, "spm")])
def test_only_the_middle_of_a_triple_and_its_end_are_learned(spm_rate, layout):
    ids, weights = make(spm_rate=spm_rate).encode_example(("x = ", "\n", "1 + 2"), rng=Random(0))
    middle = [*encode("1 + 2"), SEPARATOR]
    prompt = infill_ids("x = ", "\n", layout=layout)
    assert ids == prompt + middle
    assert weights == [0.0] * len(prompt) + [1.0] * len(middle)


def test_all_of_a_triple_is_learned_when_asked_for():
    ids, weights = make(loss_on="all").encode_example(("x = ", "\n", "1"), rng=Random(0))
    assert weights == [0.0] + [1.0] * (len(ids) - 1)


def test_only_answers_of_a_chat_and_their_ends_are_learned():
    ids, weights = PREPROCESSOR.encode_example(CHAT, rng=Random(0))
    assert ids == [BOS, *TOKENIZER.encode_parts([part for part, _ in chat.format_training(CHAT)])]
    learned = TOKENIZER.decode([i for i, w in zip(ids, weights, strict=True) if w], keep_special=True)
    assert learned == "x = 1<end_of_turn>y = 2<end_of_turn>"


def test_text_that_spells_sentinels_is_trained_on_as_text():
    text = "stop = '<|fim_middle|>'<eos>"
    for x in (text, (text, text, text)):
        ids, _ = PREPROCESSOR.encode_example(x, rng=Random(0))
        assert text in TOKENIZER.decode(ids)


@given(any_text, st.integers(), st.sampled_from([0.0, 1.0]))
def test_infilled_text_holds_every_character_of_it(text, seed, spm_rate):
    assume("\u2581" not in text)
    ids, weights = make(fim_rate=1.0, spm_rate=spm_rate).encode_example(text, rng=Random(seed))
    assert ids[-1] == SEPARATOR
    assert weights == [0.0] + [1.0] * (len(ids) - 1)
    first, second, third = sorted(ids.index(i) for i in (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE))
    pieces = [TOKENIZER.decode(span) for span in (ids[first:second], ids[second:third], ids[third:])]
    suffix_first = ids[first] == FIM_SUFFIX
    assert suffix_first == (spm_rate == 1.0)
    prefix, suffix = reversed(pieces[:2]) if suffix_first else pieces[:2]
    assert prefix + pieces[2] + suffix == text


def test_fim_rate_and_spm_rate_are_kept_to():
    preprocessor = make(fim_rate=0.5, spm_rate=0.25, sequence_length=64)
    features, _, _ = preprocessor([CODE] * 2000)
    firsts = features["token_ids"][:, 1]
    is_infill = np.isin(firsts, [FIM_PREFIX, FIM_SUFFIX])
    assert 0.46 < is_infill.mean() < 0.54
    assert 0.21 < (firsts[is_infill] == FIM_SUFFIX).mean() < 0.29


def test_chance_follows_from_seed_epoch_and_position_alone():
    preprocessor = make(fim_rate=0.5, sequence_length=64, seed=3)
    texts = [f"value_{i} = {i}\n" for i in range(40)]
    whole, _, _ = preprocessor(texts)
    tail, _, _ = make(fim_rate=0.5, sequence_length=64, seed=3)(texts[30:], first_index=30)
    assert np.array_equal(whole["token_ids"][30:], tail["token_ids"])
    order = [7, 3, 39]
    chosen, _, _ = preprocessor([texts[i] for i in order], indices=order)
    assert np.array_equal(whole["token_ids"][order], chosen["token_ids"])

    assert not np.array_equal(whole["token_ids"], preprocessor(texts, epoch=1)[0]["token_ids"])
    assert not np.array_equal(whole["token_ids"], preprocessor.replace(seed=4)(texts)[0]["token_ids"])


def test_chance_is_the_same_on_every_machine():
    # The places that Python 3.11 draws; a change here would change running experiments.
    features, _, _ = make(fim_rate=1.0, sequence_length=24, seed=1)(["abcdef"] * 2, epoch=2)
    texts = [TOKENIZER.decode(row[row != PAD], keep_special=True) for row in features["token_ids"]]
    assert texts == [
        "<bos><|fim_suffix|><|fim_prefix|>a<|fim_middle|>bcdef<|file_separator|>",
        "<bos><|fim_suffix|>ef<|fim_prefix|>ab<|fim_middle|>cd<|file_separator|>",
    ]


def test_scoring_leaves_nothing_to_chance():
    preprocessor = make(fim_rate=1.0, spm_rate=1.0)
    assert preprocessor.encode_for_scoring(CODE) == ([BOS, *encode(CODE), EOS], 1)
    prompt = infill_ids("x = ", "\n")
    assert preprocessor.encode_for_scoring(("x = ", "\n", "1")) == (
        [*prompt, *encode("1"), SEPARATOR],
        len(prompt),
    )


def test_chat_cannot_be_scored():
    with pytest.raises(TypeError, match=r"What is scored must be a text or a .* triple; got a chat: .* Score the"):
        PREPROCESSOR.encode_for_scoring(CHAT)


# Batches.


def test_batch_has_next_ids_as_labels_and_no_weight_on_padding():
    preprocessor = make(sequence_length=8)
    features, labels, weights = preprocessor(["a b", "c"])
    ids = [BOS, *encode("a b"), EOS]
    assert features["token_ids"].tolist()[0] == ids + [PAD] * (8 - len(ids))
    assert features["padding_mask"].tolist()[0] == [True] * len(ids) + [False] * (8 - len(ids))
    assert labels.tolist()[0] == ids[1:] + [PAD] * (9 - len(ids))
    assert weights.tolist()[0] == [1.0] * (len(ids) - 1) + [0.0] * (9 - len(ids))
    assert features["token_ids"].dtype == labels.dtype == np.int32
    assert features["padding_mask"].dtype == np.bool_
    assert weights.dtype == np.float32
    assert features["token_ids"].shape == labels.shape == weights.shape == (2, 8)


def test_weights_stand_at_the_labels_they_weigh():
    _, labels, weights = make(sequence_length=32)([("x = ", "\n", "1 + 2"), CHAT[:2]])
    learned = [labels[row][weights[row] > 0].tolist() for row in (0, 1)]
    assert learned[0] == [*encode("1 + 2"), SEPARATOR]
    assert learned[1] == [*encode("x = 1"), TOKENIZER.end_of_turn_id]


def test_sample_weight_multiplies_the_weights_of_an_example():
    _, _, plain = make(sequence_length=16)(["a b", "c d"])
    _, _, weighted = make(sequence_length=16)(["a b", "c d"], sample_weight=[0.5, 2])
    assert np.array_equal(weighted, plain * np.array([[0.5], [2.0]], np.float32))


def test_example_may_have_one_token_more_than_the_length():
    features, labels, _ = make(sequence_length=4)("a b c")
    assert len(encode("a b c")) + 2 == 5
    assert (features["token_ids"][0].tolist(), labels[0].tolist()) == (
        [BOS, *encode("a b c")],
        [*encode("a b c"), EOS],
    )


def test_sequence_length_of_a_call_wins():
    assert PREPROCESSOR("a", sequence_length=5)[1].shape == (1, 5)


@pytest.mark.parametrize(
    ("x", "same_as"),
    [
        ("a", ["a"]),
        (b"\xc3\xa9", ["é"]),
        (("a", "b"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([b"a", b"b"], dtype=object), ["a", "b"]),
        (np.array("a"), ["a"]),
        (("p", "s", "m"), [("p", "s", "m")]),
        (["p", "s", "m"], ["p", "s", "m"]),
        ([["p", "s", "m"]], [("p", "s", "m")]),
        (np.array([["p", "s", "m"]] * 2), [("p", "s", "m")] * 2),
        ({"prefix": "p", "suffix": "s", "middle": "m"}, [("p", "s", "m")]),
        ([{"suffix": "s", "prefix": "p", "middle": "m"}], [("p", "s", "m")]),
        ({"prefix": ["p"] * 2, "suffix": np.array(["s"] * 2), "middle": [b"m"] * 2}, [("p", "s", "m")] * 2),
        (CHAT, [CHAT]),
        (tuple(CHAT), [CHAT]),
        ([CHAT, "a", ("p", "s", "m")], [CHAT, "a", ("p", "s", "m")]),
    ],
)
def test_examples_come_in_many_containers(x, same_as):
    rows = make(sequence_length=64)(x)
    expected = make(sequence_length=64)(same_as)
    assert np.array_equal(rows[0]["token_ids"], expected[0]["token_ids"])
    assert np.array_equal(rows[2], expected[2])


@pytest.mark.tensorflow
def test_tensors_of_strings_are_examples():
    import tensorflow as tf

    rows, _, _ = make(sequence_length=16)(tf.constant(["a", "é"]))
    assert np.array_equal(rows["token_ids"], make(sequence_length=16)(["a", "é"])[0]["token_ids"])


@pytest.mark.tensorflow
def test_batches_of_text_are_those_of_kerashub():
    import keras_hub

    theirs = keras_hub.models.GemmaCausalLMPreprocessor(
        keras_hub.models.GemmaTokenizer(proto=TINY_MODEL.read_bytes()), sequence_length=24
    )
    texts = [CODE, "x = 1", "", "é\n"]
    for ours, expected in zip(make(sequence_length=24)(texts), theirs(texts), strict=True):
        pairs = [(ours[k], expected[k]) for k in expected] if isinstance(ours, dict) else [(ours, expected)]
        for mine, other in pairs:
            assert np.array_equal(mine, np.asarray(other))
    mine, other = make(sequence_length=24).generate_preprocess(CODE), theirs.generate_preprocess(CODE)
    assert all(np.array_equal(mine[key], np.asarray(other[key])) for key in other)


# Examples that are too long.


def test_too_long_example_is_refused_with_its_position_and_the_ways_out():
    num_tokens = len(encode(CODE * 20)) + 2
    message = (
        rf"may have at most sequence_length \+ 1 = 17 tokens; got {num_tokens} in example 11\. Split it, "
        rf'give sequence_length={num_tokens - 1}, or cut examples with truncate="right"'
    )
    preprocessor = make(sequence_length=16)
    with pytest.raises(ValueError, match=message):
        preprocessor(["a", CODE * 20], first_index=10)
    assert make(sequence_length=num_tokens - 1)(CODE * 20)[0]["padding_mask"].all()


def test_truncation_cuts_a_text_at_its_end():
    features, labels, _ = make(sequence_length=16, truncate="right")(CODE * 20)
    assert features["padding_mask"].all()
    assert (CODE * 20).startswith(TOKENIZER.decode(features["token_ids"][0]))
    assert labels[0, -1] == EOS


@given(any_text, st.integers(0, 100), st.integers(10, 60))
def test_truncation_leaves_infilled_texts_whole_in_their_sentinels(text, seed, length):
    preprocessor = make(fim_rate=1.0, truncate="right", sequence_length=length, seed=seed)
    features, labels, _ = preprocessor(text)
    ids = [BOS, *labels[0][features["padding_mask"][0]].tolist()]
    assert [ids.count(i) for i in (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, SEPARATOR)] == [1, 1, 1, 1]


def test_truncation_of_a_triple_trims_far_ends_and_keeps_the_middle():
    preprocessor = make(sequence_length=60, truncate="right", spm_rate=0.0)
    features, labels, weights = preprocessor([(CODE * 20 + "x = ", "\n" + CODE * 20, "1 + 2")])
    ids = [BOS, *labels[0].tolist()]
    prefix = TOKENIZER.decode(ids[: ids.index(FIM_SUFFIX)])
    assert prefix.endswith("x = ")
    assert len(prefix) > 60
    assert labels[0][weights[0] > 0].tolist() == [*encode("1 + 2"), SEPARATOR]
    assert features["padding_mask"].sum() > 50


def test_triple_whose_middle_does_not_fit_is_refused_even_with_truncation():
    with pytest.raises(ValueError, match=r"got \d+ in example 0\. Split it"):
        make(sequence_length=60, truncate="right")([("a", "b", CODE * 20)])


def test_truncation_cuts_a_chat_at_its_end():
    features, _, weights = make(sequence_length=32, truncate="right")(
        [[CHAT[0], {"role": "model", "content": CODE * 20}]]
    )
    assert features["padding_mask"].all()
    assert weights[0, -1] == 1


def test_example_with_nothing_to_learn_is_refused():
    long_question = [{"role": "user", "content": CODE * 20}, CHAT[1]]
    with pytest.raises(ValueError, match=r"must have a token to learn; got none in example 0, of 17 tokens\. Leave"):
        make(sequence_length=16, truncate="right")([long_question])
    with pytest.raises(ValueError, match="must have a token to learn"):
        make(add_end_token=False)([("a", "b", "")])


def test_text_that_fits_only_without_sentinels_stays_plain():
    length = len(encode(CODE)) + 1
    features, labels, _ = make(fim_rate=1.0, sequence_length=length)([CODE] * 20)
    assert (features["token_ids"] == [BOS, *encode(CODE)]).all()
    assert (labels[:, -1] == EOS).all()


def test_truncating_a_huge_text_costs_what_is_kept_of_it():
    text = CODE * (5_000_000 // len(CODE))
    start = time.perf_counter()
    encode(text)
    whole_seconds = time.perf_counter() - start
    start = time.perf_counter()
    make(truncate="right", fim_rate=1.0)(text)
    assert time.perf_counter() - start < whole_seconds / 4


# What is refused.


@pytest.mark.parametrize("x", [3, None, [3], ("a", "b", 3), [["a", "b"]], {"text": "a"}, [[]], [{"prefix": "a"}]])
def test_what_is_no_example_is_refused(x):
    with pytest.raises(TypeError, match=r"An example must be a text, a .* triple of texts, or a chat .*; got .* Conv"):
        PREPROCESSOR(x)


def test_message_of_a_chat_without_its_keys_is_refused():
    with pytest.raises(TypeError, match="A message must be a mapping"):
        PREPROCESSOR([[{"role": "user"}]])


@pytest.mark.parametrize("x", [[], (), np.array([], dtype=str)])
def test_empty_batch_is_refused(x):
    with pytest.raises(ValueError, match=r"A batch must hold at least one example; got none\. Leave empty"):
        PREPROCESSOR(x)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"must have the same length; got lengths {'prefix': 2, .*}\. Give every"):
        PREPROCESSOR({"prefix": ["a", "b"], "suffix": ["c"], "middle": ["d"]})


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(ValueError, match=r"Text given as bytes must be UTF-8; got the byte 0xff at position 2\. Dec"):
        PREPROCESSOR([b"ab\xff"])


def test_labels_of_ones_own_are_refused():
    with pytest.raises(ValueError, match=r"Labels must be left out, because .*; got y as well\. Pass x alone"):
        PREPROCESSOR(["a"], [1])


@pytest.mark.parametrize("sample_weight", [[1.0], 2.0, [[1.0, 1.0]]])
def test_sample_weights_that_do_not_match_the_examples_are_refused(sample_weight):
    with pytest.raises(ValueError, match=r"sample_weight must hold one number for each of the 2 examples; got shape"):
        PREPROCESSOR(["a", "b"], sample_weight=sample_weight)


def test_indices_that_do_not_match_the_examples_are_refused():
    with pytest.raises(ValueError, match="indices must hold one number for each of the 2 examples; got shape"):
        PREPROCESSOR(["a", "b"], indices=[1])


@pytest.mark.parametrize("name", ["fim_rate", "spm_rate"])
@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, 80])
def test_rates_outside_0_to_1_are_refused(name, rate):
    with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\]; got {rate}\. Give a chance such as 0\.5"):
        make(**{name: rate})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"fim_rate": "0.5"},
            TypeError,
            r"fim_rate must be a number in \[0, 1\]; got '0\.5'\. Give a chance",
        ),
        ({"fim_rate": True}, TypeError, r"fim_rate must be a number in \[0, 1\]; got True\. Give a chance"),
        ({"fim_layout": "SPM"}, ValueError, r"A FIM layout must be .*; got 'SPM'\. Give one"),
        (
            {"loss_on": "suffix"},
            ValueError,
            r"loss_on must be 'middle' or 'all'; got 'suffix'\. Give one of these",
        ),
        (
            {"truncate": "left"},
            ValueError,
            r"truncate must be None or 'right'; got 'left'\. Give one of these",
        ),
        ({"sequence_length": 0}, ValueError, r"sequence_length must be at least 1; got 0\. Give a number"),
        (
            {"sequence_length": 2.5},
            TypeError,
            r"sequence_length must be an integer; got 2\.5\. Give a number",
        ),
        ({"seed": 1.5}, TypeError, r"The seed must be an integer; got 1\.5\. Give an int"),
    ],
)
def test_options_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


def test_sequence_length_of_a_call_is_checked():
    with pytest.raises(ValueError, match=r"sequence_length must be at least 1; got 0\."):
        PREPROCESSOR("a", sequence_length=0)


def test_what_is_no_tokenizer_is_refused():
    with pytest.raises(TypeError, match=r"must be given a CodeGemmaTokenizer; got str\. Make one with"):
        CodeGemmaCausalLMPreprocessor("vocabulary.spm")  # pyright: ignore[reportArgumentType]


def test_assigning_to_an_option_fails_instead_of_doing_nothing():
    with pytest.raises(AttributeError):
        make().fim_rate = 0.5  # pyright: ignore[reportAttributeAccessIssue]


# KerasHub's names, and configuration.


def test_generate_preprocess_pads_and_postprocess_reverses_it():
    arrays = make(sequence_length=8).generate_preprocess(["a b", "c"])
    assert arrays["token_ids"].shape == arrays["padding_mask"].shape == (2, 8)
    assert arrays["token_ids"][1].tolist() == [BOS, *encode("c"), *[PAD] * 6]
    assert PREPROCESSOR.generate_postprocess(arrays) == ["a b", "c"]
    assert PREPROCESSOR.generate_postprocess(arrays["token_ids"]) == ["a b", "c"]


def test_a_single_prompt_has_no_batch_axis():
    arrays = PREPROCESSOR.generate_preprocess("a b", sequence_length=5)
    assert arrays["token_ids"].tolist() == [BOS, *encode("a b"), PAD, PAD]
    assert PREPROCESSOR.generate_postprocess(arrays) == "a b"


def test_postprocess_leaves_out_masked_tokens_and_control_pieces():
    ids = np.array([[BOS, *encode("a"), FIM_MIDDLE, *encode("b")]])
    mask = np.array([[1, 1, 1, 0]])
    assert PREPROCESSOR.generate_postprocess({"token_ids": ids, "padding_mask": mask}) == ["a"]


def test_too_long_prompt_is_refused_not_cut():
    with pytest.raises(ValueError, match=r"at most sequence_length=4 tokens; got \d+ in prompt 1\. Shorten it, or"):
        PREPROCESSOR.generate_preprocess(["a", CODE], sequence_length=4)


def test_config_round_trip_through_json():
    preprocessor = make(sequence_length=64, fim_rate=0.9, spm_rate=0.1, fim_layout="spm", truncate="right", seed=5)
    config = json.loads(json.dumps(preprocessor.get_config()))
    again = CodeGemmaCausalLMPreprocessor.from_config(config, tokenizer=TOKENIZER)
    assert again.get_config() == preprocessor.get_config()
    assert again.options == preprocessor.options


def test_config_of_kerashub_is_read():
    config = {
        "name": "gemma_causal_lm_preprocessor",
        "trainable": True,
        "dtype": {"class_name": "DTypePolicy"},
        "tokenizer": {"class_name": "GemmaTokenizer"},
        "config_file": "preprocessor.json",
        "sequence_length": 12,
        "add_start_token": True,
        "add_end_token": False,
    }
    preprocessor = CodeGemmaCausalLMPreprocessor.from_config(config, tokenizer=TOKENIZER)
    assert preprocessor.sequence_length == 12
    assert not preprocessor.options.add_end_token


def test_unknown_config_field_is_refused():
    with pytest.raises(ValueError, match=r"must have no fields but .*; got \['fim_chance'\]\. Remove or rename"):
        PREPROCESSOR.replace(fim_chance=0.5)


def test_replace_changes_the_named_options_only():
    preprocessor = make(sequence_length=64, spm_rate=0.2).replace(fim_rate=0.7)
    assert preprocessor.get_config() == make(sequence_length=64, spm_rate=0.2, fim_rate=0.7).get_config()


def test_pickled_preprocessor_is_the_same():
    preprocessor = make(fim_rate=1.0, sequence_length=64)
    again = pickle.loads(pickle.dumps(preprocessor))
    assert np.array_equal(again(CODE)[1], preprocessor(CODE)[1])


# The tiny model's golden prompts, made by another implementation (see its card).


@pytest.mark.shared
def test_prompts_are_those_of_the_golden_file():
    golden = json.loads((ROOT.parent / "shared/tiny/golden.json").read_text())
    for case in golden["cases"]:
        if case["kind"] == "text":
            ids = PREPROCESSOR.encode_prompt(case["prefix"])
        else:
            ids = PREPROCESSOR.encode_infill(
                case["prefix"], case["suffix"], layout=case["kind"], max_prompt_tokens=1024
            ).token_ids
        assert ids == case["prompt_ids"]
    assert {case["kind"] for case in golden["cases"]} >= {"text", "psm", "spm"}
