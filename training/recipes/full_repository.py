"""All weights of a 2B model on a corpus of your own repositories."""

from dataclasses import replace

from training.config import TrainingRecipe
from training.recipes import lora_repository


def recipe() -> TrainingRecipe:
    """As `lora_repository`, without adapters: float32 weights, products in bfloat16, a rate of a twentieth.

    Adafactor keeps sums of rows and columns instead of Adam's two numbers a weight.
    """
    base = lora_repository.recipe()
    return replace(
        base,
        name="full_repository",
        model=replace(base.model, dtype="mixed_bfloat16", lora_rank=None),
        optimizer=replace(base.optimizer, name="adafactor", peak_rate=1e-5, weight_decay=0.0),
    )
