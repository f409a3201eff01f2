"""Builds a corpus from a folder of code and trains on it: `python -m examples.fit_on_a_folder FOLDER`."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import keras

import keras_codegemma as kcg
from training import recipes
from training.corpus import pipeline
from training.corpus.fitting import FittingSettings
from training.corpus.job import Job
from training.corpus.loader import make_loader
from training.corpus.recipe import CorpusRecipe, Source


def build(folder: Path, workdir: Path) -> Path:
    """Packed rows of 256 tokens of all code below a folder; gives the folder of the corpus."""
    recipe = replace(
        recipes.find("own_repositories", CorpusRecipe),
        sources=(Source.from_text(str(folder)),),
        fitting=FittingSettings(sequence_length=256),
    )
    job = Job(recipe=recipe, workdir=workdir, sources=workdir)
    pipeline.run(job)
    return job.corpus


def train(corpus: Path, *, steps: int, epochs: int) -> list[float]:
    """The loss of each epoch of so many steps."""
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny")
    lm.compile(optimizer=keras.optimizers.AdamW(1e-3))
    loader = make_loader(corpus, batch_size=4, seed=0)
    history = lm.fit(loader, steps_per_epoch=steps, epochs=epochs, verbose=0)  # type: ignore[arg-type] # Keras says str
    return history.history["loss"]


def main(folder: Path, *, steps: int = 20, epochs: int = 3) -> list[float]:
    """Builds, trains, and prints the loss of each epoch."""
    with tempfile.TemporaryDirectory() as workdir:
        losses = train(build(folder, Path(workdir)), steps=steps, epochs=epochs)
    print("loss of each epoch:", ", ".join(f"{loss:.3f}" for loss in losses))
    return losses


if __name__ == "__main__":
    main(Path(sys.argv[1]))
