"""Greedy continuations of prompts up to given texts, as the harness' generating tasks ask for them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keras_codegemma import CodeGemmaCausalLM
from keras_codegemma.evaluation.language.answers import Answers

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A text to continue.

    Attributes:
        text: the prompt.
        until: texts, the first of which ends the continuation and is not part of it.
        max_new_tokens: the most tokens of the continuation.
    """

    text: str
    until: tuple[str, ...]
    max_new_tokens: int


def fit(lm: CodeGemmaCausalLM, prompt: Prompt) -> tuple[Prompt, int]:
    """The prompt with as much of its beginning left out as must be, and how many tokens that is.

    Raises:
        ValueError: the continuation alone fills the context.
    """
    context = lm.backbone.config.context_length
    room = context - prompt.max_new_tokens
    tokenizer, encode = _preprocessor(lm).tokenizer, _preprocessor(lm).encode_prompt
    ids = encode(prompt.text)
    if room < 2:
        raise ValueError(
            f"A prompt and {prompt.max_new_tokens} new tokens must fit the context of {context} tokens; the new ones "
            "leave no room for it. Leave this task out, or take a model of a longer context."
        )
    if len(ids) <= room:
        return prompt, 0
    # `generate` takes text, and an end of a text may be encoded in other tokens than it was within the whole.
    for kept in range(room - 1, 0, -1):
        # A cut may fall within a character, whose rest is no text.
        text = tokenizer.decode(ids[-kept:]).lstrip("\ufffd")
        if len(encode(text)) <= room:
            return Prompt(text=text, until=prompt.until, max_new_tokens=prompt.max_new_tokens), len(ids) - 1 - kept
    raise AssertionError("no end of a prompt fits a context")


def of(lm: CodeGemmaCausalLM, prompts: Sequence[Prompt], answers: Answers, *, batch_size: int) -> list[str]:
    """The continuation of each prompt, by `lm.generate`.

    Args:
        lm: the model.
        prompts: that fit its context.
        answers: of an earlier, interrupted run, and for those of this one.
        batch_size: prompts that run together.
    """
    found = [""] * len(prompts)
    batches = list(_batches(lm, prompts, batch_size))
    for number, places in enumerate(batches, start=1):
        first, texts = prompts[places[0]], [prompts[place].text for place in places]
        known = answers.of(
            ["continuation", first.until, first.max_new_tokens, texts],
            lambda first=first, texts=texts: lm.generate(
                texts,
                max_new_tokens=first.max_new_tokens,
                stop_at=list(first.until) or None,
                strip_prompt=True,
                sampler="greedy",
            ),
        )
        for place, text in zip(places, known, strict=True):
            found[place] = text
        _LOG.info("Continuations: batch %d of %d.", number, len(batches))
    return found


def _batches(lm: CodeGemmaCausalLM, prompts: Sequence[Prompt], batch_size: int) -> Iterator[list[int]]:
    """Places of prompts of one kind and like length, longest first."""
    kinds: dict[tuple[tuple[str, ...], int], list[int]] = {}
    for place, prompt in enumerate(prompts):
        kinds.setdefault((prompt.until, prompt.max_new_tokens), []).append(place)
    encode = _preprocessor(lm).encode_prompt
    for places in kinds.values():
        places.sort(key=lambda place: -len(encode(prompts[place].text)))
        for start in range(0, len(places), batch_size):
            yield places[start : start + batch_size]


def _preprocessor(lm: CodeGemmaCausalLM):
    assert lm.preprocessor is not None, "checked where the harness' model is made"
    return lm.preprocessor
