"""The manifest of a corpus: what its shards are, and how they were made.

It is written when all shards are, under a temporary name that is then changed, so a folder that has one is whole.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

FORMAT = "keras-codegemma corpus"
VERSION = 1
MANIFEST = "manifest.json"
_PACKAGES = ("keras-codegemma", "array-record", "numpy", "sentencepiece")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON so that the file is either whole or not there."""
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(values, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Of Python and the packages that a corpus depends on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES}


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of rows.

    Attributes:
        name: of the file.
        rows: in it.
        examples: packed in these.
        tokens: of these, without padding.
        max_token_id: the highest id; -1 in a shard without tokens.
        size_bytes: of the file.
        sha256: of the file, hexadecimal.
    """

    name: str
    rows: int
    examples: int
    tokens: int
    max_token_id: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a corpus is and how it was made.

    Attributes:
        sequence_length: L, of all rows.
        vocabulary_size: all ids are below it.
        tokenizer_sha256: of the SentencePiece model.
        seed: of the corpus.
        epoch: of the infilling.
        shards: in order.
        recipe: of the build, as JSON.
        counts: what the build counted, as JSON.
        versions: of the tools, by name.
    """

    sequence_length: int
    vocabulary_size: int
    tokenizer_sha256: str
    seed: int
    epoch: int
    shards: tuple[Shard, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def num_rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def num_tokens(self) -> int:
        """Tokens of all shards, without padding."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the rows and their order: two manifests with the same one give the same rows."""
        content = [self.sequence_length, [(shard.rows, shard.sha256) for shard in self.shards]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Writes the manifest, which makes the folder a corpus.

    Raises:
        ValueError: a shard that is not there as the manifest says.
    """
    for shard in manifest.shards:
        _check_size(folder, shard)
    for part in folder.glob("*.part"):  # left by builds that were killed
        part.unlink()
    path = folder / MANIFEST
    write_json(path, {"format": FORMAT, "version": VERSION, **asdict(manifest)})
    return path


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a corpus, whose shards are there in the right size.

    Raises:
        FileNotFoundError: no manifest, so no finished corpus.
        ValueError: no manifest of a corpus, or a shard that is missing, cut short or from another build.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"A corpus folder must have a {MANIFEST}, which a build writes last; {folder} has none. Let the build "
            "finish, or check the path."
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} must be JSON; it is not: {error}. Build the corpus again.") from None
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(f"{path} must be the manifest of a corpus ({FORMAT!r}); it is another file. Check the path.")
    if (version := values.pop("version", None)) != VERSION:
        raise ValueError(f"{path} must have version {VERSION}; got {version}. Read it with the release that wrote it.")
    try:
        shards = tuple(Shard(**shard) for shard in values.pop("shards"))
        manifest = Manifest(shards=shards, **values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} must have the fields of a manifest: {error}. Build the corpus again.") from None
    for shard in shards:
        _check_size(folder, shard)
    return manifest


def _check_size(folder: Path, shard: Shard) -> None:
    path = folder / shard.name
    size = path.stat().st_size if path.is_file() else None
    if size != shard.size_bytes:
        raise ValueError(
            f"{path} must have {shard.size_bytes} bytes, as the manifest says; "
            f"{'it is missing' if size is None else f'it has {size}'}. Build or copy the corpus again."
        )
