"""What `cpu_speed` times: our model, llama.cpp's, KerasHub's, and a plain read of memory. Weights are noise.

Decoding starts from a cache that is filled with noise up to `PROMPT_TOKENS`, so only the prefill's own timing prefills.
"""

import dataclasses
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from keras_codegemma import decode_state, generation
from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.cache import KVCache, storage_dtype
from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.kernels.quantized_matmul import DEFAULT_GROUP_SIZE, QuantizedWeight, quantize
from keras_codegemma.quantization import split_policy_name
from keras_codegemma.sampling import GreedySampler

PROMPT_TOKENS = 512
_TILE_ROWS = 64
CAPACITY_TOKENS = 1024  # of the caches; KerasHub's default length


class Noise:
    """A weight source of repeated noise, made, quantised or not, at the speed of copying."""

    def __init__(self, config: CodeGemmaConfig, policy: str):
        self.quantization, _ = split_policy_name(policy)
        self._shapes = config.weight_shapes()
        self._rng = np.random.default_rng(0)

    def __call__(self, path: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """A float weight."""
        if path.endswith("/scale"):
            return np.zeros(shape, np.float32)
        fan_in = shape[-1] if path.endswith("embeddings") else shape[-2]
        tile = self._rng.normal(0, fan_in**-0.5, 1 << 16).astype(ml_dtypes.bfloat16)
        return _repeated(tile, shape)

    def quantized(self, path: str) -> QuantizedWeight:
        """A weight in the model's own quantisation: what a quantised preset's file gives."""
        assert self.quantization is not None
        specs = self.quantization.shapes(path, self._shapes[path])
        inputs = specs[0].shape[1] * (2 if self.quantization.mode == "int4" else 1)
        few = self._rng.normal(0, inputs**-0.5, (_TILE_ROWS, inputs)).astype(np.float32)
        tile = quantize(few, self.quantization.mode, group_size=self.quantization.group_size or DEFAULT_GROUP_SIZE)
        data, scale = (
            _repeated(np.asarray(part), spec.shape) for part, spec in zip((tile.data, tile.scale), specs, strict=True)
        )
        return QuantizedWeight(data=data, scale=scale)  # pyright: ignore[reportArgumentType] (numpy arrays)


def _repeated(tile: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    tile = tile.reshape(-1)
    flat = np.empty(int(np.prod(shape)), tile.dtype)
    whole = len(flat) // len(tile) * len(tile)
    flat[:whole].reshape(-1, len(tile))[:] = tile
    flat[whole:] = tile[: len(flat) - whole]
    return flat.reshape(shape)


class Ours:
    """One of our models, ready to be timed. Drafts are off: every pass gives one token a row."""

    def __init__(self, config: CodeGemmaConfig, policy: str):
        generation.DRAFT_TOKENS = 0
        self.backbone = CodeGemmaBackbone(**config.to_dict(), dtype=policy, weight_source=Noise(config, policy))
        self.weight_bytes = sum(v.value.nbytes for v in self.backbone.variables)
        self.generator = generation.Generator(self.backbone)
        self.prompt = np.random.default_rng(1).integers(300, 8000, PROMPT_TOKENS).tolist()
        self._decodings: dict[int, generation.Decoding] = {}

    def prefill_seconds(self) -> float:
        """Of `PROMPT_TOKENS` tokens of one row."""
        started = time.perf_counter()
        cache, hidden = self.generator.run_prefill([self.prompt], capacity=generation.capacity_for(CAPACITY_TOKENS))
        jax.block_until_ready(hidden)
        seconds = time.perf_counter() - started
        self.generator.release(cache)
        return seconds

    def decode_seconds(self, batch: int, steps: int) -> float:
        """Of one pass of `batch` rows, the first of `steps` after `PROMPT_TOKENS` tokens."""
        if batch not in self._decodings:
            self._decodings[batch] = self._begin(batch)
        decoding = self._decodings[batch]
        state = decoding._state
        decoding._state = dataclasses.replace(
            state,
            cache=dataclasses.replace(state.cache, lengths=jnp.full((batch,), PROMPT_TOKENS, jnp.int32)),
            counts=jnp.ones((batch,), jnp.int32),
        )
        started = time.perf_counter()
        decoding.advance(steps)
        jax.block_until_ready(decoding._state.counts)
        seconds = (time.perf_counter() - started) / steps
        assert decoding._state.counts.tolist() == [1 + steps] * batch
        return seconds

    def _begin(self, batch: int) -> generation.Decoding:
        """As `Generator.begin` leaves it, but with noise in the cache instead of a prompt's keys and values."""
        config, rng = self.backbone.config, np.random.default_rng(2)
        cache = KVCache.create(
            config,
            batch_size=batch,
            capacity=generation.capacity_for(CAPACITY_TOKENS),
            dtype=storage_dtype(self.backbone.compute_dtype),
        )
        cache = jax.tree.map(
            lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype) if x.ndim == 4 else x,
            cache,
        )
        tokens = np.zeros((batch, cache.capacity), np.int32)
        tokens[:, :PROMPT_TOKENS] = self.prompt
        limits = decode_state.RowLimits(
            keys=decode_state.stream_keys(np.uint32(0), np.arange(batch)),
            prompt_lengths=jnp.full((batch,), PROMPT_TOKENS, jnp.int32),
            budgets=jnp.full((batch,), CAPACITY_TOKENS - PROMPT_TOKENS, jnp.int32),
            stop_ids=decode_state.stop_table(()),
        )
        last_hidden = jnp.asarray(rng.normal(size=(batch, config.hidden_dim)), self.backbone.compute_dtype)
        sampler = GreedySampler()
        state = self.generator._start(self.generator.weights(), cache, last_hidden, tokens, limits, sampler)
        return generation.Decoding(self.generator, state, limits, sampler, real_rows=batch)


class KerasHub:
    """KerasHub's model of the same shape in bfloat16: its own step over its own cache, in a compiled loop as it has."""

    def __init__(self, config: CodeGemmaConfig):
        import keras
        import keras_hub

        backbone: Any = keras_hub.models.GemmaBackbone(
            vocabulary_size=config.vocabulary_size,
            num_layers=config.num_layers,
            num_query_heads=config.num_query_heads,
            num_key_value_heads=config.num_key_value_heads,
            hidden_dim=config.hidden_dim,
            intermediate_dim=2 * config.feedforward_dim,
            head_dim=config.head_dim,
            dtype="bfloat16",
        )
        lm: Any = keras_hub.models.GemmaCausalLM(backbone, preprocessor=None)
        variables = backbone.variables
        shape = (1, config.num_layers, 2, CAPACITY_TOKENS, config.num_key_value_heads, config.head_dim)

        def run(weights, cache, steps):
            def step(i, carry):
                token, cache = carry
                with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
                    logits, _, cache = lm.call_with_cache(token, cache, PROMPT_TOKENS + i)
                return jnp.argmax(logits[:, -1], axis=-1, keepdims=True).astype(jnp.int32), cache

            return jax.lax.fori_loop(0, steps, step, (jnp.full((1, 1), 300, jnp.int32), cache))

        self._run = jax.jit(run, donate_argnames=("cache",))
        self._weights = [variable.value for variable in variables]
        self._cache = jnp.asarray(np.random.default_rng(2).normal(size=shape), "bfloat16")

    def decode_seconds(self, steps: int) -> float:
        """Of one pass, the first of `steps` after `PROMPT_TOKENS` tokens."""
        started = time.perf_counter()
        _, self._cache = jax.block_until_ready(self._run(self._weights, self._cache, np.int32(steps)))
        return (time.perf_counter() - started) / steps


class ReadBandwidth:
    """Bytes per second of a plain loop over memory, a share of it for each thread."""

    def __init__(self, threads: int) -> None:
        array = np.ones(1 << 28, np.float32)
        self._parts = np.array_split(array, threads)
        self._bytes = array.nbytes
        self._pool = ThreadPoolExecutor(threads)
        self()

    def __call__(self) -> float:
        started = time.perf_counter()
        # The product of a vector with itself reads each number once.
        list(self._pool.map(lambda part: np.dot(part, part), self._parts))
        return self._bytes / (time.perf_counter() - started)


def llama_bench(program: Path, model: Path, *, threads: int, steps: int, prefill: bool) -> float:
    """Tokens per second: of prefilling `PROMPT_TOKENS`, or of decoding after as many."""
    what = ["-p", str(PROMPT_TOKENS), "-n", "0"] if prefill else ["-p", "0", "-n", str(steps), "-d", str(PROMPT_TOKENS)]
    command = [str(program), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json", *what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)[0]["avg_ts"]
