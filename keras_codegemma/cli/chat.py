"""`codegemma chat`: asks the instruction-tuned model, once or in a conversation."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from keras_codegemma.cli.generate import read_text
from keras_codegemma.cli.options import Sampling, debug_option, generation_options, json_option, load_model
from keras_codegemma.cli.terminal import print_json, print_pieces, remark

if TYPE_CHECKING:
    from keras_codegemma.causal_lm import CodeGemmaCausalLM


@click.command("chat")
@click.argument("message", required=False)
@click.option("--system", metavar="TEXT", help="Instructions put before the first message.")
@generation_options(max_new_tokens=512)
@json_option
@debug_option
def command(
    message: str | None, *, system: str | None, preset: str, dtype: str, as_json: bool, **sampling: Any
) -> None:
    """Answer MESSAGE, or what comes on standard input; on a terminal, without MESSAGE, have a conversation.

    In a conversation an empty line is ignored, /reset forgets what was said, and /exit or Ctrl-D ends it. Ctrl-C stops
    an answer.
    """
    is_conversation = message is None and sys.stdin is not None and sys.stdin.isatty()
    if is_conversation and as_json:
        raise click.UsageError("--json needs a MESSAGE, or one on standard input; got none. Put it in quotes.")
    text = "" if is_conversation else read_text(message, "message")
    lm = load_model(preset, dtype)
    _remark_on_tuning(preset)
    options = Sampling(**sampling).arguments()
    start = [] if system is None else [{"role": "system", "content": system}]
    if is_conversation:
        converse(lm, start, options, questions=_typed_lines())
        return
    messages = [*start, {"role": "user", "content": text}]
    if as_json:
        print_json({"preset": preset, "messages": messages, "text": lm.chat(messages, **options)})
    else:
        print_pieces(lm.chat(messages, stream=True, **options))


def converse(
    lm: "CodeGemmaCausalLM", start: list[dict[str, str]], options: dict[str, Any], *, questions: Iterator[str]
) -> None:
    """Answers one question after the other, all of what was said before in mind.

    Args:
        lm: the model.
        start: messages before the first question: none, or a system message.
        options: keywords of `lm.chat`.
        questions: what the user types; its end, or "/exit", ends the conversation.
    """
    messages = list(start)
    for question in questions:
        text = question.strip()
        if text == "/exit":
            return
        if text == "/reset":
            messages = list(start)
        elif text:
            asked = [*messages, {"role": "user", "content": text}]
            if answer := _answer(lambda asked=asked: print_pieces(lm.chat(asked, stream=True, **options))):
                messages = [*asked, {"role": "assistant", "content": answer}]


def _answer(answer: Callable[[], str]) -> str | None:
    """The answer, or None where there is none to remember: interrupted, blank, or beyond the context."""
    try:
        return answer().strip() or None
    except KeyboardInterrupt:
        click.echo()
        remark("stopped; this question and its answer are forgotten.")
    except ValueError as error:
        remark(f"{error} /reset starts anew.")
    return None


def _typed_lines() -> Iterator[str]:
    with contextlib.suppress(ImportError):  # not on every platform
        importlib.import_module("readline")  # gives input() a history and arrow keys
    while True:
        try:
            yield input("> ")
        except EOFError:
            click.echo()
            return


def _remark_on_tuning(preset: str) -> None:
    from keras_codegemma.presets.registry import builtin_presets

    info = builtin_presets().get(preset)
    if info is not None and not info.instruction_tuned:
        tuned = [name for name, other in builtin_presets().items() if other.instruction_tuned]
        remark(f"{preset} is not instruction-tuned: expect text, not answers. Made for chat: {', '.join(tuned)}.")
