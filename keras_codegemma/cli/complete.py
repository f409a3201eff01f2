"""`codegemma complete`: fills in what belongs at a place in a file."""

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from keras_codegemma import neighbours
from keras_codegemma.cli import excerpt
from keras_codegemma.cli.cursor import Place, read_place
from keras_codegemma.cli.options import Sampling, debug_option, generation_options, json_option, load_model
from keras_codegemma.cli.terminal import is_terminal, print_json, progress, remark

if TYPE_CHECKING:
    from keras_codegemma.causal_lm import CodeGemmaCausalLM
    from keras_codegemma.completion import Completion
    from keras_codegemma.fim import ContextFile

CHARS_PER_TOKEN = 4
"""Of code, generously: what is too much is cut when the prompt is made."""


@click.command("complete")
@click.argument("position", metavar="FILE:LINE[:COLUMN]")
@click.option("--write", is_flag=True, help="Insert the completion into the file.")
@click.option("--raw", is_flag=True, help="Print the completion alone, exactly.")
@click.option("--context", is_flag=True, help="Let the model see neighbouring files of the same repository.")
@click.option(
    "--layout",
    type=click.Choice(["psm", "spm"]),
    help="Prefix or suffix first in the prompt. By default the preset's better one.",
)
@generation_options(max_new_tokens=64)
@json_option
@debug_option
def command(
    position: str,
    *,
    write: bool,
    raw: bool,
    context: bool,
    layout: str | None,
    preset: str,
    dtype: str,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Fill in what belongs at a place in a file, and print the lines around it.

    LINE and COLUMN count from 1, COLUMN in characters. The cursor is before that character; without COLUMN it is at the
    end of the line. What the model writes is marked with + and, on a terminal, in colour.
    """
    if raw and as_json:
        raise click.UsageError("--raw and --json each print the completion in another form. Give one of them.")
    place = read_place(position)
    lm = load_model(preset, dtype)
    files = _context_files(place, lm) if context else []
    started = time.monotonic()
    with progress("Completing"):
        completion = lm.infill(
            place.prefix,
            place.suffix,
            path=neighbours.path_in_repository(place.path) if context else None,
            context_files=files,
            layout=layout,
            details=True,
            **Sampling(**sampling).arguments(),
        )
    if write:
        place.insert(completion.text)
    _remark_on(completion, place, write=write)
    if as_json:
        seconds = time.monotonic() - started
        print_json(_document(place, completion, files, preset=preset, written=write, seconds=seconds))
    elif raw:
        click.echo(completion.text, nl=False)
    elif is_terminal(sys.stdout):
        excerpt.coloured(place.prefix, completion.text, place.suffix)
    else:
        click.echo(excerpt.plain(place.prefix, completion.text, place.suffix), nl=False)


def _context_files(place: Place, lm: "CodeGemmaCausalLM") -> list["ContextFile"]:
    max_chars = CHARS_PER_TOKEN * lm.backbone.config.context_length
    return neighbours.find_neighbours(place.path, place.prefix + place.suffix, max_chars=max_chars)


def _remark_on(completion: "Completion", place: Place, *, write: bool) -> None:
    cut = completion.trimmed
    parts = {"before the cursor": cut.prefix, "after it": cut.suffix, "of other files": cut.context}
    if left_out := [f"{chars} {where}" for where, chars in parts.items() if chars]:
        remark(f"the model's context is full; characters left out: {', '.join(left_out)}.")
    if not completion.text:
        remark("the model would insert nothing here.")
    elif write:
        remark(f"wrote {place.path}.")


def _document(
    place: Place,
    completion: "Completion",
    files: list["ContextFile"],
    *,
    preset: str,
    written: bool,
    seconds: float,
) -> dict[str, Any]:
    cut = completion.trimmed
    return {
        "file": str(place.path),
        "line": place.line,
        "column": place.column,
        "preset": preset,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "new_tokens": len(completion.token_ids),
        "logprob": completion.logprob,
        "trimmed_chars": {"prefix": cut.prefix, "suffix": cut.suffix, "context": cut.context},
        "context_files": [path for path, _ in files],
        "written": written,
        "seconds": round(seconds, 3),
    }
