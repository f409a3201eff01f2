"""What the tests of training share: a small corpus of real files, and a recipe that takes seconds."""

from dataclasses import replace
from pathlib import Path

from keras_codegemma.config import CodeGemmaConfig
from tests.training.corpus.packed import library, tiny_encoder, write_corpus
from training.config import DataSettings, KeepSettings, ModelSettings, OptimizerSettings, TrainingRecipe
from training.corpus.fitting import Fitter, FittingSettings
from training.corpus.infill import InfillSettings
from training.corpus.packing import pack
from training.corpus.tokenising import Encoded, LossSettings

SHAPE = CodeGemmaConfig(
    vocabulary_size=8192,
    num_layers=1,
    num_query_heads=2,
    num_key_value_heads=1,
    hidden_dim=16,
    feedforward_dim=32,
    head_dim=8,
    context_length=64,
)


def real_corpus(folder: Path, *, files: int = 2, length: int = 64) -> Path:
    """Rows of files of Python's library."""
    folder.mkdir(exist_ok=True)
    fitter = Fitter(
        tiny_encoder(),
        settings=FittingSettings(sequence_length=length, split_above=1, least=1),
        infilling=InfillSettings(),
        loss=LossSettings(),
        seed=0,
    )
    examples = (made for file in library(files) for made in fitter.fit([file]) if isinstance(made, Encoded))
    write_corpus(folder, list(pack(examples, sequence_length=length)), rows_per_shard=40, vocabulary_size=8192)
    return folder


def small_recipe(corpus: Path, **changes) -> TrainingRecipe:
    """20 steps of a model of 140 thousand parameters; checkpoints at 6, 12, 18 and 20."""
    recipe = TrainingRecipe(
        name="test",
        steps=20,
        model=ModelSettings(preset="code_gemma_tiny", shape=SHAPE),
        data=DataSettings(corpus=corpus, batch_size=4, held_out_rows=8),
        optimizer=OptimizerSettings(peak_rate=1e-2, warmup_steps=4),
        keep=KeepSettings(log_every=2, save_every=6, validate_every=10),
    )
    return replace(recipe, **changes)


def settings_of(corpus: Path) -> list[str]:
    """What makes `small_recipe` of the recipe `tiny` on the command line."""
    return [
        f"data.corpus={corpus}",
        *(f"model.shape.{name}={value}" for name, value in SHAPE.to_dict().items()),
        *("data.batch_size=4", "data.held_out_rows=8", "steps=20"),
        *("optimizer.name=adamw", "optimizer.warmup_steps=4", "optimizer.peak_rate=0.01", "optimizer.final_rate=0.1"),
        *("keep.log_every=2", "keep.save_every=6", "keep.validate_every=10"),
    ]
