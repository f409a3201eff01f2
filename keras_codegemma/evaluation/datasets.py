"""The benchmark files: read from a folder that the user gives, checked against pinned hashes, never shipped.

`sources.json` says of each file where it comes from (URLs with commits), its licence, its number of rows and two
sha256: of the gzipped file as it is laid out here (level 9, modification time 0, no file name) and of what is in it.
The second one decides, because other builds of zlib compress to other bytes. `fetching` makes such a folder.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Source:
    """A benchmark file.

    Attributes:
        rows: lines in it.
        sha256: of the gzipped file as the maintainers have it.
        content_sha256: of its contents.
        origin: whose data it is.
        licence: of the data.
        form: of what the URLs give, as in `fetching.forms`.
        urls: where it can be had; none where nobody offers it.
        note: what else to know of it.
    """

    rows: int
    sha256: str
    content_sha256: str
    origin: str
    licence: str
    form: str
    urls: tuple[str, ...]
    note: str = ""


@cache
def sources() -> Mapping[str, Source]:
    """Every benchmark file by its name in the data folder."""
    document = json.loads(Path(__file__).with_name("sources.json").read_text(encoding="utf-8"))
    return {name: Source(**{**fields, "urls": tuple(fields["urls"])}) for name, fields in document["files"].items()}


def read_rows(folder: str | os.PathLike[str], name: str) -> list[dict[str, Any]]:
    """The rows of one benchmark file.

    Args:
        folder: where the files lie.
        name: a key of `sources()`.

    Raises:
        FileNotFoundError: the folder does not have it.
        ValueError: it is not the pinned file.
    """
    path = Path(folder, name)
    if not path.is_file():
        raise FileNotFoundError(
            f"The benchmark file {name} must lie in the data folder; {path} does not exist. "
            "Pass the folder that has it, or fetch it: codegemma eval fetch --to FOLDER."
        )
    content = checked_contents(path.read_bytes(), name, where=str(path))
    rows = [json.loads(line) for line in content.decode("utf-8").split("\n") if line]
    assert len(rows) == sources()[name].rows, (name, len(rows))
    return rows


def checked_contents(data: bytes, name: str, *, where: str) -> bytes:
    """What is in a gzipped file, if it is the pinned one.

    Args:
        data: of the gzipped file.
        name: a key of `sources()`.
        where: the file lies, for the message.

    Raises:
        ValueError: it holds something else.
    """
    expected = sources()[name]
    try:
        content = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{name} must be a gzipped file; {where} is damaged ({error}). "
            "Fetch it again: codegemma eval fetch --to FOLDER."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected.content_sha256:
        raise ValueError(
            f"The contents of {name} must have the sha256 {expected.content_sha256}; those of {where} have {found}. "
            "Fetch it again from its source: other rows are another benchmark."
        )
    return content
