"""`codegemma eval`: benchmarks, your own repository and safety figures; one short file per group of subcommands.

The files of a run lie in one folder, and each stage goes on where it was interrupted: problems.jsonl (`problems`),
samples.jsonl (`sample`), results.jsonl (`score`), report.json, report.md and report.html (`report`). `run` is all of
them.
"""

import importlib

import click

SUBCOMMANDS = {
    "run": "whole",
    "problems": "stages",
    "sample": "stages",
    "score": "stages",
    "report": "stages",
    "repo": "repo",
    "safety": "safety",
    "fetch": "fetch",
    "toolchains": "toolchains",
}
"""Subcommand -> the module that has it, under its own name."""


class Subcommands(click.Group):
    """A group that imports a subcommand when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        return getattr(importlib.import_module(f"{__name__}.{SUBCOMMANDS[cmd_name]}"), cmd_name)


@click.group("eval", cls=Subcommands)
def command() -> None:
    """Measure a model: published benchmarks, your own repository, safety.

    `run` makes the published table with one command; `problems`, `sample`, `score` and `report` are its stages, with
    files between. `repo` asks how well a model completes your code. Generated programs are run only with
    --run-untrusted-programs, in a sandbox.
    """
