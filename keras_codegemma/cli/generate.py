"""`codegemma generate`: continues a prompt."""

import sys
from typing import Any

import click

from keras_codegemma.cli.options import Sampling, debug_option, generation_options, json_option, load_model
from keras_codegemma.cli.terminal import print_json, print_pieces


@click.command("generate")
@click.argument("prompt", required=False)
@click.option("--echo", is_flag=True, help="Print the prompt first.")
@click.option("--parse-special", is_flag=True, help="Read sentinels such as <|fim_prefix|> in the prompt as commands.")
@generation_options(max_new_tokens=128)
@json_option
@debug_option
def command(
    prompt: str | None,
    *,
    echo: bool,
    parse_special: bool,
    preset: str,
    dtype: str,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Continue PROMPT, or what comes on standard input, and print the continuation as it is written.

    Standard input is taken as it is: a newline at its end, as `echo` makes, belongs to the prompt.
    """
    text = read_text(prompt, "prompt")
    lm = load_model(preset, dtype)
    options: dict[str, Any] = {"parse_special": parse_special, **Sampling(**sampling).arguments()}
    if as_json:
        continuation = lm.generate(text, strip_prompt=True, **options)
        print_json({"preset": preset, "prompt": text, "text": continuation})
        return
    pieces = lm.generate(text, stream=True, **options)
    if echo:
        click.echo(text, nl=False)
    print_pieces(pieces)


def read_text(argument: str | None, name: str) -> str:
    """The argument, or standard input where it is missing or "-".

    Raises:
        click.UsageError: neither, an empty one, or input that is not UTF-8.
    """
    if argument in (None, "-"):
        if sys.stdin is None or (argument is None and sys.stdin.isatty()):
            raise click.UsageError(
                f"A {name} is needed, as an argument or on standard input; got none. Put it in quotes."
            )
        contents = sys.stdin.buffer.read()
        try:
            argument = contents.decode()
        except UnicodeDecodeError as error:
            raise click.UsageError(
                f"Standard input must be UTF-8 text; byte {error.start} of it, 0x{contents[error.start]:02x}, is not. "
                "Convert it to UTF-8."
            ) from error
    if not argument:
        raise click.UsageError(f"The {name} must not be empty; got no text. Give at least one word.")
    return argument
