"""`codegemma eval run`: the whole published table of a model, with one command."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_codegemma.cli.eval import stages
from keras_codegemma.cli.eval.options import (
    FOLDER,
    chosen,
    data_option,
    execution_options,
    executor,
    load,
    sampling_options,
    task_options,
)
from keras_codegemma.cli.options import check_preset, debug_option, json_option
from keras_codegemma.cli.terminal import progress, remark

if TYPE_CHECKING:
    from keras_codegemma.evaluation.model import CausalLM

SAFETY = "safety"
"""The name of the safety figures among the tasks."""


@click.command("run")
@data_option
@click.option(
    "--folder", type=FOLDER, help="Of the run's files, made if missing. By default codegemma-eval/PRESET, here."
)
@task_options
@sampling_options
@execution_options
@click.option(
    "--corpus",
    type=click.Path(exists=True, path_type=Path),
    help="Documents that the model was trained on, for the memorisation figures.",
)
@json_option
@debug_option
def run(
    *,
    data: Path,
    folder: Path | None,
    tasks: tuple[str, ...],
    limit: int | None,
    preset: str,
    dtype: str,
    allowed: bool,
    sandbox: str,
    workers: int,
    corpus: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Make the published table for a model: problems, samples, verdicts, report.

    Every row is a figure or the reason why there is none. Interrupted, it goes on where it stopped. Without
    --run-untrusted-programs completions are compared with the references, but no program is run.
    """
    from keras_codegemma.evaluation import language, table

    check_preset(preset)
    names = chosen(tasks, [*table.TASKS, *language.TASKS, SAFETY])
    folder = folder or Path("codegemma-eval", re.sub(r"[^\w.-]+", "-", preset).strip("-."))
    if allowed:
        # What scoring would refuse at the end is refused at the start.
        with executor(allowed=True, sandbox=sandbox, workers=workers):
            pass
    code = [name for name in names if name in table.TASKS]
    stages.make_problems(code, data=data, folder=folder, limit=limit, strict=bool(tasks))
    model = load(preset, dtype, how["temperature"])
    stages.make_samples(model, folder=folder, preset=preset, dtype=dtype, **how)
    _ask_language(
        model, [name for name in names if name in language.TASKS], data=data, folder=folder, limit=limit, preset=preset
    )
    if SAFETY in names:
        _ask_safety(model, corpus=corpus, folder=folder, limit=limit, seed=how["seed"])
    with executor(allowed=allowed, sandbox=sandbox, workers=workers) as running:
        stages.judge(running, folder=folder)
    stages.make_report(folder, as_json=as_json)


def _ask_language(
    model: "CausalLM", names: list[str], *, data: Path, folder: Path, limit: int | None, preset: str
) -> None:
    from keras_codegemma.evaluation import language

    with progress("Language and mathematics, tasks") as told:
        for number, name in enumerate(names):
            told(number, len(names))
            try:
                language.run(model.lm, data=data, tasks=[name], limit=limit, folder=folder, preset=preset)
            except ImportError as error:
                _leave_out(folder, name, error)


def _ask_safety(model: "CausalLM", *, corpus: Path | None, folder: Path, limit: int | None, seed: int) -> None:
    from keras_codegemma.evaluation import safety

    with progress("Safety"):
        try:
            safety.run(model.lm, corpus=corpus, folder=folder, limit=limit, seed=seed)
        except ImportError as error:
            _leave_out(folder, SAFETY, error)


def _leave_out(folder: Path, name: str, error: ImportError) -> None:
    """Puts the reason why a row has no figure on record: what it needs is not installed."""
    from keras_codegemma.evaluation import records, settings

    reasons = records.read_json(folder / settings.LEFT_OUT) or {}
    records.write_json(folder / settings.LEFT_OUT, {**reasons, name: str(error)})
    remark(f"{name} is left out: {error}")
