"""The built-in presets: one JSON file each, with sources, architecture and the file hashes that are known.

The files ship as `keras_codegemma/_presets`; in a checkout they lie in `presets/` beside the package.
"""

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.convert.files import read_json

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place a preset can be fetched from.

    Attributes:
        handle: `kaggle://...` or `hf://...`; empty where the preset ships with the package.
        terms: the page where its terms must be accepted first, or None.
    """

    handle: str
    terms: str | None


@dataclass(frozen=True, kw_only=True)
class PresetInfo:
    """What is known of a built-in preset without fetching it.

    Attributes:
        name: as `from_preset` takes it.
        description: one or two sentences.
        instruction_tuned: whether it answers chat rather than completes code.
        parameters: how many weights.
        stored_dtype: float type of the published weights.
        config: the architecture, which a download must have.
        sources: where it comes from, the default first; empty where it ships with the package.
        licence: whose terms hold.
        hashes: file name to sha256, for the files whose hash is known.
        hashes_note: what is and is not known about the hashes.
        folder: where it lies if it ships with the package, else None.
    """

    name: str
    description: str
    instruction_tuned: bool
    parameters: int
    stored_dtype: str
    config: CodeGemmaConfig
    sources: tuple[Source, ...]
    licence: str
    hashes: Mapping[str, str]
    hashes_note: str
    folder: Path | None


def data_folder() -> Path:
    """Where the presets' JSON files are.

    Raises:
        FileNotFoundError: neither in the package nor in a checkout.
    """
    candidates = (_PACKAGE / "_presets", _PACKAGE.parent / "presets")
    for candidate in candidates:
        if (candidate / "code_gemma_tiny.json").is_file():
            return candidate
    raise FileNotFoundError(
        f"The presets' data must be installed with the package; it is in neither {candidates[0]} nor "
        f"{candidates[1]}. Install keras_codegemma again."
    )


@functools.cache
def builtin_presets() -> Mapping[str, PresetInfo]:
    """Every built-in preset by name, smallest first."""
    found = [_info(path) for path in data_folder().glob("*.json")]
    return {info.name: info for info in sorted(found, key=lambda info: (info.parameters, info.name))}


def list_presets() -> tuple[PresetInfo, ...]:
    """Every built-in preset, smallest first."""
    return tuple(builtin_presets().values())


def find(name: str) -> PresetInfo:
    """A built-in preset by its name.

    Raises:
        ValueError: no such preset; lists the names and those most like it.
    """
    if name not in builtin_presets():
        raise ValueError(unknown_preset(name))
    return builtin_presets()[name]


def unknown_preset(preset: str) -> str:
    """The message for a name that is no preset, folder or handle."""
    names = list(builtin_presets())
    close = difflib.get_close_matches(preset, names, n=3, cutoff=0.5)
    return (
        f"A preset must be a built-in name ({', '.join(names)}), a handle (kaggle://, hf://, gs://) or a "
        f"local folder; got {preset!r}, which is none of these. "
        + (f"Did you mean {' or '.join(close)}?" if close else "Check the spelling or the path.")
    )


def _info(path: Path) -> PresetInfo:
    values: dict[str, Any] = read_json(path)
    folder = None if values["sources"] else path.parent / values["name"]
    return PresetInfo(
        name=values["name"],
        description=values["description"],
        instruction_tuned=values["instruction_tuned"],
        parameters=values["parameters"],
        stored_dtype=values["stored_dtype"],
        config=CodeGemmaConfig.from_dict(values["config"]),
        sources=tuple(Source(handle=item["handle"], terms=item.get("terms")) for item in values["sources"]),
        licence=values["licence"],
        hashes=values["hashes"],
        hashes_note=values["hashes_note"],
        folder=folder,
    )
