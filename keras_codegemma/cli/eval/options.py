"""Options that the subcommands of `codegemma eval` share, and the names of tasks."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keras_codegemma.cli.options import DEFAULT_PRESET

if TYPE_CHECKING:
    from keras_codegemma.evaluation.execution import Executor
    from keras_codegemma.evaluation.model import CausalLM

Command = TypeVar("Command", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)
SANDBOXES = ("bubblewrap", "plain-processes-not-isolated")


def together(*added: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order of the help."""

    def add(function: Command) -> Command:
        for option in reversed(added):
            function = option(function)
        return function

    return add


folder_option = click.option("--folder", type=FOLDER, required=True, help="Of the run's files; made if missing.")

data_option = click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="The benchmark files."
)

task_options = together(
    click.option(
        "--task",
        "tasks",
        multiple=True,
        metavar="NAME",
        help="A task, or the first part of several names such as infilling; again for more. By default all.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="The first problems of each task only."),
)

model_options = together(
    click.option(
        "--preset",
        default=DEFAULT_PRESET,
        show_default=True,
        metavar="NAME",
        help="A built-in name, a kaggle://, hf:// or gs:// handle, or a folder.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16"]),
        default="bfloat16",
        show_default=True,
        help="Number type to compute in.",
    ),
    click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of whatever is random."),
)

sampling_options = together(
    model_options,
    click.option("--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Of each problem."),
    click.option(
        "--temperature",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="0 is greedy; above, tokens are drawn with top-p 0.95.",
    ),
    click.option(
        "--timed",
        type=click.IntRange(min=0),
        default=10,
        show_default=True,
        help="Infilling problems of each task to time one by one, for the time column.",
    ),
)

execution_options = together(
    click.option(
        "--run-untrusted-programs",
        "allowed",
        is_flag=True,
        help="Run what the model wrote, in the sandbox. Without it, texts alone are compared.",
    ),
    click.option(
        "--sandbox",
        type=click.Choice(SANDBOXES),
        default=SANDBOXES[0],
        show_default=True,
        help="The second one stops next to nothing: only for programs that you have read.",
    ),
    click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Programs at a time."),
)


def chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The tasks that names or first parts of names stand for, in the order of `known`; all for none.

    Raises:
        click.UsageError: a name that stands for nothing.
    """
    for name in names:
        if not any(task == name or task.startswith(f"{name}-") for task in known):
            raise click.UsageError(f"Tasks must be among {', '.join(known)}; got {name}. Correct the name.")
    return [task for task in known if not names or any(task == name or task.startswith(f"{name}-") for name in names)]


def load(preset: str, dtype: str, temperature: float = 0.0) -> "CausalLM":
    """A model as the stages use it."""
    from keras_codegemma.cli.options import load_model

    lm = load_model(preset, dtype)
    from keras_codegemma import samplers
    from keras_codegemma.evaluation.model import CausalLM

    sampler = samplers.TopPSampler(p=0.95, temperature=temperature) if temperature else None
    return CausalLM(lm, sampler=sampler)


@contextlib.contextmanager
def executor(*, allowed: bool, sandbox: str, workers: int) -> Iterator["Executor | None"]:
    """What runs programs, or None where that was not allowed.

    Raises:
        click.ClickException: the sandbox cannot be had here.
    """
    if not allowed:
        yield None
        return
    from keras_codegemma.evaluation.execution import Executor
    from keras_codegemma.evaluation.sandbox import Bubblewrap, PlainProcesses, SandboxUnavailableError

    try:
        plain = sandbox == PlainProcesses.name
        boxes = PlainProcesses(accept_that_nothing_is_isolated=True) if plain else Bubblewrap()
    except SandboxUnavailableError as error:
        raise click.ClickException(str(error)) from error
    try:
        with Executor(boxes, workers=workers, allow_execution=True) as running:
            yield running
    finally:
        boxes.close()


def versions() -> dict[str, str]:
    """The toolchains found here, with Python's own."""
    import platform

    from keras_codegemma.evaluation.babelcode import find_toolchains

    found = {language: toolchain.version for language, toolchain in find_toolchains().items()}
    return {"Python": f"Python {platform.python_version()}", **found}
