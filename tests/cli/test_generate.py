"""`codegemma generate`: prompts from arguments and pipes, text that streams, and bad prompts."""

import json

import pytest

PROMPT = "import numpy as"


def test_an_argument_is_continued_and_the_text_ends_with_a_newline(codegemma, tiny):
    result = codegemma("generate", PROMPT, "--max-new-tokens", 4)
    expected = tiny.generate(PROMPT, max_new_tokens=4, strip_prompt=True)
    assert expected
    assert (result.exit_code, result.stdout.removesuffix("\n"), result.stderr) == (0, expected.removesuffix("\n"), "")
    assert result.stdout.endswith("\n")


def test_echo_prints_the_prompt_first(codegemma):
    alone = codegemma("generate", PROMPT, "--max-new-tokens", 4).stdout
    assert codegemma("generate", PROMPT, "--max-new-tokens", 4, "--echo").stdout == PROMPT + alone


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input_is_taken_as_it_is(codegemma, arguments):
    result = codegemma("generate", *arguments, "--max-new-tokens", 4, "--json", input=f"{PROMPT}\n")
    assert json.loads(result.stdout)["prompt"] == f"{PROMPT}\n"


def test_json_holds_prompt_and_text(codegemma, tiny):
    result = codegemma("generate", PROMPT, "--max-new-tokens", 4, "--json")
    text = tiny.generate(PROMPT, max_new_tokens=4, strip_prompt=True)
    assert json.loads(result.stdout) == {"preset": "code_gemma_tiny", "prompt": PROMPT, "text": text}


def test_sentinels_are_text_unless_asked_otherwise(codegemma):
    prompt = "<|fim_prefix|>a = <|fim_suffix|>\n<|fim_middle|>"
    as_text = codegemma("generate", prompt, "--max-new-tokens", 8).stdout
    as_commands = codegemma("generate", prompt, "--max-new-tokens", 8, "--parse-special").stdout
    assert as_text != as_commands


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (("",), b"", "The prompt must not be empty; got no text. Give at least one word."),
        ((), b"", "The prompt must not be empty; got no text. Give at least one word."),
        ((), b"a\xff", "Standard input must be UTF-8 text; byte 1 of it, 0xff, is not. Convert it to UTF-8."),
    ],
)
def test_prompts_that_are_no_text_are_wrong_use(codegemma, arguments, given, message):
    result = codegemma("generate", *arguments, input=given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"codegemma generate: {message}\n"


def test_a_prompt_longer_than_the_context_is_a_failure(codegemma):
    result = codegemma("generate", "word " * 2000)
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "codegemma: Prompt and continuation must fit the context of 1024 tokens; prompt 0 has "
    )
    assert result.stderr.endswith("Shorten the prompt, or lower max_length or max_new_tokens.\n")
