"""The turn template of the instruction-tuned models (codegemma-7b-it, 1.1): messages to parts.

    <start_of_turn>user\\n question <end_of_turn>\\n <start_of_turn>model\\n answer <end_of_turn>\\n

The source is the chat template of google/gemma-7b-it, which CodeGemma's model card repeats: roles alternate
from user, "assistant" is written "model", contents are stripped of white space at both ends. That template
refuses system messages, because Gemma was trained without them; here a first system message is put before the
first question, and a warning says so once.

No `<bos>` here: the preprocessor puts one at the very start. Plain Python, no tokenizer.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache

from keras_codegemma.fim import Part, Sentinel

ROLES = {"user": "user", "assistant": "model", "model": "model"}
"""The name in a message -> the name in the template."""

_logger = logging.getLogger(__name__)

Message = Mapping[str, str]


def format(messages: Sequence[Message]) -> tuple[Part, ...]:
    """Builds the parts of a prompt, up to and including the opening of the model's turn.

    Args:
        messages: mappings with "role" ("user", "assistant" or "model"; "system" for the first) and "content";
            other keys are not looked at. The last one must be from the user. Contents may spell control
            pieces.

    Raises: TypeError: messages that are not a sequence of mappings with text in them. ValueError: no
        messages, an unknown role, roles that do not alternate, an empty content, or a last message
            that is not from the user.

    >>> [str(part) for part in format([{"role": "user", "content": "Hi"}])]
    ['<start_of_turn>', 'user\\nHi', '<end_of_turn>', '\\n', '<start_of_turn>', 'model\\n']
    """
    turns = _turns(messages)
    if turns[-1][0] != "user":
        raise ValueError(
            "The last message of a chat prompt must be from the user; got one from the model. "
            "Add the user's next message, or leave the model's answer out."
        )
    parts = [part for role, content in turns for part, _ in _turn_parts(role, content)]
    return (*parts, Sentinel.START_OF_TURN, "model\n")


def format_training(messages: Sequence[Message]) -> list[tuple[Part, bool]]:
    """Builds the parts of a finished chat, each with whether the model has to learn to write it.

    The model writes its answers and the `<end_of_turn>` after each; all else is given to it.

    Args:
        messages: as for `format`, but the last one must be from the model.

    Raises:
        TypeError, ValueError: as `format`; also where the last message is from the user.
    """
    turns = _turns(messages)
    if turns[-1][0] != "model":
        raise ValueError(
            "The last message of a chat to learn from must be the model's answer; got one from the user. Add "
            "the answer, or leave the question out."
        )
    return [part for role, content in turns for part in _turn_parts(role, content)]


def _turn_parts(role: str, content: str) -> list[tuple[Part, bool]]:
    """One turn. Newlines are whole pieces in the vocabulary, so the cut after the role changes no id."""
    is_model = role == "model"
    opening = [("model\n", False), (content, True)] if is_model else [(f"user\n{content}", False)]
    return [
        (Sentinel.START_OF_TURN, False),
        *opening,
        (Sentinel.END_OF_TURN, is_model),
        ("\n", False),
    ]


def _turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Checks messages and returns (template role, content) pairs, the system message folded in."""
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        raise TypeError(
            f"A chat must be a list of messages; got {type(messages).__name__}: {messages!r:.80}. "
            'Write [{"role": "user", "content": "..."}].'
        )
    read = [_read_message(message, index) for index, message in enumerate(messages)]
    system = read.pop(0)[1] if read and read[0][0] == "system" else None
    if not read:
        raise ValueError(
            f"A chat must hold at least one message from the user; got {len(messages)} messages with none. "
            'Write [{"role": "user", "content": "..."}].'
        )
    for index, (role, _) in enumerate(read):
        expected = ("user", "model")[index % 2]
        if role != expected:
            raise ValueError(
                "Roles in a chat must alternate user, assistant, user, ..., with system only as the first; "
                f"got roles {[message['role'] for message in messages]}. Merge or reorder the messages."
            )
    if system is not None:
        _say_once_where_the_system_message_goes()
        read[0] = ("user", f"{system}\n\n{read[0][1]}")
    return read


def _read_message(message: Message, index: int) -> tuple[str, str]:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise TypeError(
            f'A message must be a mapping with "role" and "content"; got {message!r:.80} at index {index}. '
            'Write {"role": "user", "content": "..."}.'
        )
    role, content = message["role"], message["content"]
    if role not in ("system", *ROLES):
        raise ValueError(
            f'A role must be "user", "assistant" (or "model") or "system"; got {role!r} at index {index}. '
            "Rename it to one of these."
        )
    if not isinstance(content, str) or isinstance(content, Sentinel):
        raise TypeError(
            f"The content of a message must be plain text (str); got {type(content).__name__} {content!r:.80}"
            f" at index {index}. Pass the text itself."
        )
    if not content.strip():
        raise ValueError(
            f"The content of a message must not be empty or blank; got {content!r:.80} at index {index}. "
            "Give it text, or leave the message out."
        )
    return ROLES.get(role, "system"), content.strip()


@cache
def _say_once_where_the_system_message_goes() -> None:
    _logger.warning(
        "Gemma was trained without system messages: the system message is written before the first user "
        "message, in the same turn."
    )
