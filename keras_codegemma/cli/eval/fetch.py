"""`codegemma eval fetch`: the benchmark files, from their origins or from a folder of your own."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keras_codegemma.cli.eval.options import FOLDER, chosen
from keras_codegemma.cli.options import debug_option, json_option
from keras_codegemma.cli.terminal import print_json, progress, remark

if TYPE_CHECKING:
    from keras_codegemma.evaluation.fetching import Fetched


@click.command("fetch")
@click.argument("tasks", nargs=-1, metavar="[TASK...]")
@click.option("--to", type=FOLDER, required=True, help="The data folder; made if missing.")
@click.option(
    "--from",
    "source",
    metavar="FOLDER|tfds",
    help="A folder that has the files, laid out as here or not; or TensorFlow Datasets (extra tf), for the one task "
    "whose rows it has unchanged: boolq.",
)
@json_option
@debug_option
def fetch(*, tasks: tuple[str, ...], to: Path, source: str | None, as_json: bool) -> None:
    """Fetch the benchmark files of tasks, or of all, and check them.

    They come from their origins, at pinned commits, and are kept only if their contents have the pinned sha256.
    What was cut off goes on at the next call; what is there is only checked. A TASK may be the first part of several
    names, such as infilling.

    BabelCode's programs are made by that benchmark's own scripts and offered nowhere: they need --from FOLDER. Of the
    other sets TFDS drops numbers or fields, so that their rows cannot be made equal, or does not have them.
    """
    from keras_codegemma.evaluation import fetching, language, table

    if source not in (None, "tfds") and not Path(source or "").is_dir():
        raise click.UsageError(f"--from must be a folder or tfds; {source} is neither. Correct it.")
    names = fetching.files_of(chosen(tasks, [*table.TASKS, *language.TASKS]))
    if not tasks:
        for name in names:
            if not fetching.offered(name, source):
                remark(f"{name} is left out: it cannot be had from there.")
        names = [name for name in names if fetching.offered(name, source)]
    found = _fetch(names, to, source)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        click.echo(f"{one.name}: {one.how}, {one.rows} rows, {one.licence}")


def _fetch(names: list[str], to: Path, source: str | None) -> "list[Fetched]":
    from keras_codegemma.evaluation import fetching

    with progress("Fetching, bytes") as told:
        return list(fetching.fetch(names, to=to, source=source, progress=told))
