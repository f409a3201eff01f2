"""A preset checked without loading it: known hashes, and names, shapes and types of every tensor."""

import os
from dataclasses import dataclass
from pathlib import Path

from keras_codegemma.convert import HASHES_FILE, open_folder, recorded_hashes, same_architecture
from keras_codegemma.presets.fetching import resolve
from keras_codegemma.presets.registry import builtin_presets


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was checked and found right, and what could not be.

    Attributes:
        folder: where the preset lies.
        hashed: files whose sha256 equals the known one.
        unhashed: files for which no hash is known.
        note: what the preset's publisher says about hashes; empty for a folder.
        tensors: how many weights, each of the right name, shape and type.
        parameters: how many numbers in them.
    """

    folder: Path
    hashed: tuple[str, ...]
    unhashed: tuple[str, ...]
    note: str
    tensors: int
    parameters: int


def verify(preset: str | os.PathLike[str], *, revision: str | None = None) -> Verification:
    """Checks a preset's files; fetches it first if it is not there.

    Hashes come from the built-in list, and for other files from the folder's own `hashes.json`.

    Raises:
        ValueError: a wrong hash, or a missing, extra or misshapen tensor; all are named.
        PermissionError, FileNotFoundError, ConnectionError, ImportError: as `resolve`.
    """
    folder = resolve(preset, revision=revision)
    info = builtin_presets().get(os.fspath(preset))
    known = info.hashes if info is not None and revision is None else {}
    with open_folder(folder, known_hashes=known) as checkpoint:
        if info is not None:
            same_architecture(checkpoint.config, info.config, source=info.name)
        config = checkpoint.config
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    hashed = (set(recorded_hashes(folder)) | set(known)) & files
    return Verification(
        folder=folder,
        hashed=tuple(sorted(hashed)),
        unhashed=tuple(sorted(files - hashed - {HASHES_FILE})),
        note="" if info is None else info.hashes_note,
        tensors=len(config.weight_shapes()),
        parameters=config.parameter_count,
    )
