"""What a caller asks of generate, infill and chat, checked and turned into prompts with token budgets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_codegemma import sampling
from keras_codegemma.completion import Prompt
from keras_codegemma.fim import ContextFile
from keras_codegemma.preprocessor import CodeGemmaCausalLMPreprocessor
from keras_codegemma.stopping import StopAt, TextStop

DEFAULT_SAMPLES_SAMPLER = sampling.TopPSampler(p=0.95, temperature=0.8)
"""For several samples of one prompt: the setting of BabelCode's paper for pass@k."""


def continuation_prompts(
    texts: Sequence[str],
    preprocessor: CodeGemmaCausalLMPreprocessor,
    *,
    context: int,
    max_length: int | None,
    max_new_tokens: int | None,
    stop_at: StopAt,
    parse_special: bool,
) -> list[Prompt]:
    """Prompts that continue texts; see `CodeGemmaCausalLM.generate` for arguments and errors."""
    prompts = []
    for index, text in enumerate(texts):
        row = preprocessor.encode_prompt(text, parse_special=parse_special)
        limit = min(preprocessor.sequence_length, context) if max_length is None else max_length
        budget = token_budget(len(row), index=index, context=context, max_length=limit, max_new_tokens=max_new_tokens)
        if max_length is not None and max_new_tokens is not None:
            raise ValueError(
                f"Give max_length or max_new_tokens, not both; got {max_length} and {max_new_tokens}. Remove one."
            )
        prompts.append(Prompt(token_ids=row, budget=budget, stop=TextStop(stop_at=stop_at, prefix=text)))
    return prompts


def infill_prompt(
    place: tuple[str, str],
    preprocessor: CodeGemmaCausalLMPreprocessor,
    *,
    context: int,
    path: str | None,
    context_files: Sequence[ContextFile],
    layout: str | None,
    max_new_tokens: int,
    stop_at: StopAt,
) -> Prompt:
    """A prompt that fills in one place; see `CodeGemmaCausalLM.infill` for arguments and errors."""
    prefix, suffix = place
    budget = positive("max_new_tokens", max_new_tokens)
    if budget >= context:
        raise ValueError(
            f"max_new_tokens must leave room for a prompt in the context of {context} tokens; got {budget}. Lower it."
        )
    encoded = preprocessor.encode_infill(
        prefix,
        suffix,
        path=path,
        context_files=context_files,
        layout=layout,
        max_prompt_tokens=context - budget,
    )
    stop = TextStop(stop_at=stop_at, prefix=prefix, suffix=suffix)
    return Prompt(token_ids=encoded.token_ids, budget=budget, stop=stop, trimmed=encoded.trimmed)


def chat_prompt(
    messages: Sequence[Mapping[str, str]],
    preprocessor: CodeGemmaCausalLMPreprocessor,
    *,
    context: int,
    max_new_tokens: int,
    stop_at: StopAt,
) -> Prompt:
    """A prompt that answers a conversation; see `CodeGemmaCausalLM.chat` for arguments and errors."""
    row = preprocessor.encode_chat(messages)
    budget = token_budget(len(row), index=0, context=context, max_length=None, max_new_tokens=max_new_tokens)
    return Prompt(token_ids=row, budget=budget, stop=TextStop(stop_at=stop_at))


def id_prompts(
    inputs: Mapping[str, Any], *, context: int, max_length: int | None, max_new_tokens: int | None
) -> list[Prompt]:
    """Prompts that continue arrays `token_ids` and `padding_mask` [B, T], real tokens first.

    Raises:
        ValueError: padding before or among the tokens of a row, or a bad length.
    """
    token_ids, mask = np.asarray(inputs["token_ids"]), np.asarray(inputs["padding_mask"]).astype(bool)
    lengths = mask.sum(axis=1)
    if not (mask == (np.arange(mask.shape[1]) < lengths[:, None])).all():
        raise ValueError(
            "The real tokens of each row must come first; padding_mask has a gap or padding on the left. "
            "Move the tokens to the start of each row."
        )
    limit = token_ids.shape[1] if max_length is None else max_length
    return [
        Prompt(
            token_ids=row[:length].tolist(),
            budget=token_budget(
                int(length), index=index, context=context, max_length=limit, max_new_tokens=max_new_tokens
            ),
        )
        for index, (row, length) in enumerate(zip(token_ids, lengths, strict=True))
    ]


def token_budget(tokens: int, *, index: int, context: int, max_length: int | None, max_new_tokens: int | None) -> int:
    """New tokens that prompt number `index`, of this many tokens, may get.

    Args:
        tokens: of the prompt.
        index: of the prompt, for messages.
        context: the model's, in tokens.
        max_length: tokens of prompt and continuation; used where `max_new_tokens` is None.
        max_new_tokens: tokens of the continuation.

    Raises:
        ValueError: nothing left for the continuation, or an end beyond the context.
    """
    if max_new_tokens is not None:
        length = tokens + positive("max_new_tokens", max_new_tokens)
    else:
        length = positive("max_length", context if max_length is None else max_length)
    if length > context:
        raise ValueError(
            f"Prompt and continuation must fit the context of {context} tokens; prompt {index} has {tokens} and "
            f"would end at {length}. Shorten the prompt, or lower max_length or max_new_tokens."
        )
    if tokens >= length:
        raise ValueError(
            f"A prompt must be shorter than max_length; prompt {index} has {tokens} tokens and max_length is "
            f"{length}. Shorten the prompt or raise max_length (the context is {context})."
        )
    return length - tokens


def places(prefix: str | Sequence[str], suffix: str | Sequence[str]) -> list[tuple[str, str]]:
    """One (prefix, suffix) per place to fill in.

    Raises:
        ValueError: a text with a list, or lists of different lengths.
    """
    if isinstance(prefix, str) and isinstance(suffix, str):
        return [(prefix, suffix)]
    if isinstance(prefix, str) or isinstance(suffix, str) or len(prefix) != len(suffix):
        raise ValueError(
            "prefix and suffix must be two texts, or two lists of the same length; got "
            f"{_describe(prefix)} and {_describe(suffix)}. Pass one suffix per prefix."
        )
    return list(zip(prefix, suffix, strict=True))


def check_samples(num_samples: int, sampler: sampling.Sampler) -> None:
    """Refuses several samples of a sampler without chance: they would be the same."""
    positive("num_samples", num_samples)
    if num_samples > 1 and isinstance(sampler, (sampling.GreedySampler, sampling.BeamSampler)):
        raise ValueError(
            f"Several samples need a sampler that draws at random; {type(sampler).__name__} would give "
            f"{num_samples} times the same. Pass sampler='top_p', or num_samples=1."
        )


def check_one_stream(count: int, samples: int = 1) -> None:
    """Refuses to stream several texts at once."""
    if count != 1 or samples != 1:
        raise ValueError(
            f"Streaming takes one prompt, not in a list, and one sample; got {count} and {samples}. Use stream=False."
        )


def random_seed(seed: int | None) -> int:
    """The seed as given, or one from numpy, which `keras.utils.set_random_seed` seeds."""
    # keras.utils.set_random_seed seeds numpy's global generator alone, not a Generator of ours.
    return int(np.random.randint(2**31)) if seed is None else int(seed) % 2**32  # noqa: NPY002


def positive(name: str, value: int) -> int:
    """The value, which must be a positive integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}. Pass 1 or more.")
    return int(value)


def _describe(texts: str | Sequence[str]) -> str:
    return "one text" if isinstance(texts, str) else f"a list of {len(texts)}"
