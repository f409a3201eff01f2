"""The whole chain learns: files by heart, through the corpus, the loader, the optimiser and `fit`."""

import sysconfig
from pathlib import Path

import pytest

from tests.training.corpus.packed import document, tiny_encoder, write_corpus
from training.config import DataSettings, KeepSettings, ModelSettings, OptimizerSettings, TrainingRecipe
from training.corpus.fitting import Fitter, FittingSettings
from training.corpus.infill import InfillSettings
from training.corpus.packing import pack
from training.corpus.tokenising import Encoded, LossSettings
from training.log import read
from training.run import train


def files_of_the_library(count: int) -> list[str]:
    """The smallest of at least 200 characters, without tests."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    apart = {"test", "tests", "site-packages", "idlelib"}
    paths = [path for path in folder.rglob("*.py") if not apart & set(path.parts)]
    texts = {path.read_text("utf-8", errors="ignore") for path in paths}
    chosen = sorted((text for text in texts if len(text) >= 200), key=lambda text: (len(text), text))[:count]
    assert len(chosen) == count
    return chosen


@pytest.mark.slow
def test_32_real_files_are_learned_by_heart(tmp_path):
    fitter = Fitter(
        tiny_encoder(),
        settings=FittingSettings(sequence_length=256),
        infilling=InfillSettings(fim_rate=0.0),
        loss=LossSettings(),
        seed=0,
    )
    documents = [document(text, path=f"file_{i}.py") for i, text in enumerate(files_of_the_library(32))]
    rows = list(
        pack(
            (made for one in documents for made in fitter.fit([one]) if isinstance(made, Encoded)),
            sequence_length=256,
        )
    )
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_corpus(corpus, rows, rows_per_shard=len(rows), vocabulary_size=8192)
    recipe = TrainingRecipe(
        name="by_heart",
        steps=240,
        model=ModelSettings(preset="code_gemma_tiny"),
        data=DataSettings(corpus=corpus, batch_size=4, held_out=corpus),
        optimizer=OptimizerSettings(name="muon", peak_rate=3e-3, warmup_steps=20, weight_decay=0.0),
        keep=KeepSettings(log_every=20, save_every=240, validate_every=60),
    )
    assert train(recipe, tmp_path / "run", report=print)
    found = [line for line in read(tmp_path / "run/metrics.jsonl") if "val_nats_per_token" in line]
    assert found[-1]["val_nats_per_token"] < 0.05
