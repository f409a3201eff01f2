"""Makes a FIM prompt fit a number of tokens: cuts the far ends, never the text next to the cursor.

Order of loss: context files, the first (farthest) one first, whole files and then the first lines of the
next; only when all context is gone, the start of the prefix and the end of the suffix, which share what is
left 3 to 1 (llama.cpp's shares). Cuts fall on line starts where that costs little, and always between
characters, so that what stays is exactly an end, or a start, of the caller's text.

Long texts are cut roughly by characters before they are tokenized: a huge file costs what its kept part
costs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from keras_codegemma import fim
from keras_codegemma.fim import ContextFile
from keras_codegemma.tokenizer import CodeGemmaTokenizer

MINIMUM_TOKENS_AT_CURSOR = 16
"""Of prefix and suffix together; a budget that leaves less is refused, unless both are shorter."""

# Where to cut before tokenizing: code has 3 to 4 characters a token. A wrong guess costs a second try.
_GUESSED_CHARACTERS_A_TOKEN = 8
# Tokens at a cut may differ from those of the whole text; a window must exceed the limit by this many to be
# taken as proof that the whole text does.
_TOKENS_IN_DOUBT = 8


@dataclass(frozen=True, kw_only=True)
class Trimmed:
    """Characters cut from the texts of a prompt; `context` counts the texts of all context files together."""

    prefix: int = 0
    suffix: int = 0
    context: int = 0


@dataclass(frozen=True, kw_only=True)
class FittedInfill:
    """The texts of a prompt as far as they fit, and what was cut from them."""

    prefix: str
    suffix: str
    context_files: tuple[ContextFile, ...]
    trimmed: Trimmed


class BudgetError(ValueError):
    """A token budget that cannot hold even the text next to the cursor."""


def fit_infill(
    tokenizer: CodeGemmaTokenizer,
    *,
    prefix: str,
    suffix: str,
    path: str | None,
    context_files: Iterable[ContextFile],
    max_prompt_tokens: int,
) -> FittedInfill:
    """Trims the texts of a FIM prompt to a budget.

    Args:
        tokenizer: counts the tokens.
        prefix, suffix: the text around the cursor.
        path: of the file; its line is never trimmed.
        context_files: (path, text), the nearest one last.
        max_prompt_tokens: for the whole prompt, <bos>, sentinels and path line included.

    Raises:
        BudgetError: fewer than `MINIMUM_TOKENS_AT_CURSOR` tokens, or than the prefix and suffix have, remain
            for them.
        TypeError, ValueError: as for `fim.format`.
    """
    context_files = tuple(context_files)
    fim.format(prefix, suffix, path=path, context_files=context_files)  # refuses what is not text
    num_fixed = 1 + len(tokenizer.encode_parts(fim.format("", "", path=path)))
    room = max_prompt_tokens - num_fixed
    num_prefix = _count_up_to(tokenizer, prefix, limit=max(room, MINIMUM_TOKENS_AT_CURSOR))
    num_suffix = _count_up_to(tokenizer, suffix, limit=max(room, MINIMUM_TOKENS_AT_CURSOR))
    num_needed = min(num_prefix + num_suffix, MINIMUM_TOKENS_AT_CURSOR)
    if room < num_needed:
        raise BudgetError(
            f"A prompt budget must hold the {num_fixed} tokens of <bos>, sentinels and path, and at least "
            f"{num_needed} around the cursor; got max_prompt_tokens={max_prompt_tokens}. Give at least "
            f"{num_fixed + num_needed}: fewer new tokens, or a longer context."
        )
    kept_files: tuple[ContextFile, ...] = ()
    kept_prefix, kept_suffix = prefix, suffix
    if num_prefix + num_suffix <= room:
        kept_files = _keep_nearest_files(tokenizer, context_files, max_tokens=room - num_prefix - num_suffix)
    else:
        prefix_room = max(room - room // 4, room - num_suffix)
        kept_prefix = keep_end(tokenizer, prefix, max_tokens=prefix_room)
        kept_suffix = keep_start(tokenizer, suffix, max_tokens=room - len(tokenizer.encode(kept_prefix)))
    return FittedInfill(
        prefix=kept_prefix,
        suffix=kept_suffix,
        context_files=kept_files,
        trimmed=Trimmed(
            prefix=len(prefix) - len(kept_prefix),
            suffix=len(suffix) - len(kept_suffix),
            context=sum(len(text) for _, text in context_files) - sum(len(text) for _, text in kept_files),
        ),
    )


def keep_end(
    tokenizer: CodeGemmaTokenizer, text: str, *, max_tokens: int, head: str = "", whole_lines: bool = False
) -> str:
    """The end of a text that, encoded anew behind `head`, has at most this many tokens.

    It begins at a line start where that costs at most half of the characters that fit.

    Args:
        tokenizer: counts the tokens.
        text: the text to shorten at its start.
        max_tokens: for `head` and what is kept.
        head: text before it that stays.
        whole_lines: begin at a line start whatever it costs, even all of the text.
    """
    room = max_tokens - len(tokenizer.encode(head))
    if room <= 0:
        return ""
    window, ids = _end_window(tokenizer, text, limit=room)
    if len(window) == len(text) and len(tokenizer.encode(head + text)) <= max_tokens:
        return text
    num_kept = min(room, len(ids))
    while num_kept > 0:
        start = len(window) - tokenizer.vocabulary.characters_begun(ids[-num_kept:])
        kept = window[_line_start(window, start, whole_lines=whole_lines) :]
        excess = len(tokenizer.encode(head + kept)) - max_tokens
        if excess <= 0:
            return kept
        num_kept -= excess
    return ""


def keep_start(tokenizer: CodeGemmaTokenizer, text: str, *, max_tokens: int, prefer_lines: bool = True) -> str:
    """The start of a text that, encoded anew, has at most this many tokens.

    Args:
        tokenizer: counts the tokens.
        text: the text to shorten at its end.
        max_tokens: for what is kept.
        prefer_lines: end with a line where that costs at most half of the characters that fit.
    """
    if max_tokens <= 0:
        return ""
    window, ids = _start_window(tokenizer, text, limit=max_tokens)
    if len(window) == len(text) and len(ids) <= max_tokens:
        return text
    num_kept = min(max_tokens, len(ids))
    while num_kept > 0:
        end = tokenizer.vocabulary.characters_begun(ids[:num_kept])
        if num_kept < len(ids) and tokenizer.vocabulary.characters_begun(ids[num_kept : num_kept + 1]) == 0:
            end -= 1  # The cut is inside a character that is spelled in bytes.
        kept = window[: _line_end(window, end)] if prefer_lines else window[:end]
        excess = len(tokenizer.encode(kept)) - max_tokens
        if excess <= 0:
            return kept
        num_kept -= excess
    return ""


def _keep_nearest_files(
    tokenizer: CodeGemmaTokenizer, context_files: tuple[ContextFile, ...], *, max_tokens: int
) -> tuple[ContextFile, ...]:
    """The last files that fit, and the last lines of the one before them."""
    kept: list[ContextFile] = []
    room = max_tokens
    for path, text in reversed(context_files):
        head = fim.path_line(path)
        kept_text = keep_end(tokenizer, text, max_tokens=room - 1, head=head, whole_lines=True)
        cost = len(tokenizer.encode(head + kept_text)) + 1  # for the separator
        if cost > room or (text and not kept_text):
            break
        kept.append((path, kept_text))
        room -= cost
        if kept_text != text:
            break
    return tuple(reversed(kept))


def _count_up_to(tokenizer: CodeGemmaTokenizer, text: str, *, limit: int) -> int:
    """The tokens of a text, exact up to `limit`; beyond it, some number above."""
    return len(_end_window(tokenizer, text, limit=limit)[1])


def _end_window(tokenizer: CodeGemmaTokenizer, text: str, *, limit: int) -> tuple[str, list[int]]:
    """An end of the text with its ids: all of it, or enough to have clearly more tokens than `limit`."""
    size = _GUESSED_CHARACTERS_A_TOKEN * (limit + _TOKENS_IN_DOUBT)
    while True:
        window = text[-size:]
        ids = tokenizer.encode(window)
        if len(window) == len(text) or len(ids) > limit + _TOKENS_IN_DOUBT:
            return window, ids
        size *= 2


def _start_window(tokenizer: CodeGemmaTokenizer, text: str, *, limit: int) -> tuple[str, list[int]]:
    """As `_end_window`, at the start of the text."""
    size = _GUESSED_CHARACTERS_A_TOKEN * (limit + _TOKENS_IN_DOUBT)
    while True:
        window = text[:size]
        ids = tokenizer.encode(window)
        if len(window) == len(text) or len(ids) > limit + _TOKENS_IN_DOUBT:
            return window, ids
        size *= 2


def _line_start(window: str, start: int, *, whole_lines: bool) -> int:
    """The next line start at or after `start`, or `start` itself where that would cost more than half."""
    if start == 0 or window[start - 1] == "\n":
        return start
    following = window.find("\n", start) + 1
    if whole_lines:
        return following or len(window)
    return following if 0 < following - start <= (len(window) - start) // 2 else start


def _line_end(window: str, end: int) -> int:
    """The end of the last whole line before `end`, or `end` itself where that would cost more than half."""
    if end == len(window) or window[end - 1 : end] == "\n":
        return end
    previous = window.rfind("\n", 0, end) + 1
    return previous if previous and end - previous <= end // 2 else end
