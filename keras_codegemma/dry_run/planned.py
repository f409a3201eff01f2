"""The steps of a plan, compiled for its topology by the real compiler: what the plan only models."""

import keras

from keras_codegemma.distribution import CodeGemmaParallel
from keras_codegemma.dry_run import gpus, slices
from keras_codegemma.dry_run.abstract import abstract_model
from keras_codegemma.dry_run.compiled import CompiledStep, read
from keras_codegemma.dry_run.steps import ServingShape, lower_decode, lower_prefill, lower_training
from keras_codegemma.planning import Plan

_OPTIMIZERS = {"adamw": keras.optimizers.AdamW, "adafactor": keras.optimizers.Adafactor}


def absence(plan: Plan) -> str | None:
    """Why a plan's steps cannot be compiled here, or None."""
    if plan.topology.chip.node:
        return None if gpus.has_compiler() else "JAX's CUDA plugin is not installed (pip install 'jax[cuda12]')"
    return None if slices.has_compiler() else "libtpu is not installed (pip install libtpu)"


def compile_plan(plan: Plan) -> dict[str, CompiledStep]:
    """Compiles "step" of training, or "decode" and "prefill" of serving; takes minutes where there are many chips.

    Raises:
        jax.errors.JaxRuntimeError: the compiler refuses, for instance because a chip's memory is too small.
    """
    job = plan.job
    found = (gpus if plan.topology.chip.node else slices).devices(plan.topology.name)
    parallel = CodeGemmaParallel(plan.mesh, job.config, devices=found)
    lm = abstract_model(parallel, dtype=job.dtype, lora_rank=job.lora_rank if job.kind == "lora" else None)
    if job.serves:
        shape = ServingShape(
            batch_rows=job.batch_rows, capacity=job.slots, chunk=job.chunk, cache_dtype=job.cache_dtype
        )
        return {
            "decode": read(lower_decode(lm, parallel, shape).compile()),
            "prefill": read(lower_prefill(lm, parallel, shape).compile()),
        }
    lm.backbone.remat = job.remat
    optimizer = _OPTIMIZERS[job.optimizer](1e-5, global_clipnorm=1.0)
    step = lower_training(lm, parallel, batch_rows=job.batch_rows, length=job.length, optimizer=optimizer)
    return {"step": read(step.compile())}
