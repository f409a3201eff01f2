"""Where a completion ends as text: after a line, with its block, or before one of the caller's strings. Plain Python.

The model's own stop ids end it first; what is here looks at the text of what came before them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

StopAt = str | Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is left of a text by a stop rule.

    Attributes:
        text: the part to keep, if nothing more came.
        safe_chars: how many characters of it no later text can take away again (for streaming).
        done: whether the rule has ended the text.
    """

    text: str
    safe_chars: int
    done: bool


@dataclass(frozen=True, kw_only=True)
class TextStop:
    """A stop rule, together with the place that is being completed.

    Attributes:
        stop_at: None; "line", the first line that is not blank; "block", up to where the indentation falls below that
            of the first line; or strings, the first of which ends the text and is not kept.
        prefix: the text before the completion.
        suffix: the text after it.

    Raises:
        ValueError: another word than "line" or "block", no string, or an empty one.
        TypeError: neither None nor strings.
    """

    stop_at: StopAt = None
    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        if self.stop_at is None or self.stop_at in ("line", "block"):
            return
        if isinstance(self.stop_at, str):
            raise ValueError(
                f"stop_at must be None, 'line', 'block' or a list of strings; got {self.stop_at!r}. "
                f"To stop at this text, pass [{self.stop_at!r}]."
            )
        if not all(isinstance(text, str) for text in self.stop_at):
            raise TypeError(f"Each entry of stop_at must be a string; got {list(self.stop_at)!r}. Convert them.")
        if not self.stop_at or not all(self.stop_at):
            raise ValueError(
                f"stop_at must hold at least one string, none empty; got {list(self.stop_at)!r}. "
                "Pass None to stop at the model's own end only."
            )

    def cut(self, text: str) -> Cut:
        """Applies the rule to what has been generated so far."""
        if self.stop_at is None:
            return Cut(text=text, safe_chars=len(text), done=False)
        if self.stop_at == "line":
            return self._cut_line(text)
        if self.stop_at == "block":
            return self._cut_block(text)
        return _cut_strings(text, tuple(self.stop_at))

    def _whole_lines(self) -> bool:
        """Whether the completion stands for whole lines, so that it needs a line break of its own at the end."""
        return self.prefix[-1:] in ("", "\n") and self.suffix[:1] not in ("\n", "\r")

    def _cut_line(self, text: str) -> Cut:
        end = text.find("\n", len(text) - len(text.lstrip()))
        if end < 0:
            return Cut(text=text, safe_chars=len(text), done=False)
        kept = text[: end + 1] if self._whole_lines() else text[:end]
        return Cut(text=kept, safe_chars=len(kept), done=True)

    def _cut_block(self, text: str) -> Cut:
        # The first line continues the line that the prefix ends with.
        opened = self.prefix[self.prefix.rfind("\n") + 1 :]
        lines = (opened + text).split("\n")
        block: int | None = None
        indented = separated = False
        for index, line in enumerate(lines):
            if not line.strip():
                separated = separated or block is not None
                continue
            indent = len(line) - len(line.lstrip())
            if block is None:
                block = indent
                continue
            # At the outermost level indentation cannot fall: there one statement, with its body, is a block.
            if indent < block or (block == 0 and indent == 0 and (indented or separated)):
                kept = "\n".join(lines[:index])[len(opened) :].rstrip() + ("\n" if self._whole_lines() else "")
                return Cut(text=kept, safe_chars=len(kept), done=True)
            indented = indented or indent > block
            separated = False
        return Cut(text=text, safe_chars=len(text.rstrip()), done=False)


def _cut_strings(text: str, strings: tuple[str, ...]) -> Cut:
    places = [place for place in map(text.find, strings) if place >= 0]
    if places:
        return Cut(text=text[: min(places)], safe_chars=min(places), done=True)
    # The longest end of the text that begins one of the strings may still turn out to be it.
    pending = max(
        (size for string in strings for size in range(1, len(string)) if text.endswith(string[:size])),
        default=0,
    )
    return Cut(text=text, safe_chars=len(text) - pending, done=False)
