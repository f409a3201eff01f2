"""Models that the safety tests know everything about: one repeats what it was shown, none has weights."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np


class Characters:
    """A tokenizer with a token for each character."""

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


class Parrot:
    """Goes on as the first of its documents that holds the prompt does, with some characters wrong.

    Args:
        known: documents.
        wrong: characters of each continuation that are replaced.
    """

    def __init__(self, known: Sequence[str], *, wrong: int = 0):
        self.known, self.wrong, self.calls = known, wrong, 0
        self.preprocessor = SimpleNamespace(tokenizer=Characters(), encode_prompt=lambda text: [2, *map(ord, text)])
        config = SimpleNamespace(num_layers=1, hidden_dim=2, vocabulary_size=3, context_length=1 << 20)
        self.backbone = SimpleNamespace(config=config, compute_dtype="float32")

    def score(self, text: str) -> np.ndarray:
        return np.full(len(text), -0.5 - self.wrong, np.float32)

    def generate(self, inputs: Any, *, max_new_tokens: int, strip_prompt: bool, sampler: Any, **_: Any) -> Any:
        assert strip_prompt
        assert sampler == "greedy"
        self.calls += 1
        if not isinstance(inputs, Mapping):
            return [self._after(text, max_new_tokens) for text in inputs]
        rows = [self._after("".join(map(chr, row[1:])), max_new_tokens) for row in inputs["token_ids"]]
        ids = np.zeros((len(rows), max_new_tokens + 3), np.int32)
        for row, text in zip(ids, rows, strict=True):
            row[: len(text)] = [*map(ord, text)]
        return {"token_ids": ids, "padding_mask": ids > 0}

    def infill(self, prefix: list[str], suffix: list[str], *, max_new_tokens: int, layout: str, **_: Any) -> list[Any]:
        self.calls += 1
        # It knows the one layout only, so that figures of the two cannot be confused.
        texts = [self._after(text, max_new_tokens) if layout == "psm" else "" for text in prefix]
        return [SimpleNamespace(text=text, token_ids=[*map(ord, text)], finish_reason="stop") for text in texts]

    def _after(self, prompt: str, count: int) -> str:
        text = next((text for text in self.known if prompt in text), "")
        rest = text[text.find(prompt) + len(prompt) :][:count]
        return "~" * min(self.wrong, len(rest)) + rest[self.wrong :]
