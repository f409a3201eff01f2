"""Continuations are those of `lm.generate`, cut at the task's texts; too long prompts lose their beginning."""

import pytest

import keras_codegemma as kcg
from keras_codegemma.evaluation.language import continuation
from keras_codegemma.evaluation.language.answers import Answers
from keras_codegemma.evaluation.language.continuation import Prompt
from tests.evaluation.language.small_lm import small_lm


@pytest.fixture(scope="module")
def lm():
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")


def prompt(text: str, *, until: tuple[str, ...] = (), tokens: int = 12) -> Prompt:
    return Prompt(text=text, until=until, max_new_tokens=tokens)


def test_continuations_of_any_kind_and_order_equal_generate(lm):
    first, second = "def add(a, b):\n", "def f(x):\n    if x:\n"
    other = "class Stack:\n    def push(self, item):\n"
    prompts = [prompt(first, until=("\n",)), prompt(other), prompt(second, until=("\n",))]
    found = continuation.of(lm, prompts, Answers(), batch_size=2)
    lines = lm.generate([first, second], max_new_tokens=12, stop_at=["\n"], strip_prompt=True)
    assert found == [lines[0], lm.generate(other, max_new_tokens=12, strip_prompt=True), lines[1]]
    assert "\n" not in lines[0] + lines[1]


def test_a_sampler_that_the_model_was_compiled_with_is_not_used():
    lm = small_lm()
    before = continuation.of(lm, [prompt("def add(")], Answers(), batch_size=1)
    lm.compile(sampler=kcg.samplers.TopPSampler(p=0.99, temperature=5.0))
    assert continuation.of(lm, [prompt("def add(")], Answers(), batch_size=1) == before


def test_a_prompt_that_fits_stays_as_it_is(lm):
    one = prompt("def add(a, b):", tokens=1000)
    assert continuation.fit(lm, one) == (one, 0)


def test_a_long_prompt_keeps_its_end_and_the_loss_is_counted(lm):
    text = "".join(f"x{number} = {number}\n" for number in range(600)) + "last ="
    tokens = len(lm.preprocessor.encode_prompt(text))
    fitted, left_out = continuation.fit(lm, prompt(text, tokens=24))
    kept = len(lm.preprocessor.encode_prompt(fitted.text))
    assert text.endswith(fitted.text)
    assert fitted.text.endswith("last =")
    assert kept <= 1024 - 24
    assert kept >= 1024 - 24 - 2
    assert left_out >= tokens - kept


def test_a_cut_within_a_character_leaves_no_broken_one(lm):
    # The tiny vocabulary has none of these, so each is several byte tokens.
    text = "日本語" * 400
    for tokens in (24, 25, 26):
        fitted, left_out = continuation.fit(lm, prompt(text, tokens=tokens))
        assert text.endswith(fitted.text)
        assert left_out > 0
        assert len(lm.preprocessor.encode_prompt(fitted.text)) <= 1024 - tokens


def test_a_budget_that_leaves_no_room_for_a_prompt_is_refused(lm):
    with pytest.raises(ValueError, match="and 1023 new tokens must fit the context of 1024 tokens; the new ones leave"):
        continuation.fit(lm, prompt("x", tokens=1023))
