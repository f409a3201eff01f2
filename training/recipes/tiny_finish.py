"""The last steps of the tiny preset: what `tiny` trained, on the corpus of `tiny_functions`, at a falling rate."""

from training.config import DataSettings, KeepSettings, ModelSettings, OptimizerSettings, TrainingRecipe


def recipe() -> TrainingRecipe:
    """`--set model.preset=RUN/model --set data.corpus=WORK/corpus`, with the run of `tiny`."""
    return TrainingRecipe(
        name="tiny_finish",
        steps=500,
        model=ModelSettings(dtype="mixed_bfloat16"),
        data=DataSettings(batch_size=16, held_out_rows=64),
        optimizer=OptimizerSettings(name="muon", peak_rate=1e-3, warmup_steps=20, final_rate=0.0),
        keep=KeepSettings(log_every=20, save_every=100, validate_every=100),
    )
