"""Prompt ids in, new ids out: prefill, decode loop and what is compiled for which shapes. Knows no text.

    prompts ── chunks of 16, 64 or 256 ids ──> prefill ─┐          compiled once per (batch, capacity, chunk)
                                                        ├─> start   compiled once per (batch, capacity, sampler kind)
                                                        └─> decode  likewise; a loop on the device over any number
                                                                    of steps, until every row has stopped

Batches are padded to a power of two rows, caches to a power of two slots and a few for drafts. Prompt length, budget,
stop ids, temperature and seed are data: they compile nothing. A single row checks a few drafted tokens in each pass.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_codegemma.axes import Array, Float
from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.cache import KVCache, storage_dtype
from keras_codegemma.decode_state import STOP_SLOTS, DecodeState, RowLimits, accept, draft, stop_table, stream_keys
from keras_codegemma.sampling import BeamSampler, Sampler, StepSampler

SMALLEST_CAPACITY = 1024
# A single row is bound by reading the weights, so a few drafted tokens are checked in the same pass for almost nothing.
# On two cores, four rows instead of one cost 15% more in float32 and nothing in bfloat16; eight rows cost half as much
# again, which drafts must earn, so several rows get none.
DRAFT_TOKENS = 3
# Slots beyond the power of two, for drafts behind the last token. On an accelerator as many as the cache kernel reads
# at once, since it takes only capacities that are a multiple.
CAPACITY_SLACK = {"cpu": 16, "accelerator": 256}
PREFILL_CHUNKS = {"cpu": (16, 64, 256), "accelerator": (16, 64, 1024)}
SEGMENT_SECONDS = 0.03  # aimed at between two looks at a running decode: a screen is redrawn no faster


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """What one call asks for, besides its prompts.

    Attributes:
        budgets: the most new tokens of each row.
        stop_ids: ids that end a row; at most `STOP_SLOTS`.
        sampler: chooses each next id.
        seed: of the random streams; row r draws from stream (seed, first_stream + r) alone, so batch-mates change
            nothing.
        first_stream: the stream of row 0.
    """

    budgets: Sequence[int]
    stop_ids: Sequence[int]
    sampler: Sampler
    seed: int = 0
    first_stream: int = 0


@dataclass(frozen=True, kw_only=True)
class GeneratedRow:
    """The result of one prompt.

    Attributes:
        token_ids: the new ids, without prompt and stop id.
        logprobs: of each, the log-probability under the model in nats, whatever the sampler did.
        finish_reason: "stop" (a stop id came) or "length" (the budget is used up).
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str


class Generator:
    """The compiled programs of one backbone, and the cache memory they reuse.

    Not safe for use by several threads at once.

    Attributes:
        backbone: the decoder.
        cache_dtype: one of `cache.DTYPES`, from the next call on; None for `cache.storage_dtype`.
    """

    def __init__(self, backbone: CodeGemmaBackbone):
        self.backbone = backbone
        self.cache_dtype: str | None = None
        self._chunks = PREFILL_CHUNKS[_machine()]
        self._prefill = jax.jit(self._prefill_program, donate_argnames=("cache", "last_hidden"))
        self._start = jax.jit(self._start_program, donate_argnames=("cache",))
        self._decode = jax.jit(self._decode_program, donate_argnames=("state",))
        self._idle_cache: KVCache | None = None

    def compilations(self) -> int:
        """Programs compiled so far, for tests and benchmarks."""
        return sum(
            program._cache_size()  # pyright: ignore[reportAttributeAccessIssue] (JAX has no public name for it)
            for program in (self._prefill, self._start, self._decode)
        )

    def begin(self, prompts: Sequence[Sequence[int]], options: GenerationOptions) -> "Decoding":
        """Prefills the prompts and samples the first id of each row.

        Args:
            prompts: one list of ids per row, none empty.
            options: budgets of at least 1.

        Raises:
            ValueError: an empty prompt, an id outside the vocabulary, a budget below 1 or too many stop ids.
        """
        self.check(prompts, options)
        sampler = options.sampler
        if isinstance(sampler, BeamSampler):
            raise TypeError(
                "Generator.begin takes samplers that choose one token at a time; got BeamSampler. Use BeamSearch."
            )
        rows = self.padded_rows(len(prompts))
        padding = rows - len(prompts)
        # A padding row repeats the shortest work there is: one token in, one token out.
        padded = [*map(list, prompts), *([prompts[0][0]] for _ in range(padding))]
        budgets = [*options.budgets, *([1] * padding)]
        needed = max(len(prompt) + budget for prompt, budget in zip(padded, budgets, strict=True))
        cache, last_hidden = self.run_prefill(padded, capacity=capacity_for(needed))
        lengths = np.asarray([len(prompt) for prompt in padded], np.int32)
        limits = RowLimits(
            keys=stream_keys(np.uint32(options.seed), options.first_stream + np.arange(rows)),
            prompt_lengths=jnp.asarray(lengths),
            budgets=jnp.asarray(budgets, jnp.int32),
            stop_ids=stop_table(options.stop_ids),
        )
        tokens = np.zeros((rows, cache.capacity), np.int32)
        for row, prompt in enumerate(padded):
            tokens[row, : len(prompt)] = prompt
        state = self._start(self.weights(), cache, last_hidden, tokens, limits, sampler)
        return Decoding(self, state, limits, sampler, real_rows=len(prompts))

    def padded_rows(self, rows: int) -> int:
        """How many rows are run for so many prompts: a power of two and, on a mesh, a multiple of the row's parts."""
        rows = 1 << (rows - 1).bit_length()
        if (partition := self.backbone.partition) is not None:
            parts = partition.size(*partition.batch)
            rows = -(-rows // parts) * parts
        return rows

    def weights(self) -> list[Array]:
        """The backbone's arrays, in the order of `backbone.variables`: the first argument of every program."""
        return [variable.value for variable in self.backbone.variables]

    def release(self, cache: KVCache) -> None:
        """Takes back a cache that is no longer read, for the next call of the same shape."""
        # A step that was interrupted has given the arrays to XLA and has brought none back.
        self._idle_cache = None if cache.lengths.is_deleted() else cache

    def check(self, prompts: Sequence[Sequence[int]], options: GenerationOptions) -> None:
        """Raises what `begin` documents."""
        size = self.backbone.config.vocabulary_size
        for index, prompt in enumerate(prompts):
            if not len(prompt):
                raise ValueError(
                    f"A prompt must hold at least one id; prompt {index} is empty. Begin it with the <bos> id."
                )
            if min(prompt) < 0 or max(prompt) >= size:
                bad = next(i for i in prompt if not 0 <= i < size)
                raise ValueError(
                    f"Prompt ids must lie in [0, {size}); prompt {index} holds {bad}. "
                    "Use the tokenizer that belongs to this model."
                )
        if len(options.budgets) != len(prompts) or min(options.budgets, default=0) < 1:
            raise ValueError(
                f"Each of the {len(prompts)} prompts needs a budget of at least 1 new token; "
                f"got {list(options.budgets)}. Shorten the prompt or raise the length limit."
            )
        if len(options.stop_ids) > STOP_SLOTS:
            raise ValueError(
                f"At most {STOP_SLOTS} stop ids can be given; got {len(options.stop_ids)}. Stop at text instead."
            )

    def run_prefill(self, prompts: list[list[int]], *, capacity: int) -> tuple[KVCache, Array]:
        """A cache of this capacity that holds the prompts, and the hidden state [B, D] of each one's last token.

        The cache's lengths are those of the padded chunks: whoever decodes sets them to the prompts' own.
        """
        plan = chunk_plan(max(map(len, prompts)), self._chunks)
        ids = np.zeros((len(prompts), sum(plan)), np.int32)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = prompt
        lengths = np.asarray([len(prompt) for prompt in prompts], np.int32)
        cache = self._take_cache(len(prompts), capacity)
        last_hidden = jnp.zeros((len(prompts), self.backbone.config.hidden_dim), self.backbone.compute_dtype)
        offset, weights = 0, self.weights()
        for size in plan:
            chunk = ids[:, offset : offset + size]
            cache, last_hidden = self._prefill(weights, cache, last_hidden, chunk, np.int32(offset), lengths)
            offset += size
        return cache, last_hidden

    def _take_cache(self, batch_size: int, capacity: int) -> KVCache:
        cache, self._idle_cache = self._idle_cache, None
        dtype = self.cache_dtype or storage_dtype(self.backbone.compute_dtype)
        if cache is not None:
            key = cache.keys[0]
            # What an earlier call left in it lies beyond the new lengths, so it is never read.
            if key.shape[:2] == (batch_size, capacity) and key.dtype == dtype:
                return cache
        return KVCache.create(
            self.backbone.config,
            batch_size=batch_size,
            capacity=capacity,
            dtype=dtype,
            partition=self.backbone.partition,
        )

    def _scope(self, weights: list[Array]) -> keras.StatelessScope:
        return keras.StatelessScope(state_mapping=list(zip(self.backbone.variables, weights, strict=True)))

    def _prefill_program(self, weights, cache, last_hidden, token_ids, offset, lengths):
        """One chunk of T prompt ids a row, at the same offset in every row; some may be padding.

        `last_hidden` [B, D] takes over the hidden state of each row's last prompt token, once that has come.
        """
        batch, size = token_ids.shape
        cache = replace(cache, lengths=jnp.full((batch,), offset, jnp.int32))
        positions = jnp.broadcast_to(offset + jnp.arange(size, dtype=jnp.int32), (batch, size))
        hidden, cache = self.forward(weights, token_ids, positions, cache, cache.lengths + size)
        last = lengths - 1 - offset  # B
        picked = jnp.take_along_axis(hidden, jnp.clip(last, 0, size - 1)[:, None, None], axis=1)[:, 0]
        here = (last >= 0) & (last < size)
        return cache, jnp.where(here[:, None], picked, last_hidden)

    def _start_program(self, weights, cache, last_hidden, tokens, limits, sampler):
        batch = tokens.shape[0]
        state = DecodeState(
            cache=replace(cache, lengths=limits.prompt_lengths),
            tokens=tokens,
            counts=jnp.zeros((batch,), jnp.int32),
            logprobs=jnp.zeros((batch, cache.capacity), jnp.float32),
            stopped=jnp.zeros((batch,), bool),
            finished=jnp.zeros((batch,), bool),
        )
        logits = self.logits(weights, last_hidden)
        return self._readable(accept(state, logits, limits, sampler, active=jnp.ones((batch,), bool))[0])

    def _readable(self, state: DecodeState) -> DecodeState:
        """The state with everything but the cache whole on every device."""
        partition = self.backbone.partition
        if partition is None:
            return state
        names = ("tokens", "counts", "logprobs", "stopped", "finished")
        return replace(state, **{name: partition.whole(getattr(state, name)) for name in names})

    def _decode_program(self, weights, state, limits, sampler, steps, finish):
        """Up to `steps` more passes; rows in `finish` [B] get no more tokens."""

        def unfinished(carry):
            step, state = carry
            return (step < steps) & ~jnp.all(state.finished)

        def one_step(carry):
            step, state = carry
            return step + 1, self._check_drafts(weights, state, limits, sampler)

        state = replace(state, finished=state.finished | finish)
        return self._readable(jax.lax.while_loop(unfinished, one_step, (jnp.int32(0), state))[1])

    def _check_drafts(self, weights, state, limits, sampler):
        """One pass over the last token and its drafts: at least one new id a row, and one more per draft that held.

        An id is sampled from each position's logits with the key of its own place. While it equals the draft, the
        next position's logits are what they would have been without drafts, so neither the distribution nor, for a
        given seed, the ids depend on drafting.
        """
        batch = state.counts.shape[0]
        lengths, before = state.cache.lengths, state.counts
        ends = limits.prompt_lengths + before
        last = jnp.take_along_axis(state.tokens, ends[:, None] - 1, axis=1)  # B 1
        drafts = draft(state.tokens, ends, size=DRAFT_TOKENS if batch == 1 else 0)
        token_ids = jnp.concatenate([last, drafts], axis=1)  # B 1+drafts
        positions = lengths[:, None] + jnp.arange(token_ids.shape[1], dtype=jnp.int32)
        hidden, cache = self.forward(weights, token_ids, positions, state.cache, lengths)
        logits = self.logits_at(weights, hidden)  # B 1+drafts V
        active = jnp.ones((batch,), bool)
        for place in range(token_ids.shape[1]):
            state, ids = accept(state, logits[:, place], limits, sampler, active=active)
            if place < drafts.shape[1]:
                active = active & (ids == drafts[:, place])
        # With each new id the one before it has come into the cache; what rejected drafts left there is overwritten.
        return replace(state, cache=replace(cache, lengths=lengths + state.counts - before))

    def forward(self, weights: list[Array], token_ids, positions, cache: KVCache, new_lengths):
        """`CodeGemmaBackbone.run_decoder` with the given weights, inside a compiled program."""
        with self._scope(weights):
            return self.backbone.run_decoder(token_ids, positions, cache, new_lengths)

    def logits(self, weights: list[Array], hidden: Float[Array, "B D"]) -> Float[Array, "B V"]:
        """Float32 logits of one hidden state a row, inside a compiled program."""
        return self.logits_at(weights, hidden[:, None])[:, 0]

    def logits_at(self, weights: list[Array], hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Float32 logits of several hidden states a row, inside a compiled program."""
        with self._scope(weights):
            return self.backbone.token_embedding(hidden, reverse=True)


class Decoding:
    """One running call: rows that grow by `advance` until all are finished."""

    def __init__(
        self,
        generator: Generator,
        state: DecodeState,
        limits: RowLimits,
        sampler: StepSampler,
        *,
        real_rows: int,
    ):
        self._generator = generator
        self._state = state
        self._limits = limits
        self._sampler = sampler
        self._real_rows = real_rows
        self._finish = np.zeros(state.finished.shape, bool)
        self._finish[real_rows:] = True
        self._seconds_per_step: float | None = None

    @property
    def finished(self) -> list[bool]:
        """Of each row, whether it gets no more tokens."""
        return (np.asarray(self._state.finished) | self._finish)[: self._real_rows].tolist()

    def finish(self, row: int) -> None:
        """Ends one row early, for instance because its text is complete."""
        self._finish[row] = True

    def advance(self, steps: int | None = None) -> None:
        """Decodes `steps` more passes, each one token a row or, with drafts that held, several; None to the end."""
        count = np.int32(np.iinfo(np.int32).max if steps is None else steps)
        self._state = self._generator._decode(
            # A copy: the program may still be reading it when `finish` writes.
            *(self._generator.weights(), self._state, self._limits, self._sampler, count, self._finish.copy())
        )

    def advance_segment(self) -> None:
        """Decodes as many passes as take about `SEGMENT_SECONDS`, at least one and at most 16."""
        known = self._seconds_per_step
        steps = 1 if known is None else int(np.clip(SEGMENT_SECONDS / known, 1, 16))
        started = time.perf_counter()
        self.advance(steps)
        jax.block_until_ready(self._state.counts)
        self._seconds_per_step = (time.perf_counter() - started) / steps

    def rows(self) -> list[GeneratedRow]:
        """What has been generated so far."""
        state = self._state
        counts, stopped = np.asarray(state.counts), np.asarray(state.stopped)
        tokens, logprobs = np.asarray(state.tokens), np.asarray(state.logprobs)
        starts = np.asarray(self._limits.prompt_lengths)
        return [
            GeneratedRow(
                token_ids=tokens[row, starts[row] : starts[row] + counts[row] - stopped[row]].tolist(),
                logprobs=logprobs[row, : counts[row] - stopped[row]].tolist(),
                finish_reason="stop" if stopped[row] else "length",
            )
            for row in range(self._real_rows)
        ]

    def close(self) -> None:
        """Gives the cache memory back for the next call. The rows can no longer grow."""
        self._generator.release(self._state.cache)


def capacity_for(tokens: int) -> int:
    """Cache slots of a row that must hold this many tokens.

    A power of two, so that few programs are compiled, and `CAPACITY_SLACK` for drafts behind the last token.
    """
    return max(SMALLEST_CAPACITY, 1 << (tokens - 1).bit_length()) + CAPACITY_SLACK[_machine()]


def _machine() -> str:
    return "cpu" if jax.default_backend() == "cpu" else "accelerator"


def chunk_plan(tokens: int, chunks: tuple[int, int, int]) -> list[int]:
    """The chunk sizes in which a prompt of this many tokens is prefilled.

    Up to the smallest size: one such chunk. Up to the largest: chunks of the middle size. Beyond: as many of the
    largest as leave at least one token, then chunks of the middle size. So every prompt of one of these three classes
    runs the same programs, and none is padded by a full middle chunk.
    """
    small, middle, large = chunks
    if tokens <= small:
        return [small]
    full = (tokens - 1) // large
    return [large] * full + [middle] * -(-(tokens - full * large) // middle)
