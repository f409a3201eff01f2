"""What infilling costs left-to-right, and what the choice of spans is worth: three small models on equal tokens.

    python -m tests.benchmarks.infilling_choices --work DIR --train A.tar.gz B.tar.gz ... --held-out C.tar.gz ...

The archives are source distributions. Of the first, three corpora are built that differ in their infilling alone: nine
files of ten with the default spans, none, and nine of ten with random characters. A model like `tiny` is trained
on each from the same weights for the same number of steps, and then asked about the held-out archives: whole files from
left to right, and middles of both kinds. A build or run that is there already is not made again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from keras_codegemma import CodeGemmaCausalLM, heap, token_scores
from training import recipes
from training.config import KeepSettings, TrainingRecipe
from training.corpus.loader import make_loader
from training.data import HeldOut
from training.run import train

INFILLING = {
    "default spans": ("infill.fim_rate=0.9",),
    "none": ("infill.fim_rate=0",),
    "random characters": (
        "infill.fim_rate=0.9",
        *(f"infill.span_weights.{kind}=0" for kind in ("nodes", "rest_of_line", "lines", "block")),
    ),
}
QUESTIONS = {"left to right": "none", "middles, default spans": "default spans", "middles, random": "random characters"}
LENGTH = 512


def build(archives: Iterable[Path], folder: Path, settings: Iterable[str]) -> Path:
    """A corpus; the folder's, where it is done."""
    changes = (*settings, f"fitting.sequence_length={LENGTH}", f"sources={','.join(map(str, archives))}")
    command = [sys.executable, "-m", "training.corpus", "build", "own_repositories", "--workdir", str(folder)]
    if not (folder / "corpus/manifest.json").exists():
        subprocess.run([*command, *(part for change in changes for part in ("--set", change))], check=True)
    return folder / "corpus"


def recipe_of(corpus: Path, steps: int) -> TrainingRecipe:
    """`tiny`, shorter."""
    found: TrainingRecipe = recipes.find("tiny", TrainingRecipe)
    return replace(
        found,
        steps=steps,
        data=replace(found.data, corpus=corpus, held_out_rows=0),
        optimizer=replace(found.optimizer, warmup_steps=steps // 10),
        keep=KeepSettings(log_every=20, save_every=100, validate_every=100),
    )


def answers(model: Path, corpora: dict[str, Path]) -> dict[str, float]:
    """Nats per token of each question."""
    lm = CodeGemmaCausalLM.from_preset(str(model), dtype="mixed_bfloat16")
    found = {}
    for question, kind in QUESTIONS.items():
        part = "all" if kind == "none" else "middle"
        lm.compile(weighted_metrics=[token_scores.NatsPerToken(part)])
        rows = list(make_loader(corpora[kind], batch_size=16, seed=0, epochs=1))
        values = lm.evaluate(HeldOut(rows), verbose=0, return_dict=True)  # type: ignore[arg-type] # Keras says str
        found[question] = float(values["nats_per_token" if part == "all" else "middle_nats_per_token"])
    return found


def main() -> None:
    """Prints a line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--held-out", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=300, help="of 16 x 512 tokens; a multiple of 20")
    options = parser.parse_args()
    heap.keep_freed_memory()
    held_out = {
        name: build(options.held_out, options.work / f"held_out {name}", settings)
        for name, settings in INFILLING.items()
    }
    for name, settings in INFILLING.items():
        corpus = build(options.train, options.work / f"corpus {name}", settings)
        run = options.work / f"run {name}"
        if not (run / "model").exists():
            train(recipe_of(corpus, options.steps), run, report=lambda line: None)
        print(json.dumps({"infilling": name, "steps": options.steps, **answers(run / "model", held_out)}), flush=True)


if __name__ == "__main__":
    main()
