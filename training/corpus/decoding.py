"""Turns a file's bytes into text, or says why they are none.

UTF-8, UTF-8 and UTF-16 and UTF-32 with a byte order mark, whatever encoding a file declares for itself (Python's
PEP 263, XML, HTML, Ruby), and Windows-1252 where nothing else makes sense. No statistical guess beyond that: a
guess at bytes that are Shift-JIS or KOI8 yields nonsense that no later stage could tell from text.
"""

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with UTF-16's mark
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"(?:coding[:=]\s*|encoding\s*=\s*[\"']|charset\s*=\s*[\"']?)([-\w.]{2,40})", re.IGNORECASE)
_DECLARATION_BYTES = 400
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\r\f\v\b\x1b")) + b"\x7f"
_MOST_CONTROLS_RATE = 0.001
"""Form feeds, tabs and escapes are text; terminals' and editors' test data hold a few of the others."""
_MOST_HIGH_RATE = 0.1
_MOST_HIGH_RUN = 2


class NotTextError(ValueError):
    """Bytes that are no text; `reason` is "null-bytes", "not-utf-8" or "not-text"."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


def decode(data: bytes) -> str:
    """The text of a file, without a byte order mark; line ends stay.

    Raises:
        NotTextError: "null-bytes" without a mark of UTF-16 or 32; "not-utf-8" for bytes of no known encoding;
            "not-text" for control characters in more than one of a thousand places.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _checked(_decode_as(data[len(mark) :], encoding))
    if b"\0" in data:
        raise NotTextError("null-bytes", f"first at {data.index(0)}")
    try:
        return _checked(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        first = error.start
    if declared := _declared(data):
        return _checked(_decode_as(data, declared))
    if _is_western(data):
        return _checked(_decode_as(data, "cp1252"))
    raise NotTextError("not-utf-8", f"first at {first}")


def _decode_as(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise NotTextError("not-utf-8", str(error)) from error


def _checked(text: str) -> str:
    if "\0" in text:
        raise NotTextError("null-bytes", f"first at {text.index(chr(0))}")
    if text.isprintable():
        return text
    packed = text.encode("utf-8", "surrogatepass")
    controls = len(packed) - len(packed.translate(None, _CONTROLS))
    if controls > max(1, _MOST_CONTROLS_RATE * len(text)):
        raise NotTextError("not-text", f"{controls} control characters")
    return text


def _declared(data: bytes) -> str | None:
    """The encoding that a file declares for itself, if it is one of text; UTF-8 has been tried."""
    match = _DECLARED.search(data[:_DECLARATION_BYTES])
    if not match:
        return None
    try:
        info = codecs.lookup(match[1].decode("ascii", "replace"))
    except LookupError:
        return None
    # `codecs` also has "rot13", "zip" and "unicode_escape", which are no encodings of text.
    is_text = getattr(info, "_is_text_encoding", True) and "escape" not in info.name and info.name != "idna"
    return info.name if is_text and info.name not in ("utf-8", "punycode", "undefined") else None


def _is_western(data: bytes) -> bool:
    """Whether bytes beyond ASCII are few and stand alone, as accents, quotes and (c) do.

    Scripts of two bytes to a character come in runs of even length, other alphabets in words.
    """
    runs = _HIGH_RUN.findall(data)
    high = sum(map(len, runs))
    single = sum(len(run) == 1 for run in runs)
    return high <= _MOST_HIGH_RATE * len(data) and max(map(len, runs)) <= _MOST_HIGH_RUN and 2 * single > len(runs)
