"""Options that several subcommands share, and the values made from them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keras_codegemma.cli.terminal import progress

if TYPE_CHECKING:
    from keras_codegemma.causal_lm import CodeGemmaCausalLM
    from keras_codegemma.sampling import Sampler

DEFAULT_PRESET = "code_gemma_tiny"

Command = TypeVar("Command", bound=Callable[..., Any])


def debug_option(function: Command) -> Command:
    """`--debug`: a traceback with an error."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.meta["keras_codegemma.cli.debug"] = value

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=remember, help="Show a traceback with an error."
    )(function)


def json_option(function: Command) -> Command:
    """`--json`: one JSON document instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(function)


def generation_options(*, max_new_tokens: int) -> Callable[[Command], Command]:
    """The model, and how it chooses tokens; they arrive as `preset`, `dtype` and the fields of `Sampling`."""
    added = (
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
            help="Number type to compute in; published weights are bfloat16.",
        ),
        click.option(
            "--max-new-tokens",
            type=click.IntRange(min=1),
            default=max_new_tokens,
            show_default=True,
            help="The most tokens to write.",
        ),
        click.option(
            "--stop-at",
            type=click.Choice(["line", "block"]),
            help="End after a line, or with the block. By default the model decides.",
        ),
        click.option(
            "--temperature",
            type=click.FloatRange(min=0),
            help="Draw tokens at random, more evenly the higher it is. 0 is the default: always the likeliest.",
        ),
        click.option("--top-k", type=click.IntRange(min=1), help="Draw among the K likeliest tokens."),
        click.option(
            "--top-p",
            type=click.FloatRange(min=0, max=1, min_open=True),
            help="Draw among the likeliest tokens that together have this probability.",
        ),
        click.option("--seed", type=click.IntRange(min=0), help="Makes random results repeat."),
    )

    def add(function: Command) -> Command:
        for option in reversed(added):
            function = option(function)
        return function

    return add


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What `generation_options` gives beside the model, as a method of `CodeGemmaCausalLM` takes it."""

    max_new_tokens: int
    stop_at: str | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None

    def arguments(self) -> dict[str, Any]:
        """Keywords for `infill`, `generate` and `chat`. Imports JAX."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "stop_at": self.stop_at,
            "sampler": self._sampler(),
            "seed": self.seed,
        }

    def _sampler(self) -> "Sampler":
        from keras_codegemma import sampling

        is_random = self.temperature is not None or self.top_k is not None or self.top_p is not None
        if not is_random or self.temperature == 0:
            return sampling.GreedySampler()
        temperature = 1.0 if self.temperature is None else self.temperature
        if self.top_p is not None:
            return sampling.TopPSampler(p=self.top_p, k=self.top_k, temperature=temperature)
        if self.top_k is not None:
            return sampling.TopKSampler(k=self.top_k, temperature=temperature)
        return sampling.RandomSampler(temperature=temperature)


@contextlib.contextmanager
def wrong_use(*errors: type[Exception]) -> Iterator[None]:
    """Turns errors of the library that the arguments alone caused into wrong use."""
    try:
        yield
    except errors as error:
        raise click.UsageError(str(error)) from error


def check_preset(preset: str) -> None:
    """Refuses, before anything is loaded, what is neither a name, nor a handle, nor a folder.

    Raises:
        click.UsageError: an unknown preset.
    """
    from keras_codegemma.presets.registry import find

    if "://" not in preset and not Path(preset).expanduser().exists():
        with wrong_use(ValueError):
            find(preset)


def load_model(preset: str, dtype: str) -> "CodeGemmaCausalLM":
    """Loads a model, with a progress bar where somebody looks on.

    Raises:
        click.UsageError: an unknown preset.
        ValueError, OSError, ImportError: as `presets.load`.
    """
    check_preset(preset)
    with progress(f"Loading {preset}") as report:
        from keras_codegemma import presets
        from keras_codegemma.causal_lm import CodeGemmaCausalLM

        loaded = presets.load(preset, dtype=dtype, progress=report)
        return CodeGemmaCausalLM(loaded.backbone, loaded.preprocessor)
