"""The `codegemma` command: one short file per subcommand, loaded when it is asked for.

Exit codes: 0 success; 1 the task failed; 2 wrong use, which is everything that the arguments alone show to be wrong,
such as an unknown option or preset or a line that the file does not have; 130 interrupted.

Standard output holds the result and nothing else. Errors are one line on standard error, without a traceback unless
`--debug` is given; progress and remarks go there too. Keras and JAX (about a second) are imported after the arguments
were checked.
"""

import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from keras_codegemma import __version__, heap
from keras_codegemma.cli.runtime import prepare_process
from keras_codegemma.cli.terminal import discard_output

COMMANDS = ("complete", "generate", "chat", "eval", "finetune", "plan", "presets", "convert", "doctor")

EXPECTED_ERRORS = (ValueError, OSError, ImportError)
"""What the library raises for input that it cannot work with; any other exception is a defect of ours."""


class Program(click.Group):
    """A group that imports a subcommand when it is named, and turns errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"keras_codegemma.cli.{cmd_name}").command

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **options: Any) -> Any:
        """Runs a command line and ends the process with its exit code."""
        context = None
        try:
            with self.make_context(prog_name or "codegemma", list(sys.argv[1:] if args is None else args)) as context:
                self.invoke(context)
            sys.stdout.flush()
            code = 0
        except Exception as error:  # noqa: BLE001 (the outermost frame: nothing is swallowed, all is reported)
            if context is not None and context.meta.get(__name__ + ".debug"):
                traceback.print_exc()
            code = _report(error)
        except KeyboardInterrupt:
            click.echo("\ncodegemma: interrupted.", err=True)
            code = 130
        sys.exit(code)


def _report(error: Exception) -> int:
    """Says on standard error what went wrong, and returns the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader of our output has seen enough, as `head` does.
        discard_output()
        return 0
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        place = context.command_path if context is not None else "codegemma"
        hint = f" Try '{place} --help'." if type(error) is not click.UsageError and error.exit_code == 2 else ""
        _line(f"{place}: {error.format_message()}{hint}")
        return error.exit_code
    if isinstance(error, EXPECTED_ERRORS):
        _line(f"codegemma: {error}")
    else:
        _line(
            f"codegemma: this should not happen, {type(error).__name__}: {error}. "
            "Run it again with --debug to see where, and report that."
        )
    return 1


def _line(message: str) -> None:
    click.echo(" ".join(message.split()), err=True)


@click.group("codegemma", cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="codegemma")
def app() -> None:
    """Completes code with Google's CodeGemma models, on this machine.

    Without --preset, code_gemma_tiny is used: it ships with the package, works offline and shows every mechanism, but
    it is no substitute for CodeGemma. `codegemma presets list` shows the others.
    """


def main() -> None:
    """The console script."""
    prepare_process()
    if sys.argv[1:2] == ["finetune"]:  # it trains for minutes; a process that goes on afterwards would stay large
        heap.keep_freed_memory()
    app.main(prog_name="codegemma")
