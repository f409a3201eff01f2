"""`codegemma eval repo`: how well a model fills in the user's own code."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_codegemma.cli.eval import stages
from keras_codegemma.cli.eval.options import (
    execution_options,
    executor,
    folder_option,
    load,
    sampling_options,
)
from keras_codegemma.cli.options import check_preset, debug_option, json_option
from keras_codegemma.cli.terminal import progress, remark

if TYPE_CHECKING:
    from keras_codegemma.evaluation.execution import Executor, Outcome
    from keras_codegemma.evaluation.problems import Problem
    from keras_codegemma.evaluation.repository import OwnTests

KINDS = ("line", "block", "function")


@click.command("repo")
@click.argument("repository", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@folder_option
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="What to take out; by default each.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most problems of each kind."
)
@click.option("--layout", type=click.Choice(["psm", "spm"]), help="By default the preset's better one.")
@click.option(
    "--context-chars",
    type=click.IntRange(min=0),
    default=32768,
    show_default=True,
    help="Of other files of the repository to show the model; 0 for none. What does not fit its context is left out.",
)
@click.option("--tests", metavar="COMMAND", help="Runs the repository's own tests, at its root; must pass as it is.")
@click.option(
    "--test-seconds",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Of processor time for one run of the tests.",
)
@click.option(
    "--allow-read",
    "readable",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="A folder that the tests need besides the system's, a virtual environment for instance.",
)
@sampling_options
@execution_options
@json_option
@debug_option
def repo(
    *,
    repository: Path,
    folder: Path,
    preset: str,
    dtype: str,
    tests: str | None,
    allowed: bool,
    sandbox: str,
    workers: int,
    as_json: bool,
    **how: Any,
) -> None:
    """Fill in places of your own code, and compare with what stands there.

    Lines are taken out of every language, blocks and function bodies out of Python. Which ones depends on --seed and
    on the code alone, so two models, before and after a fine-tune for instance, are asked the same. The model sees
    neighbouring files as with `codegemma complete --context`.

    Exact match and edit similarity are always counted. With --tests and --run-untrusted-programs each completion is
    also put into a copy of the repository, in the sandbox, and passes if the command ends with status 0. Then only
    places are asked whose absence the tests notice: each one is first left empty, which must fail.
    """
    if tests is not None and not allowed:
        raise click.UsageError(
            "--tests runs code that a model wrote, and must be allowed; got no --run-untrusted-programs. Pass it too."
        )
    check_preset(preset)
    own = {name: how.pop(name) for name in ("kinds", "limit", "layout", "context_chars", "readable", "test_seconds")}
    with executor(allowed=tests is not None, sandbox=sandbox, workers=workers) as running:
        judges = _own_tests(running, repository, tests, own)
        try:
            _make_problems(repository, folder, judges, seed=how["seed"], tests=tests, **own)
            model = load(preset, dtype, how["temperature"])
            stages.make_samples(model, folder=folder, preset=preset, dtype=dtype, **how)
            stages.judge(running, folder=folder, make_job=judges.job if judges else _untested)
        finally:
            if judges is not None:
                judges.close()
    stages.make_report(folder, as_json=as_json)


def _own_tests(
    running: "Executor | None", repository: Path, tests: str | None, own: dict[str, Any]
) -> "OwnTests | None":
    if running is None or tests is None:
        return None
    from keras_codegemma import neighbours
    from keras_codegemma.evaluation.repository import OwnTests

    root = neighbours.repository_root(repository / "x")
    with progress("Running the unmodified tests"):
        return OwnTests(running, root, command=tests, seconds=own["test_seconds"], readable=own["readable"])


def _make_problems(
    repository: Path,
    folder: Path,
    judges: "OwnTests | None",
    *,
    seed: int,
    tests: str | None,
    kinds: tuple[str, ...],
    limit: int,
    layout: str | None,
    context_chars: int,
    **_: Any,
) -> None:
    """Writes problems.jsonl, unless the folder has those of the same code and options."""
    from keras_codegemma.evaluation import records, runner, settings
    from keras_codegemma.evaluation.repository import build, read

    sources = read(repository)
    options = {"kinds": list(kinds or KINDS), "limit": limit, "layout": layout or "", "context_chars": context_chars}
    asked = {"folder": str(repository.resolve()), "code": sources.sha256, "tests": tests, "draw_seed": seed, **options}
    settings.check(folder, asked)
    if (folder / settings.REPOSITORY).exists():
        return
    with progress("Making problems") as told:
        check = judges.notice if judges is not None else None
        built = build(sources, seed=seed, check=check, progress=told, **options)
    runner.write_problems(folder / "problems.jsonl", built.problems)
    about: dict[str, Any] = {"source_files": len(sources.texts), "places": built.candidates}
    if judges is not None:
        about["places_left_out_because_no_test_noticed"] = built.unnoticed
        remark(f"places that no test noticed, left out: {sum(built.unnoticed.values())}.")
    records.write_json(folder / settings.REPOSITORY, about)


def _untested(problem: "Problem", _: str) -> "Outcome":
    from keras_codegemma.evaluation.execution import Outcome

    return Outcome(verdict="untested", detail="no command for the tests was given", seconds=0.0)
