"""What a decode loop carries, and how it grows: guesses of the next ids, and the acceptance of sampled ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from keras_codegemma.axes import Array, Bool, Float, Int, UInt
from keras_codegemma.cache import KVCache
from keras_codegemma.sampling import StepSampler

STOP_SLOTS = 8
DRAFT_WINDOW = 2048  # tokens back that are searched


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class DecodeState:
    """All that the decode loop carries.

    Attributes:
        cache: keys and values of everything but the last token of each row.
        tokens: int32 [B, S], the prompt and then the new ids, a stop id among them; slots beyond are undefined.
        counts: int32 [B], new ids in `tokens`.
        logprobs: float32 [B, S], of the new ids, from slot 0.
        stopped: bool [B], a stop id has come.
        finished: bool [B], stopped, or budget used up, or told to finish.
    """

    cache: KVCache
    tokens: Int[Array, "B S"]
    counts: Int[Array, " B"]
    logprobs: Float[Array, "B S"]
    stopped: Bool[Array, " B"]
    finished: Bool[Array, " B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class RowLimits:
    """The constant inputs of a decode loop.

    Attributes:
        keys: [B], one random stream a row.
        prompt_lengths: int32 [B].
        budgets: int32 [B], the most new ids.
        stop_ids: int32 [STOP_SLOTS], padded with -1.
    """

    keys: Array
    prompt_lengths: Int[Array, " B"]
    budgets: Int[Array, " B"]
    stop_ids: Int[Array, " stops"]


def draft(tokens: Int[Array, "B S"], ends: Int[Array, " B"], *, size: int) -> Int[Array, "B drafts"]:
    """Guesses the next ids of each row: what followed its last two ids the last time they stood in it.

    The guess goes on periodically where it reaches the end, so a repetition is continued. Where the two ids never
    stood together before, it is arbitrary. (Saxena, 2023, "Prompt lookup decoding".)

    Args:
        tokens: the rows so far.
        ends: how many ids each row has, at least two.
        size: ids to guess.
    """
    window = min(DRAFT_WINDOW, tokens.shape[1])
    starts = jnp.clip(ends - window, 0, tokens.shape[1] - window)
    recent = jax.vmap(lambda row, start: jax.lax.dynamic_slice_in_dim(row, start, window))(tokens, starts)  # B window
    ends = (ends - starts)[:, None]
    index = jnp.arange(1, window, dtype=jnp.int32)
    last = jnp.take_along_axis(recent, ends - 1, axis=1)
    one_before = jnp.take_along_axis(recent, ends - 2, axis=1)
    found = (recent[:, 1:] == last) & (recent[:, :-1] == one_before) & (index < ends - 1)
    place = jnp.max(jnp.where(found, index, 0), axis=1, keepdims=True)  # of the second id; 0 where there is none
    steps = jnp.arange(size, dtype=jnp.int32) % (ends - 1 - place)
    return jnp.take_along_axis(recent, place + 1 + steps, axis=1)


def accept(
    state: DecodeState,
    logits: Float[Array, "B V"],
    limits: RowLimits,
    sampler: StepSampler,
    *,
    active: Bool[Array, " B"],
) -> tuple[DecodeState, Int[Array, " B"]]:
    """Samples the next id of every active, unfinished row and notes it; other rows stay as they are.

    Returns:
        The state, and the sampled ids of all rows.
    """
    keys = jax.vmap(jax.random.fold_in)(limits.keys, state.counts)
    ids = sampler(logits, keys)  # B
    chosen = jnp.take_along_axis(logits, ids[:, None], axis=1)[:, 0]
    logprobs = chosen - jax.nn.logsumexp(logits, axis=-1)
    active = active & ~state.finished
    stops = active & jnp.any(ids[:, None] == limits.stop_ids[None, :], axis=1)
    counts = state.counts + active
    tokens, all_logprobs = state.tokens, state.logprobs
    for row in range(tokens.shape[0]):
        # A row that is not active writes one slot behind its end, where nobody reads.
        count = state.counts[row]
        slot = (row, limits.prompt_lengths[row] + count)
        tokens = jax.lax.dynamic_update_slice(tokens, ids[row : row + 1, None], slot)
        all_logprobs = jax.lax.dynamic_update_slice(all_logprobs, logprobs[row : row + 1, None], (row, count))
    state = replace(
        state,
        tokens=tokens,
        counts=counts,
        logprobs=all_logprobs,
        stopped=state.stopped | stops,
        finished=state.finished | stops | (counts >= limits.budgets),
    )
    return state, ids


def stop_table(stop_ids: Sequence[int]) -> Int[Array, " stops"]:
    """The stop ids with -1, which is no id, in the free slots."""
    return jnp.asarray([*stop_ids, *([-1] * (STOP_SLOTS - len(stop_ids)))], jnp.int32)


@jax.jit
def stream_keys(seed: UInt[Array, ""], streams: Int[Array, " B"]) -> Array:
    """One random stream a row, of these numbers."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), streams)
