"""`codegemma convert`: rewrites a model folder in another layout."""

from pathlib import Path
from typing import Literal

import click

from keras_codegemma.cli.options import check_preset, debug_option, json_option
from keras_codegemma.cli.terminal import print_json, progress

LAYOUTS: dict[str, Literal["keras_hub", "hugging_face"]] = {"keras-hub": "keras_hub", "hugging-face": "hugging_face"}


@click.command("convert")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST", type=click.Path(file_okay=False, path_type=Path))
@click.option("--to", "layout", type=click.Choice(list(LAYOUTS)), required=True, help="The layout to write.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Number type to write weights in. By default each stays as it is.",
)
@click.option("--max-shard-size", type=click.FloatRange(min=0, min_open=True), help="Largest weight file, in GiB.")
@json_option
@debug_option
def command(
    source: str, target: Path, *, layout: str, dtype: str | None, max_shard_size: float | None, as_json: bool
) -> None:
    """Rewrite the model SRC in another layout into the folder DST, then compare every weight.

    SRC is a folder in either layout, a preset's name or a handle. DST must be missing, empty or an earlier result.
    """
    check_preset(source)
    from keras_codegemma import convert, presets

    folder = presets.resolve(source)
    with progress(f"Converting {source}"):
        convert.convert_folder(folder, target, layout=LAYOUTS[layout], dtype=dtype, max_shard_size=max_shard_size)
    files = {path.relative_to(target).as_posix(): path.stat().st_size for path in _files(target)}
    if as_json:
        print_json({"source": str(folder), "target": str(target), "layout": layout, "bytes": files})
        return
    click.echo(f"{target}: {len(files)} files, {sum(files.values()) / 1e6:,.1f} MB; every weight compared.")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
