"""Continued pre-training of the 2B model: 500 billion tokens of infilling examples in rows of 8192."""

from training.config import DataSettings, KeepSettings, MeshSettings, ModelSettings, OptimizerSettings, TrainingRecipe


def recipe() -> TrainingRecipe:
    """On 32 devices; `--set model.preset=FOLDER` names Gemma's own weights to begin with.

    Of the published model are the size, the tokens and, by the corpus recipe, the shares of infilling and its layouts
    (model card: 80 to 90%, PSM and SPM half and half). Rate, batch and optimiser are not published; these are ours, and
    have not been run at this size.
    """
    return TrainingRecipe(
        name="continued_2b",
        steps=476_840,  # of 128 x 8192 tokens
        model=ModelSettings(preset="code_gemma_2b_en", dtype="mixed_bfloat16", remat="block"),
        data=DataSettings(batch_size=128, held_out_rows=1024, workers=8),
        optimizer=OptimizerSettings(name="adamw", peak_rate=1e-4, warmup_steps=2000),
        keep=KeepSettings(log_every=20, save_every=500, validate_every=2000),
        mesh=MeshSettings(fsdp=32),
    )
