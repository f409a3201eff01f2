"""A place in a file, `FILE:LINE[:COLUMN]`: found, read and, with a completion, written back.

Lines and columns count from 1, columns in characters; the cursor is before the character it names, and without a column
at the end of the line. The model sees lines that end in \\n; the file keeps its own line ends and byte order mark.
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

_POSITION = re.compile(r"(?P<file>.+?):(?P<line>\d+)(?::(?P<column>\d+))?", re.DOTALL)
_LINE_END = re.compile(r"\r\n|\n|\r")
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A cursor in a file.

    Attributes:
        path: the file, as the user gave it.
        line: of the cursor, from 1.
        column: of the cursor, from 1.
        before: the file's text up to the cursor, line ends as they are.
        after: the rest.
        contents: the file's bytes, as they were read.
    """

    path: Path
    line: int
    column: int
    before: str
    after: str
    contents: bytes

    @property
    def prefix(self) -> str:
        """What the model sees before the cursor."""
        return _LINE_END.sub("\n", self.before.removeprefix(_BYTE_ORDER_MARK))

    @property
    def suffix(self) -> str:
        """What the model sees after the cursor."""
        return _LINE_END.sub("\n", self.after)

    def insert(self, text: str) -> None:
        """Writes the file with a text at the cursor: whole or not at all, mode and symbolic links kept.

        Raises:
            OSError: it cannot be written, or has changed since it was read; then it is as it was.
        """
        line_end = _LINE_END.search(self.before + self.after)
        if line_end is not None:
            text = text.replace("\n", line_end[0])
        target = self.path.resolve()
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        written = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write((self.before + text + self.after).encode())
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(target, written)
            if target.read_bytes() != self.contents:
                raise OSError(
                    f"{self.path} must stay as it was while its completion is made; it has changed, so nothing was "
                    "written. Run the command again."
                )
            written.replace(target)
        except BaseException:
            written.unlink(missing_ok=True)
            raise


def read_place(position: str) -> Place:
    """Reads the file and finds the cursor.

    Args:
        position: `FILE:LINE` or `FILE:LINE:COLUMN`.

    Raises:
        click.UsageError: another form, no such file or place in it, or a file without text to complete.
        click.ClickException: a file that may not be read.
    """
    path, line, column = _parse(position)
    contents = _read(path)
    text = _decode(contents, path)
    return _at(text, path, line, column, contents)


def _parse(position: str) -> tuple[Path, int, int | None]:
    found = _POSITION.fullmatch(position)
    if found is None:
        raise click.UsageError(
            f"The place to complete must be FILE:LINE or FILE:LINE:COLUMN, as in shop.py:14 or shop.py:14:9; got "
            f"{position!r}. Add the line that the cursor is in."
        )
    path, column = Path(found["file"]), found["column"]
    if column is not None and not path.exists() and Path(f"{path}:{found['line']}").is_file():
        return Path(f"{path}:{found['line']}"), int(column), None  # a file name with a colon
    return path, int(found["line"]), None if column is None else int(column)


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise click.UsageError(f"The place to complete must be in a file; {path} is a directory. Name a file in it.")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise click.UsageError(
            f"The file to complete must exist; there is no {path} in {Path.cwd()}. Check the path."
        ) from None
    except OSError as error:
        raise click.ClickException(
            f"The file to complete must be readable; {path} is not ({error.strerror}). Check its permissions."
        ) from error


def _decode(contents: bytes, path: Path) -> str:
    if b"\0" in contents:
        raise click.UsageError(
            f"The file to complete must be text; {path} has a NUL byte at offset {contents.index(0)}, as binary files "
            "(and UTF-16) have. Name a text file, in UTF-8."
        )
    try:
        text = contents.decode()
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        raise click.UsageError(
            f"The file to complete must be UTF-8; {path} has the byte 0x{contents[error.start]:02x} in line {line}, "
            "which is not. Save it as UTF-8."
        ) from error
    if not text.removeprefix(_BYTE_ORDER_MARK):
        raise click.UsageError(
            f"The file to complete must have some text for the model to go by; {path} is empty. Write its first line, "
            "or give a description to `codegemma generate`."
        )
    return text


def _at(text: str, path: Path, line: int, column: int | None, contents: bytes) -> Place:
    mark = len(text) - len(text.removeprefix(_BYTE_ORDER_MARK))
    starts = [mark, *(found.end() for found in _LINE_END.finditer(text))]
    if not 1 <= line <= len(starts):
        raise click.UsageError(
            f"The cursor must be in a line from 1 to {len(starts)} of {path}; got line {line}. Name one of these."
        )
    start = starts[line - 1]
    line_end = _LINE_END.search(text, start)
    length = (len(text) if line_end is None else line_end.start()) - start
    if column is None:
        column = length + 1
    if not 1 <= column <= length + 1:
        raise click.UsageError(
            f"The cursor must be in a column from 1 to {length + 1} of line {line} of {path}, which has {length} "
            f"characters; got column {column}. Leave the column out for the end of the line."
        )
    offset = start + column - 1
    return Place(path=path, line=line, column=column, before=text[:offset], after=text[offset:], contents=contents)
