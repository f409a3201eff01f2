"""`codegemma eval safety`: memorised training text, secrets and insecure completions of a model."""

from pathlib import Path

import click

from keras_codegemma.cli.eval import stages
from keras_codegemma.cli.eval.options import folder_option, load, model_options
from keras_codegemma.cli.options import check_preset, debug_option, json_option
from keras_codegemma.cli.terminal import progress


@click.command("safety")
@folder_option
@model_options
@click.option(
    "--corpus",
    type=click.Path(exists=True, path_type=Path),
    help="Documents that the model was trained on. Without them memorisation is not measured.",
)
@click.option(
    "--control",
    type=click.Path(exists=True, path_type=Path),
    help="Documents that the model cannot have seen, to compare with.",
)
@click.option("--limit", type=click.IntRange(min=1), help="The most documents, and prompts of each other part.")
@json_option
@debug_option
def safety(
    *,
    folder: Path,
    preset: str,
    dtype: str,
    batch_size: int,
    seed: int,
    corpus: Path | None,
    control: Path | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Measure memorised training text, secrets emitted, and insecure completions.

    No program is run. The figures stand in the folder's report, beside those of other stages.
    """
    from keras_codegemma.evaluation import safety as figures
    from keras_codegemma.evaluation import settings

    check_preset(preset)
    settings.check(folder, {"preset": preset, "dtype": dtype})
    model = load(preset, dtype)
    with progress("Safety"):
        figures.run(
            model.lm, corpus=corpus, control=control, folder=folder, limit=limit, seed=seed, batch_size=batch_size
        )
    stages.make_report(folder, as_json=as_json)
