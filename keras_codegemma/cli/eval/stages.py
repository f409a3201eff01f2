"""`codegemma eval problems|sample|score|report`: the stages of a run, one at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_codegemma.cli.eval.options import (
    chosen,
    data_option,
    execution_options,
    executor,
    folder_option,
    load,
    sampling_options,
    task_options,
    versions,
)
from keras_codegemma.cli.options import debug_option, json_option
from keras_codegemma.cli.terminal import print_json, progress, remark

if TYPE_CHECKING:
    from keras_codegemma.evaluation.execution import Executor
    from keras_codegemma.evaluation.model import CausalLM


@click.command("problems")
@data_option
@folder_option
@task_options
@json_option
@debug_option
def problems(*, data: Path, folder: Path, tasks: tuple[str, ...], limit: int | None, as_json: bool) -> None:
    """Read benchmark files into problems.jsonl.

    Of all tasks, those whose files are missing are left out and named; a task that is asked for by name must be there.
    """
    from keras_codegemma.evaluation.table import TASKS

    counts, left_out = make_problems(
        chosen(tasks, list(TASKS)), data=data, folder=folder, limit=limit, strict=bool(tasks)
    )
    if as_json:
        print_json({"problems": counts, "left_out": left_out})
        return
    click.echo(f"{folder / 'problems.jsonl'}: {sum(counts.values())} problems of {len(counts)} tasks.")


@click.command("sample")
@folder_option
@sampling_options
@click.option("--process", type=click.IntRange(min=0), default=0, help="Number of this process, from 0.")
@click.option("--processes", type=click.IntRange(min=1), default=1, help="How many share the work.")
@json_option
@debug_option
def sample(*, folder: Path, preset: str, dtype: str, as_json: bool, **how: Any) -> None:
    """Let a model complete the problems, and time some infillings.

    Several processes, started with the same options but for --process, share the work; the last one to finish writes
    samples.jsonl and does the timing.
    """
    if how["process"] >= how["processes"]:
        raise click.UsageError(
            f"--process must be below --processes; got {how['process']} of {how['processes']}. Count from 0."
        )
    model = load(preset, dtype, how["temperature"])
    complete = make_samples(model, folder=folder, preset=preset, dtype=dtype, **how)
    if as_json:
        print_json({"folder": str(folder), "complete": complete})
        return
    click.echo(f"{folder / 'samples.jsonl'} is complete." if complete else "This process is done; others are not yet.")


@click.command("score")
@folder_option
@execution_options
@click.option(
    "--samples-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Anybody's samples; by default those of the run.",
)
@json_option
@debug_option
def score(*, folder: Path, allowed: bool, sandbox: str, workers: int, samples_file: Path | None, as_json: bool) -> None:
    """Run the completed programs against their tests, into results.jsonl."""
    if not allowed:
        raise click.UsageError(
            "Scoring runs programs that a model wrote, and must be allowed; got no --run-untrusted-programs. "
            "Read the docstring of keras_codegemma/evaluation/sandbox.py, then pass it."
        )
    with executor(allowed=allowed, sandbox=sandbox, workers=workers) as running:
        judged = judge(running, folder=folder, samples=samples_file)
    if as_json:
        print_json({"folder": str(folder), "judged": judged})
        return
    click.echo(f"{folder / 'results.jsonl'}: {judged} samples judged.")


@click.command("report")
@folder_option
@json_option
@debug_option
def report(*, folder: Path, as_json: bool) -> None:
    """Make report.json, report.md and report.html, and print the second."""
    make_report(folder, as_json=as_json)


def make_problems(
    names: list[str], *, data: Path, folder: Path, limit: int | None, strict: bool
) -> tuple[dict[str, int], dict[str, str]]:
    """The stage `problems`: numbers of problems, and reasons, by task."""
    from keras_codegemma.evaluation import records, runner, settings, table

    found, left_out = table.load(names, data=data, limit=limit, strict=strict)
    for name, reason in left_out.items():
        remark(f"{name} is left out: {reason}")
    folder.mkdir(parents=True, exist_ok=True)
    runner.write_problems(folder / "problems.jsonl", found)
    records.write_json(folder / settings.LEFT_OUT, left_out)
    counts = {name: sum(problem.task == name for problem in found) for name in names if name not in left_out}
    return counts, left_out


def make_samples(
    model: "CausalLM",
    *,
    folder: Path,
    preset: str,
    dtype: str,
    samples: int,
    temperature: float,
    batch_size: int,
    seed: int,
    timed: int,
    process: int = 0,
    processes: int = 1,
) -> bool:
    """The stage `sample`: whether samples.jsonl is complete."""
    from keras_codegemma.evaluation import runner, settings

    asked = runner.read_problems(folder / "problems.jsonl")
    settings.check(folder, {"preset": preset, "dtype": dtype, "temperature": temperature, "seed": seed})
    with progress("Sampling, batches") as told:
        complete = runner.write_samples(
            model,
            asked,
            folder=folder,
            samples=samples,
            batch_size=batch_size,
            seed=seed,
            process=process,
            processes=processes,
            progress=told,
        )
    if complete and timed:
        _time(model, folder=folder, count=timed)
    return complete


def _time(model: "CausalLM", *, folder: Path, count: int) -> None:
    from keras_codegemma.evaluation import runner, timing

    asked = runner.read_problems(folder / "problems.jsonl")
    before = timing.read(folder)
    if before is not None and before["device"] == model.device and before["count"] == count:
        return
    with progress("Timing infillings") as told:
        figures = timing.measure(model, asked, count=count, progress=told)
    timing.write(folder, figures, count=count, device=model.device, versions=model.versions)


def judge(running: "Executor | None", *, folder: Path, samples: Path | None = None, **how: Any) -> int:
    """The stage `score`: how many samples were judged."""
    from keras_codegemma.evaluation import runner

    asked = runner.read_problems(folder / "problems.jsonl")
    written = samples or folder / "samples.jsonl"
    with progress("Judging samples") as told:
        return runner.write_results(
            running, asked, samples=written, results=folder / "results.jsonl", progress=told, **how
        )


def make_report(folder: Path, *, as_json: bool) -> None:
    """The stage `report`."""
    from keras_codegemma.evaluation import report as reports

    figures = reports.write(folder, toolchains=versions())
    if as_json:
        print_json(figures)
        return
    click.echo((folder / "report.md").read_text(encoding="utf-8"), nl=False)
    remark(f"the same with plots and samples: {folder / 'report.html'}")
