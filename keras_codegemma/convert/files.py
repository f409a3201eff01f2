"""Files of a preset folder: JSON read with clear errors, sha256 lists, and folders replaced in one step."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HASHES_FILE = "hashes.json"
MODEL_CARD_FILE = "MODEL_CARD.md"

_HASH_BLOCK_BYTES = 1 << 20


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} must be a JSON file; reading it failed: {error}. The file is damaged: download or copy it again."
        ) from error
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} must hold a JSON object; got {type(value).__name__}. Download or copy the file again."
        )
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes an object as indented UTF-8 JSON with a final newline."""
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def plain_file_name(name: str, *, named_in: Path) -> str:
    """`name`, if it is a file beside `named_in` and leads nowhere else.

    Raises:
        ValueError: a path with separators, `..`, or an empty name.
    """
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise ValueError(
            f"Weight files listed in {named_in} must lie beside it; got {name!r}. Do not trust this folder; "
            "get it from its publisher again."
        )
    return name


def sha256(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_hashes(folder: Path) -> None:
    """Writes `hashes.json`: the sha256 of every other file in the folder."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {name: sha256(folder / name) for name in names if name != HASHES_FILE}
    write_json(folder / HASHES_FILE, {"algorithm": "sha256", "files": files})


def check_hashes(folder: Path, expected: Mapping[str, str]) -> None:
    """Compares files with their known sha256.

    Args:
        folder: where the files lie.
        expected: file name, relative to the folder, to hexadecimal sha256.

    Raises:
        ValueError: a file that is missing or has another hash; all of them are named.
    """
    wrong = []
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif (found := sha256(path)) != digest:
            wrong.append(f"{name} has sha256 {found}, not {digest}")
    if wrong:
        raise ValueError(
            f"The files in {folder} must match their known hashes; {listed(wrong)}. A download or copy was "
            "damaged or changed: delete these files and fetch them again."
        )


def recorded_hashes(folder: Path) -> dict[str, str]:
    """The file hashes in a folder's own `hashes.json`; empty if it has none.

    Raises:
        ValueError: a `hashes.json` of another form.
    """
    path = folder / HASHES_FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    files = content.get("files")
    if content.get("algorithm") != "sha256" or not isinstance(files, dict):
        raise ValueError(
            f"{path} must say algorithm 'sha256' and list files; got {sorted(content)}. Fetch the folder "
            "again, or save the preset again to write a new list."
        )
    return files


def listed(items: list[str], *, at_most: int = 6) -> str:
    """Items joined by `; `, shortened to the first few and a count of the rest."""
    rest = len(items) - at_most
    return "; ".join(items[:at_most]) + (f"; and {rest} more" if rest > 0 else "")


@contextlib.contextmanager
def replacing_folder(folder: Path, *, ours: frozenset[str]) -> Iterator[Path]:
    """Gives a temporary folder to fill, which takes the place of `folder` if the body succeeds.

    A reader sees the old folder or the new one, but for the moment between two renames. Files in the old
    folder that are not of our making (a model card, a licence) are copied into the temporary folder first.

    Args:
        folder: the target; may be missing, empty, or hold an earlier result.
        ours: file-name patterns of the kind of folder being written; the first of them found makes it ours.

    Raises:
        FileExistsError: the target is a file, or a folder with content that is not ours.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"The target must be a folder; {folder} is a file. Choose another path.")
    if folder.is_dir() and any(folder.iterdir()) and not _matching(folder, ours):
        raise FileExistsError(
            f"The target folder must be empty or hold an earlier preset; {folder} holds other files. Choose "
            "another folder, or empty this one."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        if folder.is_dir():
            _copy_others(folder, partial, ours=ours)
        yield partial
        partial.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _matching(folder: Path, patterns: frozenset[str]) -> set[Path]:
    return {path for pattern in patterns for path in folder.glob(pattern)}


def _copy_others(folder: Path, target: Path, *, ours: frozenset[str]) -> None:
    for path in set(folder.iterdir()) - _matching(folder, ours):
        if path.is_dir():
            shutil.copytree(path, target / path.name, symlinks=True)
        else:
            shutil.copy2(path, target / path.name, follow_symlinks=False)


def _swap(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    graveyard = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
    folder.rename(graveyard / folder.name)
    partial.rename(folder)
    shutil.rmtree(graveyard)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
