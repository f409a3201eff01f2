"""`codegemma presets`: what there is, what is in it, fetched and checked."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from keras_codegemma.cli.options import check_preset, debug_option, json_option, wrong_use
from keras_codegemma.cli.terminal import print_json, progress

if TYPE_CHECKING:
    from keras_codegemma.presets import PresetInfo


@click.group("presets")
def command() -> None:
    """List, show, fetch and verify presets."""


@command.command("list")
@json_option
@debug_option
def list_presets(*, as_json: bool) -> None:
    """Name every built-in preset, smallest first."""
    from keras_codegemma.presets.registry import list_presets

    infos = list_presets()
    if as_json:
        print_json([_document(info) for info in infos])
        return
    width = max(len(info.name) for info in infos)
    for info in infos:
        place = "in the package" if info.folder is not None else "to be fetched"
        click.echo(f"{info.name:<{width}}  {_millions(info.parameters):>7}  {place:<14}  {info.description}")


@command.command("show")
@click.argument("name")
@json_option
@debug_option
def show(name: str, *, as_json: bool) -> None:
    """Say what is known of a built-in preset: sources, terms, architecture, hashes."""
    from keras_codegemma.presets.registry import find

    with wrong_use(ValueError):
        info = find(name)
    if as_json:
        print_json(_document(info))
        return
    click.echo(f"{info.name}: {info.description}")
    rows = {
        "parameters": f"{info.parameters:,}",
        "stored as": info.stored_dtype,
        "licence": info.licence,
        "hashes": f"{len(info.hashes)} known. {info.hashes_note}",
    }
    for source in info.sources:
        rows[f"from {source.handle}"] = f"terms: {source.terms}" if source.terms else "no terms to accept"
    if info.folder is not None:
        rows["folder"] = str(info.folder)
    rows |= {key.replace("_", " "): str(value) for key, value in info.config.to_dict().items()}
    for key, value in rows.items():
        click.echo(f"  {key}: {value}")


@command.command("fetch")
@click.argument("preset")
@click.option("--revision", help="A version on Kaggle, or a branch, tag or commit on Hugging Face.")
@json_option
@debug_option
def fetch(preset: str, *, revision: str | None, as_json: bool) -> None:
    """Fetch a preset, if it is not there yet, and print its folder.

    PRESET is a built-in name, a kaggle://, hf:// or gs:// handle, or a folder.
    """
    check_preset(preset)
    from keras_codegemma.presets import resolve

    folder = resolve(preset, revision=revision)
    if as_json:
        print_json({"preset": preset, "folder": str(folder)})
    else:
        click.echo(folder)


@command.command("verify")
@click.argument("preset")
@click.option("--revision", help="A version on Kaggle, or a branch, tag or commit on Hugging Face.")
@json_option
@debug_option
def verify(preset: str, *, revision: str | None, as_json: bool) -> None:
    """Check a preset's files: known hashes, and the name, shape and type of every tensor.

    PRESET is as for `fetch`, and is fetched if it is not there yet. Exit code 1 means that it is damaged.
    """
    check_preset(preset)
    from keras_codegemma.presets import verify

    with progress(f"Verifying {preset}"):
        found = verify(preset, revision=revision)
    if as_json:
        print_json({"preset": preset, **asdict(found), "folder": str(found.folder)})
        return
    click.echo(
        f"{preset} is whole: {found.tensors} tensors of the right name, shape and type "
        f"({found.parameters:,} parameters), {len(found.hashed)} files with the known sha256."
    )
    if found.unhashed:
        click.echo(f"No hash is known for {', '.join(found.unhashed)}. {found.note}".rstrip())


def _document(info: "PresetInfo") -> dict[str, Any]:
    return {**asdict(info), "folder": None if info.folder is None else str(info.folder), "hashes": dict(info.hashes)}


def _millions(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"
