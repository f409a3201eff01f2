"""Shards: whole or not there, read back as written, and any change found."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from tests.training.corpus.packed import ROOT, numbered_rows, write_corpus
from training.corpus.manifest import read_manifest
from training.corpus.shards import finished_shard, read_rows, verify, write_shard, write_shards


def first_ids(path: Path) -> list[int]:
    return [int(row.token_ids[0]) for row in read_rows(path)]


def test_rows_come_back_in_order_from_as_many_shards_as_are_needed(tmp_path: Path):
    shards = list(write_shards(numbered_rows(150), tmp_path / "new", rows_per_shard=70))
    assert [(shard.name, shard.rows) for shard in shards] == [
        ("shard-00000.array_record", 70),
        ("shard-00001.array_record", 70),
        ("shard-00002.array_record", 10),
    ]
    found = [number for shard in shards for number in first_ids(tmp_path / "new" / shard.name)]
    assert found == list(range(1, 151))


def test_the_same_rows_are_the_same_bytes(tmp_path: Path):
    one, two = (write_shard(numbered_rows(9), tmp_path / name) for name in ("a", "b"))
    assert (one.sha256, one.size_bytes) == (two.sha256, two.size_bytes)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_finished_shard_is_known_by_the_file_beside_it(tmp_path: Path):
    path = tmp_path / "shard-00000.array_record"
    assert finished_shard(path) is None
    shard = write_shard(numbered_rows(3), path)
    assert finished_shard(path) == shard
    assert (shard.rows, shard.examples, shard.tokens, shard.max_token_id) == (3, 6, 21, 9)
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, f"{path.name}.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 1}'])
def test_a_shard_with_a_damaged_file_beside_it_is_not_finished(tmp_path: Path, content: str):
    path = tmp_path / "shard"
    write_shard(numbered_rows(3), path)
    (tmp_path / "shard.json").write_text(content)
    assert finished_shard(path) is None


def test_a_shard_of_another_size_is_not_finished(tmp_path: Path):
    path = tmp_path / "shard"
    write_shard(numbered_rows(3), path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert finished_shard(path) is None


def test_an_error_while_writing_leaves_nothing(tmp_path: Path):
    def failing():
        yield from numbered_rows(3)
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_shard(failing(), tmp_path / "shard")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training.corpus.packed import numbered_rows
from training.corpus.shards import write_shards
def rows():
    for number, row in enumerate(numbered_rows(200)):
        if number == 150:
            os.kill(os.getpid(), signal.SIGKILL)
        yield row
list(write_shards(rows(), Path(sys.argv[1]), rows_per_shard=100))
"""


def test_a_killed_build_leaves_no_shard_that_a_reader_would_take(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -9
    first, second = (tmp_path / f"shard-0000{index}.array_record" for index in range(2))
    assert finished_shard(first) is not None
    assert first_ids(first) == list(range(1, 101))
    assert finished_shard(second) is None
    assert not second.exists()
    with pytest.raises(FileNotFoundError, match=r"must have a manifest\.json"):
        read_manifest(tmp_path)


def test_writing_a_shard_takes_back_what_an_earlier_build_said(tmp_path: Path):
    write_corpus(tmp_path, numbered_rows(4), rows_per_shard=2, vocabulary_size=10)

    write_shard(numbered_rows(1), tmp_path / "shard-00001.array_record")
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path)


def test_a_shard_without_rows_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"A shard must have at least one row; got none for .*Leave empty shards out"):
        write_shard([], tmp_path / "shard")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_shard_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="A shard must be a file; there is none at"):
        next(read_rows(tmp_path / "shard"))


@pytest.mark.parametrize("kept", [0, 100, 70_000])
def test_a_shard_cut_short_is_refused(tmp_path: Path, kept: int):
    path = tmp_path / "shard"
    write_shard(numbered_rows(50), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match="must be a whole ArrayRecord file; it is damaged, cut short or another file: "
    ):
        next(read_rows(path))


def test_a_file_without_records_is_refused(tmp_path: Path):
    ArrayRecordWriter(str(tmp_path / "shard"), "group_size:1").close()
    with pytest.raises(ValueError, match=r"must have records; it has none\. Build it again\."):
        next(read_rows(tmp_path / "shard"))


def test_a_damaged_record_is_refused(tmp_path: Path):
    path = tmp_path / "shard"
    write_shard(numbered_rows(50), path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a whole ArrayRecord file; it is damaged"):
        list(read_rows(path))


def test_a_whole_corpus_is_verified(tmp_path: Path):
    manifest = write_corpus(tmp_path, numbered_rows(9), rows_per_shard=4, vocabulary_size=10)
    assert verify(tmp_path) == manifest


def test_a_changed_byte_is_found(tmp_path: Path):
    write_corpus(tmp_path, numbered_rows(9), rows_per_shard=4, vocabulary_size=10)
    path = tmp_path / "shard-00001.array_record"
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"must have the SHA-256 [0-9a-f]{64} of the manifest; it has [0-9a-f]{64}\. The"
    ):
        verify(tmp_path)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(("changes", "message"), [
    ({"vocabulary_size": 9}, "16 ids below 9, as the manifest says; row 0 of"),
    ({"sequence_length": 32}, "32 ids below 10, as the manifest says; row 0 of"),
])  # fmt: skip
def test_rows_unlike_the_manifest_are_found(tmp_path: Path, changes: dict[str, int], message: str):
    write_corpus(tmp_path, numbered_rows(3), rows_per_shard=4, vocabulary_size=10)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        verify(tmp_path)


def test_counts_unlike_the_manifest_are_found(tmp_path: Path):
    write_corpus(tmp_path, numbered_rows(3), rows_per_shard=4, vocabulary_size=10)
    shards = json.loads((tmp_path / "manifest.json").read_text())["shards"]
    edit(tmp_path, shards=[{**shards[0], "rows": 4}])
    with pytest.raises(ValueError, match="must have 4 rows of 21 tokens, as the manifest says; it has 3 of 21"):
        verify(tmp_path)
