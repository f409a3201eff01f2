"""One training example to ids and loss weights: where infilling is drawn, and what the model has to learn.

A text becomes [<bos>] text [<eos>], or one of the two layouts of `fim.py`; a triple one of the layouts; a
chat its turn template. Everything random comes from the caller's `rng`, and the same number of draws is made
whatever they decide.
"""

from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from keras_codegemma import chat, fim
from keras_codegemma.prompt_budget import BudgetError, fit_infill, keep_start
from keras_codegemma.tokenizer import CodeGemmaTokenizer
from keras_codegemma.training_examples import Conversation, Document, Example, Triple

LOSS_ON = ("middle", "all")
TRUNCATE = (None, "right")

Encoded = tuple[list[int], list[float]]
"""Ids, and for each the weight, 0 or 1, of the loss of predicting it."""


@dataclass(frozen=True, kw_only=True)
class ExampleOptions:
    """How examples are written and what of them is learned; see `CodeGemmaCausalLMPreprocessor`.

    Raises:
        TypeError: a rate or a seed that is no number.
        ValueError: an option outside its range.
    """

    add_start_token: bool = True
    add_end_token: bool = True
    fim_rate: float = 0.0
    spm_rate: float = 0.5
    fim_layout: str = "psm"
    loss_on: str = "middle"
    truncate: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_rate("fim_rate", self.fim_rate)
        _check_rate("spm_rate", self.spm_rate)
        fim.check_layout(self.fim_layout)
        _check_choice("loss_on", self.loss_on, LOSS_ON)
        _check_choice("truncate", self.truncate, TRUNCATE)
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise TypeError(f"The seed must be an integer; got {self.seed!r}. Give an int.")

    def to_dict(self) -> dict[str, Any]:
        """The options by name."""
        return asdict(self)


class ExampleEncoder:
    """Encodes training examples with a tokenizer and options."""

    def __init__(self, tokenizer: CodeGemmaTokenizer, options: ExampleOptions) -> None:
        self._tokenizer = tokenizer
        self._options = options
        self._start = [tokenizer.start_token_id] if options.add_start_token else []
        self._text_end = [tokenizer.end_token_id] if options.add_end_token else []
        # The published models end a middle with the separator, not with <eos>.
        self._middle_end = [tokenizer.file_separator_id] if options.add_end_token else []

    def encode(self, example: Example, *, rng: Random, max_tokens: int | None = None) -> Encoded:
        """Ids and loss weights of one example; the first id is never predicted, so its weight is 0.

        Args:
            example: what to learn.
            rng: decides about infilling and layout.
            max_tokens: what `truncate` cuts to. Without `truncate`, or where cutting cannot help, the result
                may be longer. None: no limit.

        Raises:
            TypeError, ValueError: as the tokenizer, and `chat.format_training`.
        """
        if isinstance(example, Document):
            ids = self._document(example.text, rng=rng, max_tokens=max_tokens)
            weights = [1.0] * len(ids)
        elif isinstance(example, Triple):
            ids, weights = self._triple(example, layout=self._draw_layout(rng), max_tokens=max_tokens)
        else:
            ids, weights = self._conversation(example, max_tokens=max_tokens)
        return ids, [0.0, *weights[1:]] if ids else []

    def encode_for_scoring(self, example: Document | Triple) -> tuple[list[int], int]:
        """The ids of an example with nothing left to chance, and the index of the first one to score."""
        if isinstance(example, Document):
            return self._plain(example.text), 1
        prompt = self._prompt(example, layout=self._options.fim_layout)
        return prompt + self._middle(example), len(prompt)

    # Texts.

    def _document(self, text: str, *, rng: Random, max_tokens: int | None) -> list[int]:
        is_infill = rng.random() < self._options.fim_rate
        layout = self._draw_layout(rng)
        place = rng.getrandbits(64)
        limit = max_tokens if self._options.truncate else None
        if limit is not None:
            text = self._cut(text, max_tokens=limit - len(self._start + self._text_end))
        plain = self._plain(text)
        if not is_infill:
            return plain
        infill = self._infilled(text, place=place, layout=layout)
        while limit is not None and len(infill) > limit and text:
            text = self._cut(text, max_tokens=len(self._tokenizer.encode(text)) - (len(infill) - limit))
            infill = self._infilled(text, place=place, layout=layout)
        # Sentinels take room: what fits without them, but not with them, is no reason to stop a run.
        fits_only_plain = max_tokens is not None and len(plain) <= max_tokens < len(infill)
        return plain if fits_only_plain else infill

    def _plain(self, text: str) -> list[int]:
        return self._start + self._tokenizer.encode(text) + self._text_end

    def _infilled(self, text: str, *, place: int, layout: str) -> list[int]:
        span = fim.split(text, rng=Random(place))
        parts = fim.format(span.prefix, span.suffix, layout=layout, middle=span.middle)
        return self._start + self._tokenizer.encode_parts(parts) + self._middle_end

    def _cut(self, text: str, *, max_tokens: int) -> str:
        return keep_start(self._tokenizer, text, max_tokens=max_tokens, prefer_lines=False)

    def _draw_layout(self, rng: Random) -> str:
        return "spm" if rng.random() < self._options.spm_rate else "psm"

    # Triples.

    def _triple(self, example: Triple, *, layout: str, max_tokens: int | None) -> Encoded:
        prompt, middle = self._prompt(example, layout=layout), self._middle(example)
        if self._options.truncate and max_tokens is not None and len(prompt) + len(middle) > max_tokens:
            prompt = self._prompt(self._trimmed(example, max_tokens=max_tokens - len(middle)), layout=layout)
        prompt_weight = 1.0 if self._options.loss_on == "all" else 0.0
        return prompt + middle, [prompt_weight] * len(prompt) + [1.0] * len(middle)

    def _prompt(self, example: Triple, *, layout: str) -> list[int]:
        parts = fim.format(example.prefix, example.suffix, layout=layout)
        return self._start + self._tokenizer.encode_parts(parts)

    def _middle(self, example: Triple) -> list[int]:
        return self._tokenizer.encode(example.middle) + self._middle_end

    def _trimmed(self, example: Triple, *, max_tokens: int) -> Triple:
        """The triple with the far ends of prefix and suffix cut; unchanged where too little would stay."""
        try:
            fitted = fit_infill(
                self._tokenizer,
                prefix=example.prefix,
                suffix=example.suffix,
                path=None,
                context_files=(),
                max_prompt_tokens=max_tokens + 1 - len(self._start),
            )
        except BudgetError:
            return example
        return Triple(prefix=fitted.prefix, suffix=fitted.suffix, middle=example.middle)

    # Chats.

    def _conversation(self, example: Conversation, *, max_tokens: int | None) -> Encoded:
        ids, weights = list(self._start), [0.0] * len(self._start)
        for part, is_model in chat.format_training(example.messages):
            part_ids = self._tokenizer.encode_parts([part])
            ids += part_ids
            weights += [float(is_model)] * len(part_ids)
        if self._options.truncate and max_tokens is not None:
            return ids[:max_tokens], weights[:max_tokens]
        return ids, weights


def _check_rate(name: str, rate: float) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise TypeError(f"{name} must be a number in [0, 1]; got {rate!r}. Give a chance such as 0.5.")
    if not 0 <= rate <= 1:
        raise ValueError(f"{name} must lie in [0, 1]; got {rate}. Give a chance such as 0.5.")


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        written = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be {written}; got {value!r}. Give one of these.")
