"""The second part of the tiny preset's training: what `tiny` trained, on the corpus of `tiny_lines`."""

from training.config import DataSettings, KeepSettings, ModelSettings, OptimizerSettings, TrainingRecipe


def recipe() -> TrainingRecipe:
    """`--set model.preset=RUN/model --set data.corpus=WORK/corpus`, with the run of `tiny`."""
    return TrainingRecipe(
        name="tiny_finish",
        steps=2500,
        model=ModelSettings(dtype="mixed_bfloat16"),
        data=DataSettings(batch_size=32, held_out_rows=512),
        optimizer=OptimizerSettings(name="muon", peak_rate=3e-3, warmup_steps=100, final_rate=0.0),
        keep=KeepSettings(log_every=20, save_every=200, validate_every=500),
    )
