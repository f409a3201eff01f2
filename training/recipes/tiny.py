"""A model of 6.6 million parameters from nothing, on the corpus of `tiny_python`."""

from keras_codegemma.config import CodeGemmaConfig
from training.config import DataSettings, KeepSettings, ModelSettings, OptimizerSettings, TrainingRecipe


def recipe() -> TrainingRecipe:
    """For two processor cores or one GPU: `--set data.corpus=WORK/corpus`, see the README beside this folder."""
    shape = CodeGemmaConfig(
        vocabulary_size=8192,
        num_layers=6,
        num_query_heads=4,
        num_key_value_heads=1,
        hidden_dim=256,
        feedforward_dim=768,
        head_dim=64,
        context_length=1024,
    )
    return TrainingRecipe(
        name="tiny",
        steps=4200,
        model=ModelSettings(preset="code_gemma_tiny", shape=shape, dtype="mixed_bfloat16"),
        data=DataSettings(batch_size=16, held_out_rows=256),
        optimizer=OptimizerSettings(name="muon", peak_rate=4e-3, warmup_steps=200, final_rate=0.05),
        keep=KeepSettings(log_every=20, save_every=200, validate_every=500),
    )
