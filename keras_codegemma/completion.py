"""From running rows of ids to text: stop rules, streaming, and what a caller gets back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from keras_codegemma.beam_search import BeamSearch
from keras_codegemma.generation import Decoding, GeneratedRow, GenerationOptions, Generator
from keras_codegemma.preprocessor import Trimmed
from keras_codegemma.sampling import BeamSampler
from keras_codegemma.stopping import TextStop

LARGEST_BATCH = 32  # rows decoded at once; longer lists are taken in turns


class StreamDecoder(Protocol):
    """Turns ids into text piece by piece, holding back incomplete characters."""

    def push(self, token_ids: Sequence[int], /) -> str: ...

    def finish(self) -> str: ...


class Detokenizer(Protocol):
    """What is needed of a tokenizer here."""

    def decode(self, token_ids: Sequence[int], /) -> str: ...

    def stream_decoder(self) -> StreamDecoder: ...


class IdsOnly:
    """Stands in for a tokenizer where only ids are wanted."""

    def decode(self, token_ids: Sequence[int], /) -> str:
        """No text."""
        return ""

    def stream_decoder(self) -> StreamDecoder:
        """Ids alone are never streamed."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One generated text.

    Attributes:
        text: what to insert at the cursor, or to append to the prompt.
        token_ids: the ids it was decoded from; the last may reach a little further than a text stop.
        logprob: sum of their log-probabilities under the model, in nats.
        finish_reason: "stop" (the model or a text stop ended it) or "length" (the token budget was used up).
        trimmed: characters of the prompt that did not fit.
    """

    text: str
    token_ids: list[int]
    logprob: float
    finish_reason: str
    trimmed: Trimmed = field(default_factory=lambda: Trimmed(prefix=0, suffix=0, context=0))


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One row to complete.

    Attributes:
        token_ids: the whole prompt.
        budget: the most new tokens.
        stop: the text stop rule.
        trimmed: characters left out of it.
    """

    token_ids: list[int]
    budget: int
    stop: TextStop = field(default_factory=TextStop)
    trimmed: Trimmed = field(default_factory=lambda: Trimmed(prefix=0, suffix=0, context=0))


class Completer:
    """Runs prompts through a generator and decodes what comes."""

    def __init__(self, generator: Generator, tokenizer: Detokenizer):
        self._generator = generator
        self._tokenizer = tokenizer
        self._beam_searches: dict[int, BeamSearch] = {}

    def complete(self, prompts: Sequence[Prompt], *, stop_ids: Sequence[int], sampler, seed: int) -> list[Completion]:
        """One completion per prompt, in order.

        Args:
            prompts: any number; `LARGEST_BATCH` at a time run together.
            stop_ids: ids that end a row.
            sampler: a sampler of `keras_codegemma.sampling`.
            seed: of the random streams; prompt i draws from stream (seed, i).
        """
        completions = []
        for start in range(0, len(prompts), LARGEST_BATCH):
            batch = prompts[start : start + LARGEST_BATCH]
            options = _options(batch, stop_ids, sampler, seed, first_stream=start)
            if isinstance(sampler, BeamSampler):
                rows = self._run_beams(batch, options, sampler.num_beams)
            else:
                rows = self._run(batch, options)
            completions += [self._completion(prompt, row) for prompt, row in zip(batch, rows, strict=True)]
        return completions

    def stream(self, prompt: Prompt, *, stop_ids: Sequence[int], sampler, seed: int) -> Iterator[str]:
        """The completion of one prompt in pieces, each as soon as no later token can take it back.

        Joined, the pieces are the text that `complete` returns for the same arguments.

        Raises:
            ValueError: beam search, whose text is not known before its end.
        """
        if isinstance(sampler, BeamSampler):
            raise ValueError(
                "Streaming needs a sampler that settles each token at once; got BeamSampler, which may still change "
                "all of them. Use stream=False, or another sampler."
            )
        return self._pieces(prompt, _options([prompt], stop_ids, sampler, seed, first_stream=0))

    def _pieces(self, prompt: Prompt, options: GenerationOptions) -> Iterator[str]:
        decoding = self._generator.begin([prompt.token_ids], options)
        try:
            decoder, text, pushed, shown = self._tokenizer.stream_decoder(), "", 0, 0
            while True:
                ids = decoding.rows()[0].token_ids
                text += decoder.push(ids[pushed:])
                pushed = len(ids)
                cut = prompt.stop.cut(text)
                if cut.done or decoding.finished[0]:
                    break
                if cut.safe_chars > shown:
                    yield text[shown : cut.safe_chars]
                    shown = cut.safe_chars
                decoding.advance_segment()
            kept = cut.text if cut.done else prompt.stop.cut(text + decoder.finish()).text
            if len(kept) > shown:
                yield kept[shown:]
        finally:
            decoding.close()

    def _run(self, prompts: Sequence[Prompt], options: GenerationOptions) -> list[GeneratedRow]:
        decoding = self._generator.begin([prompt.token_ids for prompt in prompts], options)
        try:
            if all(prompt.stop.stop_at is None for prompt in prompts):
                decoding.advance()
                return decoding.rows()
            while not all(decoding.finished):
                self._finish_complete_rows(decoding, prompts)
                if not all(decoding.finished):
                    decoding.advance_segment()
            return decoding.rows()
        finally:
            decoding.close()

    def _run_beams(self, prompts: Sequence[Prompt], options: GenerationOptions, width: int) -> list[GeneratedRow]:
        if width not in self._beam_searches:
            self._beam_searches[width] = BeamSearch(self._generator, width)
        return self._beam_searches[width].run([prompt.token_ids for prompt in prompts], options)

    def _finish_complete_rows(self, decoding: Decoding, prompts: Sequence[Prompt]) -> None:
        for index, (prompt, row) in enumerate(zip(prompts, decoding.rows(), strict=True)):
            if prompt.stop.cut(self._tokenizer.decode(row.token_ids)).done:
                decoding.finish(index)

    def _completion(self, prompt: Prompt, row: GeneratedRow) -> Completion:
        cut = prompt.stop.cut(self._tokenizer.decode(row.token_ids))
        ids = self._covering_ids(row.token_ids, cut.text) if cut.done else row.token_ids
        return Completion(
            text=cut.text,
            token_ids=ids,
            logprob=sum(row.logprobs[: len(ids)]),
            finish_reason="stop" if cut.done else row.finish_reason,
            trimmed=prompt.trimmed,
        )

    def _covering_ids(self, token_ids: list[int], text: str) -> list[int]:
        """The fewest first ids whose text begins with `text`."""
        low, high = 0, len(token_ids)
        while low < high:
            middle = (low + high) // 2
            if len(self._tokenizer.decode(token_ids[:middle])) >= len(text):
                high = middle
            else:
                low = middle + 1
        return token_ids[:high]


def _options(prompts: Sequence[Prompt], stop_ids, sampler, seed: int, *, first_stream: int) -> GenerationOptions:
    return GenerationOptions(
        budgets=[prompt.budget for prompt in prompts],
        stop_ids=stop_ids,
        sampler=sampler,
        seed=seed,
        first_stream=first_stream,
    )
