"""The model of a run: a preset's weights or fresh ones, with adapters, over a mesh where there is one."""

import hashlib
import random

import jax
import keras

import keras_codegemma as kcg
from training.config import MeshSettings, ModelSettings, TrainingRecipe
from training.deepening import deepened


def make_model(recipe: TrainingRecipe) -> kcg.CodeGemmaCausalLM:
    """Builds or loads what a recipe trains; with a mesh, makes its distribution the global one first.

    Raises:
        ValueError: a mesh of another size than there are devices, a fresh shape of another vocabulary than the
            tokenizer's, fewer layers than the preset has, adapters that do not fit, or what `presets.load` refuses.
    """
    settings = recipe.model
    # Keras's initialisers draw their seeds from it. keras.utils.set_random_seed would import TensorFlow, if installed.
    random.seed(recipe.seed)
    _distribute(recipe.mesh, settings)
    if settings.shape is not None:
        lm = _fresh(settings)
    else:
        lm = kcg.CodeGemmaCausalLM.from_preset(
            settings.preset, dtype=settings.dtype, quantization=settings.quantization
        )
    if settings.num_layers is not None:
        lm = deepened(lm, settings.num_layers)
    if settings.lora_rank is not None:
        lm.enable_lora(settings.lora_rank, alpha=settings.lora_alpha, target_names=settings.lora_targets)
    if settings.adapter is not None:
        lm.load_lora_weights(settings.adapter)
    lm.backbone.remat = settings.remat
    return lm


def frozen_fingerprint(lm: kcg.CodeGemmaCausalLM) -> str:
    """Tells models with other frozen weights apart, by 64 values of each; checkpoints do not hold frozen weights."""
    found = hashlib.sha256()
    for variable in lm.non_trainable_variables:
        some = kcg.distribution.fetch(_beginning(variable.value))
        found.update(f"{variable.path} {tuple(variable.shape)} {some.dtype}".encode() + some.tobytes())
    return found.hexdigest()


@jax.jit
def _beginning(value: jax.Array) -> jax.Array:
    return value.reshape(-1)[:64]


def _fresh(settings: ModelSettings) -> kcg.CodeGemmaCausalLM:
    shape = settings.shape
    assert shape is not None
    preprocessor = kcg.presets.load_preprocessor(settings.preset)
    size = preprocessor.tokenizer.vocabulary_size()
    if shape.vocabulary_size != size:
        raise ValueError(
            f"A fresh model must have its tokenizer's vocabulary size, {size} of {settings.preset}; got "
            f"{shape.vocabulary_size}. Set model.shape.vocabulary_size={size}, or another model.preset."
        )
    backbone = kcg.CodeGemmaBackbone(**shape.to_dict(), dtype=settings.dtype)
    return kcg.CodeGemmaCausalLM(backbone, preprocessor.replace(sequence_length=shape.context_length))


def _distribute(mesh: MeshSettings, settings: ModelSettings) -> None:
    if mesh.devices == 1 and jax.process_count() == 1:
        return
    if mesh.devices != jax.device_count():
        raise ValueError(
            f"A mesh must take every device; got {mesh.replica} x {mesh.fsdp} x {mesh.model} for "
            f"{jax.device_count()} devices. Set mesh.replica, mesh.fsdp and mesh.model."
        )
    config = settings.shape or kcg.presets.find(settings.preset).config
    shape = kcg.distribution.MeshShape(replica=mesh.replica, fsdp=mesh.fsdp, model=mesh.model)
    keras.distribution.set_distribution(kcg.distribution.CodeGemmaParallel(shape, config))
