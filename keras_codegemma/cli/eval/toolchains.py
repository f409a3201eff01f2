"""`codegemma eval toolchains`: the languages whose programs can be compiled and run here."""

import click

from keras_codegemma.cli.eval.options import versions
from keras_codegemma.cli.options import debug_option, json_option
from keras_codegemma.cli.terminal import print_json


@click.command("toolchains")
@json_option
@debug_option
def toolchains(*, as_json: bool) -> None:
    """Show the compilers and interpreters found here, with versions."""
    from keras_codegemma.evaluation.babelcode import LANGUAGES
    from keras_codegemma.evaluation.toolchains import INSTALL

    found = versions()
    if as_json:
        print_json({language: found.get(language) for language in LANGUAGES})
        return
    for language in LANGUAGES:
        click.echo(f"{language}: {found.get(language) or f'toolchain not found; install {INSTALL[language]}'}")
