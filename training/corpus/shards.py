"""Packed rows on disk: ArrayRecord shards, and a manifest that says which files are whole.

    FOLDER/shard-00000.array_record       rows (`rows.py`), one to a group, so that any can be read by itself
    FOLDER/shard-00000.array_record.json  its counts and SHA-256, written when the shard is complete
    FOLDER/manifest.json                  recipe, seed, versions, counts and all shards, written last

Every file is written under a temporary name and then renamed, so what has its name is whole, also after a kill. A shard
without its JSON file does not count as finished; a folder without a manifest is no corpus.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from uuid import uuid4

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from training.corpus import rows
from training.corpus.manifest import MANIFEST, Manifest, Shard, read_manifest, write_json
from training.corpus.packing import PackedRow

_WRITER_OPTIONS = "group_size:1,zstd:3"
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
"""ArrayRecord's own advice for reading single records."""
_READ_AT_ONCE = 64


def shard_name(index: int) -> str:
    """The file name of a shard."""
    return f"shard-{index:05d}.array_record"


def write_shard(packed: Iterable[PackedRow], path: Path) -> Shard:
    """Writes rows to a file, and its counts beside it.

    Args:
        packed: the rows.
        path: of the shard; a file that is there is replaced.

    Raises:
        ValueError: no rows, or ids too large.
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    counts = {"rows": 0, "examples": 0, "tokens": 0, "max_token_id": -1}
    try:
        writer = ArrayRecordWriter(str(part), _WRITER_OPTIONS)
        try:
            for row in packed:
                writer.write(rows.to_bytes(row))
                counts["rows"] += 1
                counts["examples"] += len(row.examples)
                counts["tokens"] += sum(map(len, row.examples))
                counts["max_token_id"] = max(counts["max_token_id"], int(row.token_ids.max(initial=-1)))
        finally:
            writer.close()
        if not counts["rows"]:
            raise ValueError(f"A shard must have at least one row; got none for {path}. Leave empty shards out.")
        shard = Shard(name=path.name, size_bytes=part.stat().st_size, sha256=_sha256(part), **counts)
        _sync(part)
        # What an earlier build left must not speak for this shard.
        for stale in (path.parent / MANIFEST, _info_path(path)):
            stale.unlink(missing_ok=True)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    write_json(_info_path(path), asdict(shard))
    return shard


def write_shards(packed: Iterable[PackedRow], folder: Path, *, rows_per_shard: int) -> Iterator[Shard]:
    """Writes rows to as many shards as are needed; each is finished when it is given out.

    Args:
        packed: the rows.
        folder: is made if need be.
        rows_per_shard: of all but the last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rest = iter(packed)
    for index, first in enumerate(rest):
        yield write_shard(chain([first], islice(rest, rows_per_shard - 1)), folder / shard_name(index))


def finished_shard(path: Path) -> Shard | None:
    """The counts of a shard that was written to its end, or None; its content is not read (see `verify`)."""
    try:
        shard = Shard(**json.loads(_info_path(path).read_text()))
        return shard if path.stat().st_size == shard.size_bytes else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def read_rows(path: Path) -> Iterator[PackedRow]:
    """The rows of a shard in order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a whole shard.
    """
    yield from map(rows.from_bytes, _records(path))


def verify(folder: Path) -> Manifest:
    """Reads every byte of a corpus and compares it with the manifest.

    Raises:
        FileNotFoundError, ValueError: as `read_manifest`; also a shard of another content, or rows that are not as the
            manifest says.
    """
    manifest = read_manifest(folder)
    for shard in manifest.shards:
        path = folder / shard.name
        if (found := _sha256(path)) != shard.sha256:
            raise ValueError(
                f"{path} must have the SHA-256 {shard.sha256} of the manifest; it has {found}. The file was changed: "
                "build or copy it again."
            )
        _check_rows(path, shard, manifest)
    return manifest


def _check_rows(path: Path, shard: Shard, manifest: Manifest) -> None:
    num_rows = num_tokens = 0
    for row in read_rows(path):
        num_rows += 1
        num_tokens += sum(map(len, row.examples))
        highest = int(row.token_ids.max(initial=-1))
        if len(row.token_ids) != manifest.sequence_length or highest >= manifest.vocabulary_size:
            raise ValueError(
                f"Rows must have {manifest.sequence_length} ids below {manifest.vocabulary_size}, as the manifest "
                f"says; row {num_rows - 1} of {path} has {len(row.token_ids)}, up to {highest}. Build it again."
            )
    if (num_rows, num_tokens) != (shard.rows, shard.tokens):
        raise ValueError(
            f"{path} must have {shard.rows} rows of {shard.tokens} tokens, as the manifest says; it has {num_rows} of "
            f"{num_tokens}. Build it again."
        )


def _records(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        raise FileNotFoundError(f"A shard must be a file; there is none at {path}. Check the path.")
    try:
        reader = ArrayRecordReader(str(path), _READER_OPTIONS)
        total = reader.num_records() if reader.ok() else 0
        for start in range(0, total, _READ_AT_ONCE):
            yield from reader.read(start, min(start + _READ_AT_ONCE, total))
        reader.close()  # says what was wrong with the file, if anything
    except RuntimeError as error:
        raise ValueError(
            f"{path} must be a whole ArrayRecord file; it is damaged, cut short or another file: {error}. Build or "
            "copy it again."
        ) from None
    if not total:
        raise ValueError(f"{path} must have records; it has none. Build it again.")


def _info_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
