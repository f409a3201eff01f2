"""Continued pre-training of the 7B model: 500 billion tokens of infilling examples in rows of 8192."""

from dataclasses import replace

from training.config import MeshSettings, TrainingRecipe
from training.recipes import continued_2b


def recipe() -> TrainingRecipe:
    """As `continued_2b`, on 128 devices, with 2.1 million tokens a step. Not run at this size."""
    base = continued_2b.recipe()
    return replace(
        base,
        name="continued_7b",
        steps=238_420,  # of 256 x 8192 tokens
        model=replace(base.model, preset="code_gemma_7b_en"),
        data=replace(base.data, batch_size=256),
        optimizer=replace(base.optimizer, peak_rate=5e-5),
        mesh=MeshSettings(replica=2, fsdp=64),  # as `codegemma plan` says for v5e:8x16
    )
