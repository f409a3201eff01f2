"""Tables: a row is a file; bad rows and cut files are counted."""

import gzip
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from training.corpus.document import Dropped, RawFile
from training.corpus.reading import tables
from training.corpus.reading.origin import Limits
from training.corpus.reading.tables import Columns

ROWS = [
    {"text": "a = 1\n", "repository": "r", "path": "a.py", "licence": "MIT", "language": "Python"},
    {"text": "b", "repository": "r", "path": "src/b", "licence": ["MIT", "ISC"], "language": "C++"},
]


def write_json(path: Path, rows: Sequence[Any]) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    data = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=1)
    return path


def outcome(path: Path, **arguments: Any) -> list[str]:
    return [item.reason if isinstance(item, Dropped) else "read" for item in tables.read(path, **arguments)]


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_a_row_is_a_file_with_its_columns(tmp_path: Path, name: str):
    first, second = tables.read(write_json(tmp_path / name, ROWS), revision="1")
    assert first == RawFile(
        repository="r", path="a.py", revision="1", licence="MIT", data=b"a = 1\n", language="python"
    )
    assert second == RawFile(
        repository="r", path="src/b", revision="1", licence="MIT AND ISC", data=b"b", language="cpp"
    )


def test_parquet_has_the_same_rows(tmp_path: Path):
    rows = [{**row, "licence": "MIT"} for row in ROWS]
    from_parquet = list(tables.read(write_parquet(tmp_path / "t.parquet", rows), revision="1"))
    assert from_parquet == list(tables.read(write_json(tmp_path / "t.jsonl", rows), revision="1"))


def test_rows_without_a_repository_are_repositories_of_their_own(tmp_path: Path):
    path = write_json(tmp_path / "t.jsonl", [{"text": "a"}, {"text": "b", "language": "rust"}])
    items = list(tables.read(path, licence="CC0-1.0"))
    assert [(item.repository, item.path, item.licence) for item in items] == [
        ("table:t.jsonl#0", "000000000.txt", "CC0-1.0"),
        ("table:t.jsonl#1", "000000001.rs", "CC0-1.0"),
    ]


def test_columns_have_the_names_that_are_given(tmp_path: Path):
    path = write_json(tmp_path / "t.jsonl", [{"content": "a", "repo": "r", "file": "a.c", "text": 1}])
    (item,) = tables.read(path, columns=Columns(text="content", repository="repo", path="file"))
    assert isinstance(item, RawFile)
    assert (item.repository, item.path, item.data) == ("r", "a.c", b"a")


def test_bad_rows_are_counted_one_by_one(tmp_path: Path):
    rows = [
        b'{"text": "cut',
        b"[1]",
        {"text": 5},
        {"other": "x"},
        {"text": "\ud800"},
        {"text": "x", "path": "../x"},
        {"text": "x", "path": "a\nb"},
        b'{"text": "\xff"}',
        b"[" * 100_000,
        {"text": "x", "repository": "r\ud800"},
        {"text": "x", "licence": ["MIT", "\udfff"]},
        {"text": "x", "repository": "a\nb"},
        {"text": "good"},
    ]
    assert outcome(write_json(tmp_path / "t.jsonl", rows)) == [
        *("broken-row", "broken-row", "no-text", "no-text", "broken-row", "path-traversal", "bad-name"),
        *("broken-row", "broken-row", "broken-row", "broken-row", "bad-name", "read"),
    ]


def test_blank_lines_are_no_rows_and_the_last_line_needs_no_end(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'\n{"text": "a"}\r\n  \n{"text": "b"}')
    assert outcome(path) == ["read", "read"]


def test_a_line_of_100_mb_is_dropped_without_being_held(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(b" " * (1 << 20))
        file.write(b'\n{"text": "after"}\n')
    tracemalloc.start()
    found = outcome(path, revision="1", limits=Limits(file_bytes=1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == ["too-large", "read"]
    assert peak < 16 << 20


def test_a_text_above_the_limit_is_dropped(tmp_path: Path):
    path = write_json(tmp_path / "t.jsonl", [{"text": "é" * 3}, {"text": "e" * 5}])
    assert outcome(path, limits=Limits(file_bytes=5)) == ["too-large", "read"]


def test_rows_before_a_cut_stay(tmp_path: Path):
    path = write_json(tmp_path / "t.jsonl.gz", [{"text": f"{number} {hash(str(number))}"} for number in range(5000)])
    path.write_bytes(path.read_bytes()[:-1000])
    *rows, last = outcome(path)
    assert last == "broken-archive"
    assert set(rows) == {"read"}


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl.gz"])
def test_what_is_no_table_is_one_dropped_file(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(b"\x1f\x8b no table")
    assert outcome(path) == ["broken-archive"]


def test_an_empty_table_is_counted(tmp_path: Path):
    assert outcome(write_json(tmp_path / "t.jsonl", [])) == ["empty-repository"]
    empty = pyarrow.table({"text": pyarrow.array([], pyarrow.string())})
    parquet.write_table(empty, tmp_path / "t.parquet")
    assert outcome(tmp_path / "t.parquet") == ["empty-repository"]


def test_a_parquet_file_without_the_column_is_a_mistake_of_the_recipe(tmp_path: Path):
    path = write_parquet(tmp_path / "t.parquet", [{"content": "a"}])
    with pytest.raises(ValueError, match=r"got no 'text' among content. Name it in Columns\(text=\.\.\.\)\."):
        list(tables.read(path))


def test_a_column_has_a_name():
    with pytest.raises(ValueError, match="A column has a name; got none for path"):
        Columns(path="")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]):
    folder = tmp_path_factory.mktemp("table")
    rows = [{"text": text} for text in texts]
    for path in (write_json(folder / "t.jsonl", rows), write_parquet(folder / "t.parquet", rows)):
        found = [item.data.decode() for item in tables.read(path) if isinstance(item, RawFile)]
        assert found == texts
