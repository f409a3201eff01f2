"""Fill-in-the-middle prompts: the only file that knows the order of the sentinels.

A prompt is a tuple of parts: plain text, or a `Sentinel`. Parts are tokenized apart and joined by ids, so
text that merely spells a sentinel stays text. Written out, with optional pieces in square brackets:

    PSM  [path \\n] <|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|> [middle]
    SPM  [path \\n] <|fim_suffix|> suffix <|fim_prefix|> prefix <|fim_middle|> [middle]

with, before either, `path \\n text <|file_separator|>` for each context file. PSM is as the CodeGemma model
card and report (arXiv 2406.11409, figure 4: the path line stands before the first sentinel) give it. Google
has not published the exact SPM text: this form is llama.cpp's (`--spm-infill`) and agrees with published
outputs. The separator after a whole context file is inferred from figure 2 of the report, which shows it
between files that are split themselves.

No `<bos>` here: the preprocessor puts one at the very start. Plain Python, no tokenizer.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Sentinel(StrEnum):
    """The control pieces that a prompt is built from, by their text in the vocabulary."""

    FIM_PREFIX = "<|fim_prefix|>"
    FIM_MIDDLE = "<|fim_middle|>"
    FIM_SUFFIX = "<|fim_suffix|>"
    FILE_SEPARATOR = "<|file_separator|>"
    START_OF_TURN = "<start_of_turn>"
    END_OF_TURN = "<end_of_turn>"


Part = str | Sentinel
ContextFile = tuple[str, str]

LAYOUTS = ("psm", "spm")
CONTROL_PIECES = ("<pad>", "<eos>", "<bos>", *(sentinel.value for sentinel in Sentinel))
"""Every text that stands for a command in CodeGemma's vocabulary."""

_ORDER: dict[str, tuple[tuple[Sentinel, str], ...]] = {
    "psm": (
        (Sentinel.FIM_PREFIX, "prefix"),
        (Sentinel.FIM_SUFFIX, "suffix"),
        (Sentinel.FIM_MIDDLE, "middle"),
    ),
    "spm": (
        (Sentinel.FIM_SUFFIX, "suffix"),
        (Sentinel.FIM_PREFIX, "prefix"),
        (Sentinel.FIM_MIDDLE, "middle"),
    ),
}
_SENTINEL_PATTERN = re.compile("|".join(re.escape(sentinel) for sentinel in Sentinel))
_CONTROL_PATTERN = re.compile("|".join(re.escape(piece) for piece in CONTROL_PIECES))


@dataclass(frozen=True, kw_only=True)
class Infill:
    """What a FIM prompt says. `middle` is None in a prompt that still waits for it."""

    prefix: str
    suffix: str
    middle: str | None = None
    path: str | None = None
    context_files: tuple[ContextFile, ...] = ()
    layout: str = "psm"


@dataclass(frozen=True, kw_only=True)
class Span:
    """A text cut in three: prefix + middle + suffix is the text."""

    prefix: str
    middle: str
    suffix: str


def format(
    prefix: str,
    suffix: str,
    *,
    layout: str = "psm",
    middle: str | None = None,
    path: str | None = None,
    context_files: Iterable[ContextFile] = (),
) -> tuple[Part, ...]:
    """Builds the parts of a FIM prompt, or of a training example when `middle` is given.

    Any text is allowed in any place, also one that spells a sentinel; `parse` returns exactly what went in.
    The piece that ends a training example is the caller's to add.

    Args:
        prefix: the text before the cursor.
        suffix: the text after the cursor.
        layout: "psm" or "spm".
        middle: the text the model must write; None for a prompt.
        path: where the file lies in its repository; written as a line of its own before the first sentinel.
        context_files: (path, text) of other files, the nearest one last.

    Raises:
        TypeError: an argument that is not plain text, or a context file that is not a pair.
        ValueError: an unknown layout, or a path that is empty or longer than a line.

    >>> render(format("a = ", "+ 2", path="a.py"))
    'a.py\\n<|fim_prefix|>a = <|fim_suffix|>+ 2<|fim_middle|>'
    """
    check_layout(layout)
    pieces = {"prefix": _plain("prefix", prefix), "suffix": _plain("suffix", suffix)}
    if middle is not None:
        pieces["middle"] = _plain("middle", middle)
    parts: list[Part] = []
    for file_path, text in _pairs(context_files):
        # One part, so that it is tokenized like the file it stands for.
        parts += [path_line(file_path) + _plain("text of a context file", text), Sentinel.FILE_SEPARATOR]
    if path is not None:
        parts.append(path_line(path))
    for sentinel, name in _ORDER[layout]:
        parts.append(sentinel)
        if name in pieces:
            parts.append(pieces[name])
    return tuple(parts)


def path_line(path: str) -> str:
    """The line that names a file.

    Raises:
        TypeError: `path` is not text.
        ValueError: `path` is empty or holds a line feed, so that it could not be read back.
    """
    if not _plain("path", path) or "\n" in path:
        raise ValueError(
            f"A path must be one line of text, not empty; got {path!r}. Give the path without line feeds, or none."
        )
    return f"{path}\n"


def render(parts: Iterable[Part]) -> str:
    """Writes parts as one text, which `parse` and `encode(..., parse_special=True)` read back.

    Raises:
        ValueError: a text part spells a control piece, so that the written form would mean something else.
    """
    written: list[str] = []
    for sentinel, text in _segments(parts):
        found = _CONTROL_PATTERN.search(text or "")
        if found:
            raise ValueError(
                f"Text to be written between sentinels must not spell a control piece; got {found[0]!r} at "
                f"character {found.start()} of a text. Keep the parts apart and encode them by ids instead."
            )
        written += [sentinel or "", text or ""]
    return "".join(written)


def parse(parts_or_text: str | Iterable[Part]) -> Infill:
    """Reads a FIM prompt or training example back: the inverse of `format`.

    Parts come back exactly, whatever their text. A written text (see `render`) is cut at every sentinel it
    spells; in it an empty middle cannot be told from a missing one and reads as None. One
    `<|file_separator|>` after the middle, the end of a training example or of the model's answer, is accepted
    and left out.

    Raises:
        ValueError: the sentinels are not in the order of a layout, or the text before them is not path lines.
    """
    parts = _cut_at_sentinels(parts_or_text) if isinstance(parts_or_text, str) else parts_or_text
    segments = _segments(parts)
    sentinels = [sentinel for sentinel, _ in segments[1:]]
    num_files = next((i for i, s in enumerate(sentinels) if s is not Sentinel.FILE_SEPARATOR), 0)
    body = segments[num_files + 1 :]
    ended = len(body) == 4 and body[3] == (Sentinel.FILE_SEPARATOR, None)
    body = body[:3] if ended else body
    for layout, order in _ORDER.items():
        if [sentinel for sentinel, _ in body] == [sentinel for sentinel, _ in order]:
            texts = {name: text for (_, name), (_, text) in zip(order, body, strict=True)}
            return Infill(
                prefix=texts["prefix"] or "",
                suffix=texts["suffix"] or "",
                middle=texts["middle"] or "" if ended else texts["middle"],
                path=_read_path(segments[num_files][1] or ""),
                context_files=tuple(_read_context_file(text or "") for _, text in segments[:num_files]),
                layout=layout,
            )
    expected = " or ".join(" ".join(sentinel for sentinel, _ in order) for order in _ORDER.values())
    raise ValueError(
        f"A FIM prompt must have the sentinels {expected}, after any context files; got "
        f"{' '.join(s or '' for s in sentinels) or 'no sentinel'}. Build the prompt with fim.format."
    )


def split(text: str, *, rng: Random) -> Span:
    """Picks the characters the model must fill in: a random span, uniform over all spans that are not empty.

    Args:
        text: the whole document.
        rng: seeded by the caller, so that the same document is cut in the same place.

    Raises:
        TypeError: `text` is not plain text.
    """
    _plain("text", text)
    if not text:
        return Span(prefix="", middle="", suffix="")
    start, end = sorted(rng.sample(range(len(text) + 1), 2))
    return Span(prefix=text[:start], middle=text[start:end], suffix=text[end:])


def check_layout(layout: str) -> str:
    """Returns `layout`, or raises ValueError where it is none of `LAYOUTS`."""
    if layout not in LAYOUTS:
        raise ValueError(f'A FIM layout must be "psm" or "spm"; got {layout!r}. Give one of the two.')
    return layout


def _plain(name: str, value: object) -> str:
    """Refuses what is not text; also a Sentinel, which is a str but a command."""
    if isinstance(value, str) and not isinstance(value, Sentinel):
        return value
    raise TypeError(
        f"The {name} must be plain text (str); got {type(value).__name__}: {value!r:.80}. Pass the text itself."
    )


def _pairs(context_files: Iterable[ContextFile]) -> Iterable[ContextFile]:
    for item in context_files:
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TypeError(
                f"A context file must be a pair (path, text); got {type(item).__name__}: {item!r:.80}. "
                "Give context_files as a list of such pairs."
            )
        yield item[0], item[1]


def _cut_at_sentinels(text: str) -> list[Part]:
    parts: list[Part] = []
    start = 0
    for found in _SENTINEL_PATTERN.finditer(text):
        if found.start() > start:
            parts.append(text[start : found.start()])
        parts.append(Sentinel(found[0]))
        start = found.end()
    return parts if start == len(text) else [*parts, text[start:]]


def _segments(parts: Iterable[Part]) -> Sequence[tuple[Sentinel | None, str | None]]:
    """Groups parts as (sentinel, the text after it or None); the first group has no sentinel."""
    segments: list[tuple[Sentinel | None, str | None]] = [(None, None)]
    for part in parts:
        if isinstance(part, Sentinel):
            segments.append((part, None))
        else:
            sentinel, text = segments[-1]
            segments[-1] = (sentinel, (text or "") + _plain("part", part))
    return segments


def _read_context_file(text: str) -> ContextFile:
    path, newline, rest = text.partition("\n")
    if not path or not newline:
        raise ValueError(
            "Text before <|file_separator|> must be a path, a newline and the text of that file; "
            f"got {text!r:.80}. Build the prompt with fim.format."
        )
    return path, rest


def _read_path(text: str) -> str | None:
    if not text:
        return None
    if text.find("\n") != len(text) - 1 or text == "\n":
        raise ValueError(
            f"Text before the first FIM sentinel must be one path and a newline; got {text!r:.80}. "
            "Build the prompt with fim.format, without <bos>."
        )
    return text[:-1]
