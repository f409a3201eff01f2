"""The real steps, lowered for a mesh: one training step of `fit`, one prefill chunk, one run of the decode loop."""

from dataclasses import dataclass
from typing import Any

import jax
import keras

from keras_codegemma.cache import KVCache, cache_sharding
from keras_codegemma.causal_lm import CodeGemmaCausalLM
from keras_codegemma.decode_state import STOP_SLOTS, DecodeState, RowLimits
from keras_codegemma.distribution import CodeGemmaParallel
from keras_codegemma.dry_run.abstract import abstract_optimizer, replicated, rows, specs, without_values
from keras_codegemma.generation import Generator
from keras_codegemma.sampling import GreedySampler


def lower_training(
    lm: CodeGemmaCausalLM, parallel: CodeGemmaParallel, *, batch_rows: int, length: int, optimizer: Any = None
) -> jax.stages.Lowered:
    """The step that `fit` compiles, for packed rows, with AdamW unless told otherwise.

    Args:
        lm: of `abstract_model`.
        parallel: its distribution.
        batch_rows: rows of the global batch.
        length: tokens of a row.
        optimizer: of Keras.
    """
    lm.compile(optimizer=keras.optimizers.AdamW(1e-5) if optimizer is None else optimizer)
    batch = tuple(rows(parallel, (batch_rows, length), dtype) for dtype in ("int32", "float32"))
    ids, weights = batch
    features = dict.fromkeys(("token_ids", "segment_ids", "positions"), ids)
    with without_values():
        lm._symbolic_build(data_batch=(features, ids, weights))
    abstract_optimizer(lm.optimizer, lm)
    state = tuple(
        specs(variables, parallel)
        for variables in (
            lm.trainable_variables,
            lm.non_trainable_variables,
            lm.optimizer.variables,
            lm.metrics_variables,
        )
    )
    placed = jax.tree.map(lambda spec: spec.sharding, state)
    step = jax.jit(lm.train_step, donate_argnums=0, out_shardings=(None, placed))
    return step.lower(state, (features, ids, weights))


@dataclass(frozen=True, kw_only=True)
class ServingShape:
    """Attributes: rows decoded together; slots of cache a row; ids of a prefill chunk; the cache's dtype."""

    batch_rows: int
    capacity: int
    chunk: int = 1024
    cache_dtype: str = "bfloat16"


def lower_decode(lm: CodeGemmaCausalLM, parallel: CodeGemmaParallel, shape: ServingShape) -> jax.stages.Lowered:
    """The decode loop of `generate`."""
    generator = Generator(lm.backbone)
    whole = replicated(parallel)
    cache = _cache(lm, parallel, shape)

    def array(*dims: int, dtype: Any = "int32") -> Any:
        return jax.ShapeDtypeStruct(dims, dtype, sharding=whole)

    batch = shape.batch_rows
    state = DecodeState(
        cache=cache,
        tokens=array(batch, shape.capacity),
        counts=array(batch),
        logprobs=array(batch, shape.capacity, dtype="float32"),
        stopped=array(batch, dtype="bool"),
        finished=array(batch, dtype="bool"),
    )
    limits = RowLimits(
        keys=array(batch, dtype=jax.eval_shape(lambda: jax.random.key(0)).dtype),
        prompt_lengths=array(batch),
        budgets=array(batch),
        stop_ids=array(STOP_SLOTS),
    )
    weights = specs(lm.backbone.variables, parallel)
    return generator._decode.lower(weights, state, limits, GreedySampler(), array(), array(batch, dtype="bool"))


def lower_prefill(lm: CodeGemmaCausalLM, parallel: CodeGemmaParallel, shape: ServingShape) -> jax.stages.Lowered:
    """One chunk of the prompts' prefill."""
    generator = Generator(lm.backbone)
    whole = replicated(parallel)
    batch, width = shape.batch_rows, lm.backbone.config.hidden_dim
    return generator._prefill.lower(
        specs(lm.backbone.variables, parallel),
        _cache(lm, parallel, shape),
        jax.ShapeDtypeStruct((batch, width), lm.backbone.compute_dtype, sharding=whole),
        jax.ShapeDtypeStruct((batch, shape.chunk), "int32", sharding=whole),
        jax.ShapeDtypeStruct((), "int32", sharding=whole),
        jax.ShapeDtypeStruct((batch,), "int32", sharding=whole),
    )


def _cache(lm: CodeGemmaCausalLM, parallel: CodeGemmaParallel, shape: ServingShape) -> KVCache:
    made = jax.eval_shape(
        lambda: KVCache.create(
            lm.backbone.config, batch_size=shape.batch_rows, capacity=shape.capacity, dtype=shape.cache_dtype
        )
    )
    split = cache_sharding(lm.backbone.config, batch_size=shape.batch_rows, partition=parallel.partition)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=split if x.ndim > 1 else replicated(parallel)), made
    )
