r"""A text with its ids, from which the ids of any part of it can be had without tokenizing it all again.

Around a run of line feeds a text can be cut without changing ids (`text_encoder.py`), so a part's ids are those of its
first and last line, encoded anew, with what lies between them as it is.
"""

from functools import cached_property

import numpy as np

from training.corpus.text_encoder import TextEncoder


class EncodedText:
    """A text and its ids.

    Args:
        text: any text.
        encoder: of the tokenizer.

    Attributes:
        text: as given.
        token_ids: int32 [n].
        begins: how many characters of the text have begun before each id, int64 [n].
    """

    def __init__(self, text: str, encoder: TextEncoder) -> None:
        self.text = text
        self.token_ids = encoder.encode(text)
        self._encoder = encoder

    @cached_property
    def begins(self) -> np.ndarray:
        return self._encoder.characters(self.token_ids)

    def between(self, start: int, end: int) -> np.ndarray:
        """The ids of `text[start:end]`, encoded by itself, int32."""
        first, last = self._cut_after(start), self._cut_before(start, end)
        if first >= last or self._encoder.unit == "texts":
            return self._encoder.encode(self.text[start:end])
        low = np.searchsorted(self.begins, first)
        # The last bytes of a character that is spelled in bytes begin where the next character does.
        high = len(self.token_ids) if last == len(self.text) else np.searchsorted(self.begins, last)
        if (first, last) == (start, end):
            return self.token_ids[low:high]
        head = self._encoder.encode(self.text[start:first])
        tail = self._encoder.encode(self.text[last:end])
        return np.concatenate([head, self.token_ids[low:high], tail])

    def _is_cut(self, at: int) -> bool:
        """Whether a run of line feeds ends there, or the text begins or ends."""
        return at in (0, len(self.text)) or (self.text[at - 1] == "\n" and self.text[at] != "\n")

    def _cut_after(self, start: int) -> int:
        if self._is_cut(start):
            return start
        at = self.text.find("\n", start)
        if at < 0:
            return len(self.text)
        while at < len(self.text) and self.text[at] == "\n":
            at += 1
        return at

    def _cut_before(self, start: int, end: int) -> int:
        if self._is_cut(end):
            return end
        while end > start and self.text[end - 1] == "\n":
            end -= 1
        return self.text.rfind("\n", start, end) + 1
