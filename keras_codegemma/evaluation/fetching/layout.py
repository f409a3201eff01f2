"""Puts benchmark files into place: found or fetched, verified, gzipped, and under their names only when whole."""

import gzip
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

from keras_codegemma.evaluation import language, table
from keras_codegemma.evaluation.datasets import Source, checked_contents, sources
from keras_codegemma.evaluation.fetching import tensorflow_sets
from keras_codegemma.evaluation.fetching.download import download
from keras_codegemma.evaluation.fetching.forms import FORMS

DOWNLOADS = ".downloads"
"""Folder of what is being fetched, inside the data folder; gone when all is there."""
DAMAGED = (ValueError, KeyError, OSError, EOFError, zlib.error)
"""What a form raises for bytes that it cannot read."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """One file in place.

    Attributes:
        name: in the data folder.
        path: of the file.
        how: "there already", "fetched", "from FOLDER" or "from tfds".
        rows: lines in it.
        licence: of the data.
    """

    name: str
    path: str
    how: str
    rows: int
    licence: str


def files_of(tasks: Sequence[str]) -> list[str]:
    """The benchmark files of tasks, keys of `table.TASKS` and `language.TASKS`, each once."""
    files: dict[str, None] = {}
    for name in tasks:
        files |= dict.fromkeys(table.TASKS[name].files if name in table.TASKS else language.TASKS[name].files)
    return list(files)


def offered(name: str, source: str | os.PathLike[str] | None) -> bool:
    """Whether a file can be had from a source, as `fetch` takes it, without looking."""
    if source is None:
        return bool(sources()[name].urls)
    return source != "tfds" or name in tensorflow_sets.SETS


def fetch(
    names: Sequence[str],
    *,
    to: Path,
    source: str | os.PathLike[str] | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Fetched]:
    """Puts files into a data folder, one after another; those that are there are only checked.

    Args:
        names: keys of `datasets.sources()`.
        to: the data folder.
        source: None for the origins, "tfds" for TensorFlow Datasets, or a folder that has the files.
        progress: told bytes of the bytes of one download.

    Raises:
        FileNotFoundError: the source does not have a file.
        ValueError: it has another one.
        ConnectionError: the origin could not be reached.
        ImportError: TFDS is not installed.
    """
    for name in names:
        known = sources()[name]
        target = to / name
        how = "there already"
        if not _is_there(target, name):
            if source is None:
                how, content = "fetched", _from_origin(name, known, to / DOWNLOADS, progress)
            elif source == "tfds":
                how, content = "from tfds", _from_tfds(name)
            else:
                how, content = f"from {source}", _from_folder(name, known, Path(source))
            _write(target, content)
        yield Fetched(name=name, path=str(target), how=how, rows=known.rows, licence=known.licence)
    shutil.rmtree(to / DOWNLOADS, ignore_errors=True)


def _is_there(path: Path, name: str) -> bool:
    if not path.is_file():
        return False
    try:
        checked_contents(path.read_bytes(), name, where=str(path))
    except ValueError:  # it is fetched again
        return False
    return True


def _from_origin(name: str, known: Source, downloads: Path, progress: Progress) -> bytes:
    if not known.urls:
        raise FileNotFoundError(
            f"{name} can be had from nowhere: {known.note} ({known.origin}). "
            "Give a folder that has it: codegemma eval fetch --from FOLDER."
        )
    parts = []
    for url in known.urls:
        part = downloads / hashlib.sha256(url.encode()).hexdigest()[:16]
        if not part.exists():
            download(url, part, progress=progress)
        parts.append(part)
    try:
        content = FORMS[known.form]([part.read_bytes() for part in parts])
    except DAMAGED as error:
        content, reason = None, f"cannot be read ({error})"
    else:
        reason = f"has the sha256 {_sha256(content)}"
    if content is None or _sha256(content) != known.content_sha256:
        for part in parts:
            part.unlink()  # or it would be found again
        raise ValueError(
            f"The contents of {name} must have the sha256 {known.content_sha256}; what came from "
            f"{' and '.join(known.urls)} {reason}. Run the command again; if it comes back, the origin has changed: "
            "give a folder with the former file, codegemma eval fetch --from FOLDER."
        )
    return content


def _from_tfds(name: str) -> bytes:
    if name not in tensorflow_sets.SETS:
        raise FileNotFoundError(
            f"TFDS has the same rows only of {', '.join(tensorflow_sets.SETS)}; got {name}. Leave out --from tfds."
        )
    content = tensorflow_sets.contents(name)
    if _sha256(content) != sources()[name].content_sha256:
        raise ValueError(
            f"The contents of {name} must have the sha256 {sources()[name].content_sha256}; the rows of this version "
            f"of TFDS have {_sha256(content)}. Leave out --from tfds, or give a folder: --from FOLDER."
        )
    return content


def _from_folder(name: str, known: Source, folder: Path) -> bytes:
    """The file in a folder, laid out as here, or anywhere in it under its own or its origin's name."""
    tried = []
    for paths, form in _candidates(name, known, folder):
        try:
            content = FORMS[form]([path.read_bytes() for path in paths])
        except DAMAGED:
            tried.append(f"{paths[0]} cannot be read")
            continue
        if _sha256(content) == known.content_sha256:
            return content
        tried.append(f"{paths[0]} has {_sha256(content)}")
    if tried:
        raise ValueError(
            f"The contents of {name} must have the sha256 {known.content_sha256}; {'; '.join(tried)}. "
            "Look for the original file."
        )
    raise FileNotFoundError(
        f"{name} must lie in the folder, under this name, unzipped, or under its origin's; {folder} has none of these. "
        "Put it there, or name only the tasks whose files are there."
    )


def _candidates(name: str, known: Source, folder: Path) -> Iterator[tuple[list[Path], str]]:
    """Files to try, with the form they would have."""
    gzipped = PurePosixPath(name).name
    for path in dict.fromkeys([folder / name, *sorted(folder.rglob(gzipped))]):
        if path.is_file():
            yield [path], "gzip"
    for path in sorted(folder.rglob(gzipped.removesuffix(".gz"))):
        yield [path], "lines"
    if known.form not in ("gzip", "lines", "none"):
        found = [sorted(folder.rglob(PurePosixPath(url).name)) for url in known.urls]
        for paths in product(*found):
            yield list(paths), known.form
    elif known.urls:
        for path in sorted(folder.rglob(PurePosixPath(known.urls[0]).name)):
            yield [path], known.form


def _write(target: Path, content: bytes) -> None:
    packed = io.BytesIO()
    # Without name and time, so that equal rows are equal files.
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(content)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.write_bytes(packed.getvalue())
    partial.replace(target)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
