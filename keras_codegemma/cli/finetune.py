"""`codegemma finetune`: from a folder of code to a tuned adapter, measured before and after."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_codegemma.cli.options import DEFAULT_PRESET, check_preset, debug_option, json_option, load_model, wrong_use
from keras_codegemma.cli.terminal import print_json, progress

if TYPE_CHECKING:
    from keras_codegemma.finetuning import Measured, Repository, Result, Settings

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("finetune")
@click.argument("repository", metavar="REPO", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", type=FOLDER, required=True, help="For adapter, merged model and report; made if missing.")
@click.option("--preset", default=DEFAULT_PRESET, show_default=True, metavar="NAME", help="The model to tune.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the frozen weights and the products; adapters are float32.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=8.0,
    show_default=True,
    help="Of training at most; compiling and measuring come on top.",
)
@click.option(
    "--epochs",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Times that each piece of code comes at most.",
)
@click.option("--rank", type=click.IntRange(min=1), default=64, show_default=True, help="Of the adapters.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=3e-3,
    show_default=True,
    help="Highest learning rate.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Pieces of a step.")
@click.option(
    "--sequence-length", type=click.IntRange(min=16), default=256, show_default=True, help="Tokens of a piece."
)
@click.option(
    "--held-out",
    "held_out_rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the files that are measured on and not trained on.",
)
@click.option(
    "--problems",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Lines of those files to fill in, at most.",
)
@click.option(
    "--context-chars",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of other files that the model is shown when measured.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of split, order and middles.")
@json_option
@debug_option
def command(
    repository: Path,
    *,
    to: Path,
    preset: str,
    dtype: str,
    held_out_rate: float,
    seed: int,
    as_json: bool,
    **how: Any,
) -> None:
    """Tune adapters on your code, and see whether it pays.

    A tenth of the source files is held out. Single lines of these are filled in by the model as it is and by the tuned
    one, and exact matches are counted. TO then holds adapter.safetensors, the merged model/ for --preset TO/model, and
    report.json.
    """
    check_preset(preset)
    _check_target(to)
    with wrong_use(ValueError):
        found, settings = _read(repository, held_out_rate, seed, how)
    lm = load_model(preset, dtype)
    with progress("Preparing") as told:
        from keras_codegemma import finetuning

        result = finetuning.finetune(lm, found, settings, report=lambda task, done, total: told(done, total))
    lm.save_lora_weights(to / "adapter.safetensors")
    lm.save_to_preset(to / "model")
    document = _document(result, found, settings, preset=preset, dtype=dtype)
    (to / "report.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(document)
        return
    _print(result, to)


def _check_target(to: Path) -> None:
    """Before anything is computed: the folder can be written to."""
    to.mkdir(parents=True, exist_ok=True)
    trial = to / ".trial"
    trial.touch()
    trial.unlink()


def _read(repository: Path, held_out_rate: float, seed: int, how: dict[str, Any]) -> "tuple[Repository, Settings]":
    from keras_codegemma import finetuning

    return finetuning.read(repository, held_out_rate=held_out_rate, seed=seed), finetuning.Settings(seed=seed, **how)


def _document(
    result: "Result", found: "Repository", settings: "Settings", *, preset: str, dtype: str
) -> dict[str, Any]:
    return {
        "preset": preset,
        "dtype": dtype,
        "repository": str(found.sources.folder.resolve()),
        "training_files": len(found.training),
        "training_chars": found.training_chars,
        "held_out_files": sorted(found.sources.texts),
        "settings": asdict(settings),
        **asdict(result),
    }


def _print(result: "Result", to: Path) -> None:
    click.echo(
        f"{result.problems} lines of {result.files} held-out files; {result.steps} steps, {result.tokens} tokens in "
        f"{result.seconds:.0f} s"
    )
    for name, measured in (("before", result.before), ("after", result.after)):
        click.echo(f"{name:>7}: {_rates(measured)}")
    click.echo(f"gained {result.gained} lines, lost {result.lost}")
    click.echo(f"Use it: codegemma complete --preset {to / 'model'} FILE:LINE")


def _rates(measured: "Measured") -> str:
    return (
        f"exact match {measured.exact_match:.1%} ({measured.low:.1%} to {measured.high:.1%}), "
        f"edit similarity {measured.edit_similarity:.3f}"
    )
