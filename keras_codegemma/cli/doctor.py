"""`codegemma doctor`: what this machine runs, and why not something faster; builds the CPU kernels on request."""

import importlib.metadata
import platform
from typing import Any

import click

from keras_codegemma import __version__
from keras_codegemma.cli.options import debug_option, json_option
from keras_codegemma.cli.terminal import print_json, progress

PACKAGES = ("jax", "jaxlib", "keras", "numpy", "safetensors", "sentencepiece")


@click.command("doctor")
@click.option("--build", is_flag=True, help="Compile the CPU kernels with this machine's C++ compiler first.")
@click.option("--force", is_flag=True, help="With --build: also if they are there.")
@json_option
@debug_option
def command(*, build: bool, force: bool, as_json: bool) -> None:
    """Show devices, versions, caches, and which implementation each operation takes here.

    The CPU kernels are optional. Built, they make decoding several times as fast; --build takes some seconds, needs a
    C++17 compiler, and is needed once for each version of this package.
    """
    from keras_codegemma.kernels import native

    if force and not build:
        raise click.UsageError("--force goes with --build; got --force alone. Give both.")
    if build:
        with progress("Building the CPU kernels"):
            try:
                native.build(force=force)
            except RuntimeError as error:
                raise click.ClickException(str(error)) from error
    document = diagnosis()
    if as_json:
        print_json(document)
    else:
        _show(document)


def diagnosis() -> dict[str, Any]:
    """Everything that the command shows."""
    import jax

    from keras_codegemma import kernels, user_cache
    from keras_codegemma.kernels import dispatch, native
    from keras_codegemma.kernels.native.build import compiler

    kernels.declare_all()
    absence = native.absence()
    cache = user_cache.cache_folder()
    return {
        "versions": {
            "keras_codegemma": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "system": f"{platform.system()} {platform.machine()}",
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "caches": {
            "all": str(cache),
            "programs": str(jax.config.jax_compilation_cache_dir or "none"),  # pyright: ignore[reportAttributeAccessIssue]
        },
        "native": {
            "library": str(native.library_path()),
            "absent": absence,
            "compiler": compiler(),
            "level": {dtype: native.level(dtype) for dtype in ("bfloat16", "float32")} if absence is None else None,
            "threads": native.thread_count(),
        },
        "operations": [
            {"operation": f.operation, "example": f.example, "taken": f.taken, "not": dict(f.refused)}
            for f in dispatch.survey()
        ],
        "operations_without_examples": sorted(
            name for name, operation in dispatch.OPERATIONS.items() if not operation.examples()
        ),
    }


def _show(document: dict[str, Any]) -> None:
    click.echo(" ".join(f"{name} {version}" for name, version in document["versions"].items()))
    click.echo(f"{document['system']}; " + "; ".join(document["devices"]))
    click.echo(f"caches: {document['caches']['all']}; compiled programs: {document['caches']['programs']}")
    native = document["native"]
    if native["absent"] is None:
        levels = ", ".join(f"{level} for {dtype}" for dtype, level in native["level"].items())
        click.echo(f"CPU kernels: {native['library']} ({levels}; {native['threads']} threads)")
    else:
        click.echo(f"CPU kernels: none: {native['absent']} (compiler: {native['compiler'] or 'none'})")
    rows = [(row["operation"], row["example"], row["taken"], row["not"]) for row in document["operations"]]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for *cells, refused in rows:
        reasons = "; ".join(f"not {name}: {reason}" for name, reason in refused.items())
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        click.echo(f"{line}  {reasons}".rstrip())
    if names := document["operations_without_examples"]:
        click.echo(f"chosen call by call: {', '.join(names)}")
