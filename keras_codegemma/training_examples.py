"""What a caller may train on, told apart: a text, a (prefix, suffix, middle) triple, or a chat.

Plain Python: `read_example` knows one example, `read_batch` the containers that many come in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_codegemma.chat import Message


@dataclass(frozen=True, kw_only=True)
class Document:
    """A text to learn from its first character to its last."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Triple:
    """A place in a file, and the text that belongs there."""

    prefix: str
    suffix: str
    middle: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A finished chat, to learn the model's turns from."""

    messages: Sequence[Message]


Example = Document | Triple | Conversation

_FIELDS = ("prefix", "suffix", "middle")


def read_example(x: Any) -> Example:
    """Tells what an example is.

    Args:
        x: a text; a (prefix, suffix, middle) tuple or list of texts, or a mapping with these keys; a list of
            messages. Texts may be UTF-8 bytes.

    Raises:
        TypeError: none of these.
        ValueError: bytes that are not UTF-8.
    """
    if isinstance(x, str | bytes):
        return Document(text=_text(x))
    if isinstance(x, Mapping) and set(x) == set(_FIELDS):
        x = tuple(x[name] for name in _FIELDS)
    if isinstance(x, tuple | list) and len(x) == 3 and all(isinstance(part, str | bytes) for part in x):
        prefix, suffix, middle = (_text(part) for part in x)
        return Triple(prefix=prefix, suffix=suffix, middle=middle)
    if isinstance(x, tuple | list) and x and all(isinstance(message, Mapping) for message in x):
        return Conversation(messages=x)
    raise TypeError(
        "An example must be a text, a (prefix, suffix, middle) triple of texts, or a chat as a list of "
        f"messages; got {type(x).__name__}: {x!r:.80}. Convert it to one of these."
    )


def read_batch(x: Any) -> list[Example]:
    """Tells single examples from batches of them.

    Args:
        x: one example; a list, tuple or array of examples; or a mapping of the columns "prefix", "suffix" and
            "middle". A tuple of three texts is one triple, a list of three texts is three documents.

    Raises:
        TypeError: something else, or an example that is none.
        ValueError: no examples, columns of different lengths, or bytes that are not UTF-8.
    """
    x = _plain(x)
    if isinstance(x, str | bytes) or (isinstance(x, tuple) and _is_triple(x)):
        return [read_example(x)]
    if isinstance(x, Mapping):
        return _read_columns(x)
    if isinstance(x, tuple | list) and x:
        if all(isinstance(item, Mapping) and "role" in item for item in x):
            return [read_example(x)]
        return [read_example(_plain(item)) for item in x]
    if isinstance(x, tuple | list):
        raise ValueError("A batch must hold at least one example; got none. Leave empty batches out.")
    return [read_example(x)]


def _read_columns(x: Mapping[str, Any]) -> list[Example]:
    columns = {name: _plain(column) for name, column in x.items()}
    if set(columns) != set(_FIELDS) or not all(isinstance(column, tuple | list) for column in columns.values()):
        return [read_example(columns)]
    lengths = {name: len(columns[name]) for name in _FIELDS}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"The columns prefix, suffix and middle must have the same length; got lengths {lengths}. Give "
            "every example all three."
        )
    rows = zip(*(columns[name] for name in _FIELDS), strict=True)
    return [read_example(tuple(_plain(part) for part in row)) for row in rows]


def _is_triple(x: Sequence[Any]) -> bool:
    return len(x) == 3 and all(isinstance(part, str | bytes) for part in x)


def _plain(x: Any) -> Any:
    """Arrays and tensors of strings, of whatever library, as lists of str or bytes."""
    if hasattr(x, "numpy"):
        x = x.numpy()
    return x.tolist() if hasattr(x, "tolist") else x


def _text(x: str | bytes) -> str:
    if isinstance(x, str):
        return x
    try:
        return x.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Text given as bytes must be UTF-8; got the byte {x[error.start]:#04x} at position "
            f"{error.start}. Decode it with its own encoding first."
        ) from None
