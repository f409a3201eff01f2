"""Beam search over the same prefill and forward pass as `generation`: ids in, the best row's ids out.

Each prompt has W beams, which stand next to each other in the batch: row b W + w of the cache is beam w of prompt b.
A finished beam keeps its score and its place among the W, so the search ends when all have finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from keras_codegemma.axes import Array, Bool, Float, Int
from keras_codegemma.cache import KVCache
from keras_codegemma.decode_state import RowLimits, stop_table
from keras_codegemma.generation import GeneratedRow, GenerationOptions, Generator, capacity_for


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class BeamState:
    """What the search carries; `W` beams of each of `B` prompts.

    Attributes:
        cache: B W rows.
        tokens: int32 [B, W, S], new ids, a stop id among them.
        counts: int32 [B, W], ids in `tokens`.
        logprobs: float32 [B, W, S], of the ids in `tokens`.
        scores: float32 [B, W], their sums.
        stopped: bool [B, W].
        finished: bool [B, W].
    """

    cache: KVCache
    tokens: Int[Array, "B W S"]
    counts: Int[Array, "B W"]
    logprobs: Float[Array, "B W S"]
    scores: Float[Array, "B W"]
    stopped: Bool[Array, "B W"]
    finished: Bool[Array, "B W"]


class BeamSearch:
    """The compiled programs of beam search with one width, on top of a `Generator`'s prefill."""

    def __init__(self, generator: Generator, num_beams: int):
        self._generator = generator
        self._width = num_beams
        self._start = jax.jit(self._start_program)
        self._search = jax.jit(self._search_program, donate_argnames=("state",))

    def run(self, prompts: Sequence[Sequence[int]], options: GenerationOptions) -> list[GeneratedRow]:
        """The beam of highest score for each prompt; arguments and errors as in `Generator.begin`.

        A beam's score is the sum of its log-probabilities, that of the stop id included, without length penalty.
        """
        generator = self._generator
        generator.check(prompts, options)
        needed = max(len(prompt) + budget for prompt, budget in zip(prompts, options.budgets, strict=True))
        cache, last_hidden = generator.run_prefill(list(map(list, prompts)), capacity=capacity_for(needed))
        lengths = jnp.asarray([len(prompt) for prompt in prompts], jnp.int32)
        limits = RowLimits(
            keys=jax.random.split(jax.random.key(0), len(prompts)),  # nothing is drawn
            prompt_lengths=lengths,
            budgets=jnp.asarray(options.budgets, jnp.int32),
            stop_ids=stop_table(options.stop_ids),
        )
        state = self._start(generator.weights(), cache, last_hidden, lengths, limits)
        state = self._search(generator.weights(), state, limits)
        return _best_rows(state)

    def _start_program(self, weights, cache, last_hidden, lengths, limits):
        batch, width = lengths.shape[0], self._width
        rows = jnp.repeat(jnp.arange(batch), width)
        state = BeamState(
            cache=replace(cache, lengths=lengths).take_rows(rows),
            tokens=jnp.zeros((batch, width, cache.capacity), jnp.int32),
            logprobs=jnp.zeros((batch, width, cache.capacity), jnp.float32),
            counts=jnp.zeros((batch, width), jnp.int32),
            # All beams are equal at first: only the first may be continued, or all would stay equal.
            scores=jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf) * jnp.ones((batch, 1)),
            stopped=jnp.zeros((batch, width), bool),
            finished=jnp.zeros((batch, width), bool),
        )
        logits = self._generator.logits(weights, last_hidden)  # B V
        return _extend(state, jnp.repeat(logits[:, None], width, axis=1), limits)

    def _search_program(self, weights, state, limits):
        def unfinished(state):
            return ~jnp.all(state.finished)

        def one_step(state):
            batch, width, _ = state.tokens.shape
            last = jnp.take_along_axis(state.tokens, state.counts[..., None] - 1, axis=2).reshape(-1, 1)
            lengths = state.cache.lengths
            new_lengths = jnp.where(state.finished.reshape(-1), lengths, lengths + 1)
            hidden, cache = self._generator.forward(weights, last, lengths[:, None], state.cache, new_lengths)
            logits = self._generator.logits(weights, hidden[:, 0]).reshape(batch, width, -1)
            return _extend(replace(state, cache=cache), logits, limits)

        return jax.lax.while_loop(unfinished, one_step, state)


def _extend(state: BeamState, logits: Float[Array, "B W V"], limits: RowLimits) -> BeamState:
    """The W best of all one-token continuations, finished beams standing as they are."""
    batch, width, vocabulary = logits.shape
    steps = jax.nn.log_softmax(logits, axis=-1)
    # A finished beam has one continuation, itself, at no cost (written as id 0, and never counted).
    itself = jnp.where(jnp.arange(vocabulary) == 0, 0.0, -jnp.inf)
    steps = jnp.where(state.finished[..., None], itself, steps)
    candidates = (state.scores[..., None] + steps).reshape(batch, width * vocabulary)
    scores, chosen = jax.lax.top_k(candidates, width)  # B W
    parents, ids = chosen // vocabulary, (chosen % vocabulary).astype(jnp.int32)

    rows = (jnp.arange(batch)[:, None] * width + parents).reshape(-1)
    counts = jnp.take_along_axis(state.counts, parents, axis=1)
    finished = jnp.take_along_axis(state.finished, parents, axis=1)
    stopped = jnp.take_along_axis(state.stopped, parents, axis=1)
    tokens = jnp.take_along_axis(state.tokens, parents[..., None], axis=1)
    logprobs = jnp.take_along_axis(state.logprobs, parents[..., None], axis=1)
    added = scores - jnp.take_along_axis(state.scores, parents, axis=1)

    active = ~finished
    here = (jnp.arange(tokens.shape[2]) == counts[..., None]) & active[..., None]
    tokens = jnp.where(here, ids[..., None], tokens)
    logprobs = jnp.where(here, added[..., None], logprobs)
    counts = counts + active
    stops = active & jnp.any(ids[..., None] == limits.stop_ids, axis=-1)
    return BeamState(
        cache=state.cache.take_rows(rows),
        tokens=tokens,
        logprobs=logprobs,
        counts=counts,
        scores=scores,
        stopped=stopped | stops,
        finished=finished | stops | (counts >= limits.budgets[:, None]),
    )


def _best_rows(state: BeamState) -> list[GeneratedRow]:
    # top_k sorts, so beam 0 is the best.
    tokens, logprobs = np.asarray(state.tokens[:, 0]), np.asarray(state.logprobs[:, 0])
    counts, stopped = np.asarray(state.counts[:, 0]), np.asarray(state.stopped[:, 0])
    return [
        GeneratedRow(
            token_ids=tokens[row, : counts[row] - stopped[row]].tolist(),
            logprobs=logprobs[row, : counts[row] - stopped[row]].tolist(),
            finish_reason="stop" if stopped[row] else "length",
        )
        for row in range(len(counts))
    ]
