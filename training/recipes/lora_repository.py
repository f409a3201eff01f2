"""Adapters of rank 8 for a 2B model on a corpus of your own repositories, on one device."""

from training.config import DataSettings, KeepSettings, ModelSettings, OptimizerSettings, TrainingRecipe


def recipe() -> TrainingRecipe:
    """`python -m training.corpus build own_repositories` makes the corpus; `--set data.corpus=WORK/corpus`.

    For a base in a quarter of the memory, `--set model.quantization=int4`. To carry on from saved adapters,
    `--set model.adapter=FILE --set model.lora_rank=none`.
    """
    return TrainingRecipe(
        name="lora_repository",
        steps=1000,
        model=ModelSettings(preset="code_gemma_2b_en", dtype="bfloat16", remat="block", lora_rank=8),
        data=DataSettings(batch_size=4, held_out_rows=32),
        optimizer=OptimizerSettings(peak_rate=2e-4, warmup_steps=50, weight_decay=0.0),
        keep=KeepSettings(log_every=10, save_every=100, validate_every=100),
    )
