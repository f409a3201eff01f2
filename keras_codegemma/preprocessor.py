"""Text, infill or chat to ids and masks, and back: between the user's words and the model's arrays.

Prompts are lists of ids (`encode_*`), batches for training are NumPy arrays (`__call__`). Where a prompt is
cut: `prompt_budget.py`. What counts as an example: `training_examples.py`. How an example is written and what
of it is learned: `example_encoder.py`. The order of sentinels: `fim.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any, Self

import numpy as np

from keras_codegemma import chat, fim
from keras_codegemma.chat import Message
from keras_codegemma.example_encoder import Encoded, ExampleEncoder, ExampleOptions
from keras_codegemma.fim import ContextFile
from keras_codegemma.prompt_budget import Trimmed, fit_infill
from keras_codegemma.tokenizer import CodeGemmaTokenizer
from keras_codegemma.training_examples import Conversation, Example, read_batch, read_example

__all__ = ["CodeGemmaCausalLMPreprocessor", "InfillPrompt", "Trimmed"]

_OPTIONS = tuple(field.name for field in fields(ExampleOptions))

# Fields that Keras and KerasHub write for themselves into preprocessor.json.
_KERAS_KEYS = {"name", "trainable", "dtype", "tokenizer", "config_file"}


@dataclass(frozen=True, kw_only=True)
class InfillPrompt:
    """A FIM prompt that fits its budget, and what was cut for that."""

    token_ids: list[int]
    trimmed: Trimmed
    layout: str


class CodeGemmaCausalLMPreprocessor:
    """Prepares prompts and training batches, with KerasHub's names and a few more.

    What a training example teaches:

    - A text is learned whole and ends with <eos>. With chance `fim_rate` it becomes an infilling example
      first: a random span of characters is its middle, and it ends with <|file_separator|>; all tokens still
      count. (A text that fits the length only without sentinels stays as it is.)
    - A (prefix, suffix, middle) triple ends with <|file_separator|>, as the published models end their
      middles. `loss_on` says which tokens count.
    - A chat is written in the turn template; the model's answers and their <end_of_turn> count.

    Infilling examples are in SPM order with chance `spm_rate`, else in PSM order. All chance comes from
    `seed`, the epoch and the position of the example, so the order of reading does not matter.

    Args:
        tokenizer: text to ids.
        sequence_length: T, the length of training batches and of `generate_preprocess`.
        add_start_token: begin training examples with <bos>. Prompts always begin with it.
        add_end_token: end training examples with <eos> or <|file_separator|>.
        fim_rate: chance in [0, 1] that a text becomes an infilling example. CodeGemma had 0.8 to 0.9.
        spm_rate: chance in [0, 1] of SPM order. CodeGemma had 0.5 (model card).
        fim_layout: "psm" or "spm", for prompts and scoring where the caller names none.
        loss_on: of triples: "middle" counts the middle and its end alone, "all" every token.
        truncate: None refuses training examples that are too long. "right" cuts texts (before they become
            infilling examples) and chats at their end; of triples it trims the far ends of prefix and suffix
            as for a prompt, never the middle.
        seed: of all chance here.

    Attributes:
        options: all but the first two arguments, frozen; `replace` makes a preprocessor with others.

    Raises:
        TypeError: a tokenizer of another class, or a length, rate or seed that is no number.
        ValueError: an option outside its range.
    """

    # Slots, so that assigning to an option fails instead of doing nothing.
    __slots__ = ("__weakref__", "_encoder", "options", "sequence_length", "tokenizer")

    def __init__(
        self,
        tokenizer: CodeGemmaTokenizer,
        *,
        sequence_length: int = 1024,
        add_start_token: bool = True,
        add_end_token: bool = True,
        fim_rate: float = 0.0,
        spm_rate: float = 0.5,
        fim_layout: str = "psm",
        loss_on: str = "middle",
        truncate: str | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(tokenizer, CodeGemmaTokenizer):
            raise TypeError(
                f"A preprocessor must be given a CodeGemmaTokenizer; got {type(tokenizer).__name__}. Make "
                "one with CodeGemmaTokenizer(path)."
            )
        self.tokenizer = tokenizer
        self.sequence_length = _check_size("sequence_length", sequence_length)
        self.options = ExampleOptions(
            add_start_token=add_start_token,
            add_end_token=add_end_token,
            fim_rate=fim_rate,
            spm_rate=spm_rate,
            fim_layout=fim_layout,
            loss_on=loss_on,
            truncate=truncate,
            seed=seed,
        )
        self._encoder = ExampleEncoder(tokenizer, self.options)

    # Prompts.

    def encode_prompt(self, text: str, *, parse_special: bool = False) -> list[int]:
        """<bos> and the ids of a text.

        Args:
            text: what the model continues.
            parse_special: read spelled control pieces as commands; a <bos> at the start is then not doubled.

        Raises:
            TypeError, ValueError: as `CodeGemmaTokenizer.encode`.
        """
        ids = self.tokenizer.encode(text, parse_special=parse_special)
        start = self.tokenizer.start_token_id
        return ids if ids[:1] == [start] else [start, *ids]

    def encode_infill(
        self,
        prefix: str,
        suffix: str,
        *,
        max_prompt_tokens: int,
        path: str | None = None,
        context_files: Iterable[ContextFile] = (),
        layout: str | None = None,
    ) -> InfillPrompt:
        """A FIM prompt of at most this many tokens; far ends are cut for that (`prompt_budget.py`), and
        reported.

        Args:
            prefix, suffix: the text before and after the cursor.
            max_prompt_tokens: for the whole prompt, <bos> included.
            path: of the file in its repository.
            context_files: (path, text) of other files, the nearest one last.
            layout: "psm", "spm", or None for `fim_layout`.

        Raises:
            TypeError, ValueError: as `fim.format`; also where the budget cannot hold the text next to the
                cursor.
        """
        layout = self.options.fim_layout if layout is None else fim.check_layout(layout)
        fitted = fit_infill(
            self.tokenizer,
            prefix=prefix,
            suffix=suffix,
            path=path,
            context_files=context_files,
            max_prompt_tokens=_check_size("max_prompt_tokens", max_prompt_tokens),
        )
        parts = fim.format(fitted.prefix, fitted.suffix, layout=layout, path=path, context_files=fitted.context_files)
        token_ids = [self.tokenizer.start_token_id, *self.tokenizer.encode_parts(parts)]
        assert len(token_ids) <= max_prompt_tokens, "a fitted prompt is too long"
        return InfillPrompt(token_ids=token_ids, trimmed=fitted.trimmed, layout=layout)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """<bos> and a chat up to the opening of the model's turn; arguments and errors as in
        `chat.format`.
        """
        return [self.tokenizer.start_token_id, *self.tokenizer.encode_parts(chat.format(messages))]

    # Training.

    def encode_example(self, x: Any, *, rng: Random, max_tokens: int | None = None) -> Encoded:
        """Ids and loss weights (0 or 1, of predicting the id at the same place) of one training example.

        Args:
            x: a text, a (prefix, suffix, middle) triple, or a list of messages.
            rng: decides about infilling and its layout.
            max_tokens: where `truncate` allows it, the example is cut to this many; otherwise it may be
                longer.

        Raises:
            TypeError, ValueError: no example, or one that the tokenizer or `chat.format_training` refuses.
        """
        return self._encoder.encode(read_example(x), rng=rng, max_tokens=max_tokens)

    def encode_for_scoring(self, x: Any) -> tuple[list[int], int]:
        """The ids of an example as in training, nothing left to chance, and the index of the first one to
        score.

        A text is scored after its first id; a triple, in the order of `fim_layout`, from its middle on.

        Args:
            x: a text or a (prefix, suffix, middle) triple.

        Raises:
            TypeError: something else.
        """
        example = read_example(x)
        if isinstance(example, Conversation):
            raise TypeError(
                f"What is scored must be a text or a (prefix, suffix, middle) triple; got a chat: {x!r:.80}. "
                "Score the text of an answer."
            )
        return self._encoder.encode_for_scoring(example)

    def __call__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        sequence_length: int | None = None,
        epoch: int = 0,
        first_index: int = 0,
        indices: Sequence[int] | None = None,
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """A batch for `fit`.

        Args:
            x: one example or several (see `training_examples.read_batch`): B of them.
            y: must be None: labels are the next ids.
            sample_weight: [B], multiplied with the weights of each example's tokens.
            sequence_length: T, instead of the preprocessor's own. An example may have T + 1 tokens, as in
                KerasHub, since the last one is only a label.
            epoch: chance differs from epoch to epoch.
            first_index: position of the first example in the data set.
            indices: positions of all examples, where they do not follow one another.

        Returns:
            Features `token_ids` int32 [B, T] and `padding_mask` bool [B, T]; labels int32 [B, T], the next
            ids; weights float32 [B, T], 0 for padding and for what is not to be learned.

        Raises:
            TypeError: not an example.
            ValueError: an example that is too long (where `truncate` does not help) or has nothing to learn,
                or labels, weights or indices that do not fit.
        """
        if y is not None:
            raise ValueError(
                "Labels must be left out, because they are the next ids of x; got y as well. Pass x alone, "
                "or arrays of token ids to fit."
            )
        length = self._length(sequence_length)
        examples = read_batch(x)
        positions = range(first_index, first_index + len(examples)) if indices is None else indices
        _check_count("indices", positions, len(examples))
        rows = [
            self._encode_row(example, position=int(position), epoch=epoch, max_tokens=length + 1)
            for example, position in zip(examples, positions, strict=True)
        ]
        token_ids, mask = self._padded([ids for ids, _ in rows], length + 1)
        weights = np.zeros(mask.shape, np.float32)
        weights[mask] = [weight for _, row in rows for weight in row]
        if sample_weight is not None:
            _check_count("sample_weight", sample_weight, len(examples))
            weights *= np.asarray(sample_weight, np.float32).reshape(-1, 1)
        features = {"token_ids": token_ids[:, :-1], "padding_mask": mask[:, :-1]}
        return features, token_ids[:, 1:], weights[:, 1:]

    def _encode_row(self, example: Example, *, position: int, epoch: int, max_tokens: int) -> Encoded:
        rng = Random(f"{self.options.seed}/{epoch}/{position}")
        ids, weights = self._encoder.encode(example, rng=rng, max_tokens=max_tokens)
        if len(ids) > max_tokens:
            raise ValueError(
                f"A training example may have at most sequence_length + 1 = {max_tokens} tokens; got "
                f"{len(ids)} in example {position}. Split it, give sequence_length={len(ids) - 1}, or cut "
                "examples with "
                'truncate="right" (which keeps middles whole).'
            )
        if not any(weights):
            raise ValueError(
                f"A training example must have a token to learn; got none in example {position}, of "
                f"{len(ids)} tokens. Leave it out, or, if it was cut, give a greater sequence_length."
            )
        return ids, weights

    # KerasHub's names for prompts and answers.

    def generate_preprocess(
        self, x: str | Sequence[str], *, sequence_length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Prompts as arrays, padded on the right.

        Args:
            x: a text, or B texts.
            sequence_length: T, instead of the preprocessor's own.

        Returns:
            `token_ids` int32 and `padding_mask` bool, [T] for a text and [B, T] for several.

        Raises:
            TypeError: not text.
            ValueError: a prompt of more than T tokens.
        """
        length = self._length(sequence_length)
        rows = [self.encode_prompt(text) for text in ([x] if isinstance(x, str) else x)]
        for index, ids in enumerate(rows):
            if len(ids) > length:
                raise ValueError(
                    f"A prompt may have at most sequence_length={length} tokens; got {len(ids)} in prompt "
                    f"{index}. Shorten it, or give a greater sequence_length."
                )
        token_ids, mask = self._padded(rows, length)
        if isinstance(x, str):
            token_ids, mask = token_ids[0], mask[0]
        return {"token_ids": token_ids, "padding_mask": mask}

    def generate_postprocess(self, x: Any) -> str | list[str]:
        """Arrays to text, without padding and control pieces.

        Args:
            x: integer ids [T] or [B, T], or a mapping with "token_ids" and "padding_mask" of that shape.

        Returns:
            A text for [T], a list of texts for [B, T].

        Raises:
            TypeError, ValueError: as `CodeGemmaTokenizer.decode`.
        """
        if not isinstance(x, Mapping):
            return self.tokenizer.detokenize(x)
        token_ids = np.asarray(x["token_ids"])
        mask = np.asarray(x["padding_mask"]).astype(bool)
        if token_ids.ndim == 1:
            return self.tokenizer.decode(token_ids[mask])
        return [self.tokenizer.decode(row[kept]) for row, kept in zip(token_ids, mask, strict=True)]

    # Configuration.

    def get_config(self) -> dict[str, Any]:
        """All arguments but the tokenizer, which is saved as a file of its own."""
        return {"sequence_length": self.sequence_length, **self.options.to_dict()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, tokenizer: CodeGemmaTokenizer) -> Self:
        """Makes a preprocessor from the "config" of a preprocessor.json, ours or KerasHub's.

        Args:
            config: see `get_config`; Keras's own fields are accepted and not used.
            tokenizer: text to ids.

        Raises:
            ValueError: an unknown field, or an option outside its range.
        """
        known = {"sequence_length", *_OPTIONS}
        unknown = sorted(set(config) - known - _KERAS_KEYS)
        if unknown:
            raise ValueError(
                f"A preprocessor config must have no fields but {sorted(known)} and Keras's own; got "
                f"{unknown}. Remove or rename them."
            )
        return cls(tokenizer, **{name: value for name, value in config.items() if name in known})

    def replace(self, **options: Any) -> Self:
        """A preprocessor with the same tokenizer and other options:
        `lm.preprocessor.replace(fim_rate=0.5)`.
        """
        return type(self).from_config({**self.get_config(), **options}, tokenizer=self.tokenizer)

    def _length(self, sequence_length: int | None) -> int:
        return _check_size("sequence_length", self.sequence_length if sequence_length is None else sequence_length)

    def _padded(self, rows: Sequence[Sequence[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids int32 [B, length], padded on the right, and where they are real, bool [B, length]."""
        mask = np.arange(length) < np.array([len(row) for row in rows]).reshape(-1, 1)  # B length
        token_ids = np.full(mask.shape, self.tokenizer.pad_token_id, np.int32)
        token_ids[mask] = [i for row in rows for i in row]
        return token_ids, mask


def _check_size(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer; got {value!r}. Give a number of tokens.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}. Give a number of tokens.")
    return int(value)


def _check_count(name: str, values: Any, num_examples: int) -> None:
    shape = np.shape(values)
    if shape != (num_examples,):
        raise ValueError(
            f"{name} must hold one number for each of the {num_examples} examples; got shape {shape}. Give one each."
        )
