"""Folders that are there whole or not at all, and documents on disk."""

import numpy as np
import pytest

from training.corpus import store
from training.corpus.document import Document
from training.corpus.minhash import DuplicateSettings, sign
from training.corpus.words import words

TEXTS = ["plain\r\n", "漢字 é\x00\u2028", "", '"quoted" \\ '] * 40


def document(index: int) -> Document:
    return Document(
        repository=f"r{index % 3}", path=f"{index}.py", revision="1", licence=None, language="python", text=TEXTS[index]
    )


def test_a_folder_appears_when_its_block_ends(tmp_path):
    with store.committed(tmp_path / "a" / "done") as scratch:
        (scratch / "file").write_text("x")
        assert not (tmp_path / "a" / "done").exists()
    assert (tmp_path / "a" / "done" / "file").read_text() == "x"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["done"]


def test_a_block_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), store.committed(tmp_path / "done") as scratch:
        (scratch / "nowhere" / "file").write_text("x")
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_faster_worker_stays(tmp_path):
    with store.committed(tmp_path / "done") as slow:
        (slow / "file").write_text("slow")
        with store.committed(tmp_path / "done") as fast:
            (fast / "file").write_text("fast")
    assert (tmp_path / "done" / "file").read_text() == "fast"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_kills_leave_is_swept_away(tmp_path):
    (tmp_path / "deep" / f"{store.UNFINISHED}x").mkdir(parents=True)
    (tmp_path / f"{store.UNFINISHED}y.json").write_text("")
    (tmp_path / "kept").write_text("")
    store.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "kept"]


def test_documents_come_back_exactly_and_by_repository(tmp_path):
    writer = store.DocumentWriter(tmp_path)
    for index in range(len(TEXTS)):
        writer.add(document(index))
    signatures = sign([words(text) for text in TEXTS], DuplicateSettings())
    writer.close(signatures)
    found = store.Documents(tmp_path)
    assert len(found) == len(TEXTS)
    assert list(found.read(range(len(TEXTS)))) == [document(index) for index in range(len(TEXTS))]
    rows = found.rows_of("r1")
    assert rows.tolist() == list(range(1, len(TEXTS), 3))
    assert [item.repository for item in found.read(rows)] == ["r1"] * len(rows)
    assert found.rows_of("nothing").size == 0
    assert found.name(4) == ("r1", "4.py", "1")
    assert found.sizes()[:4] == [7, 13, 0, 11]
    some = np.array([5, 1])
    assert (found.signatures(some).texts == signatures.texts[some]).all()
    assert (found.signatures(some).minima == signatures.minima[some]).all()


def test_a_source_without_documents_can_be_stored(tmp_path):
    store.DocumentWriter(tmp_path).close(sign([], DuplicateSettings()))
    found = store.Documents(tmp_path)
    assert (len(found), found.repositories, list(found.read([]))) == (0, [], [])


def test_every_document_needs_a_signature(tmp_path):
    writer = store.DocumentWriter(tmp_path)
    writer.add(document(0))
    with pytest.raises(ValueError, match=r"Every document has a signature; got 0 for 1 documents. Sign each"):
        writer.close(sign([], DuplicateSettings()))


def test_lines_and_json_come_back(tmp_path):
    items = [{"a": "é\u2028\r\n"}, [1, None]]
    store.write_lines(tmp_path / "x.jsonl", items)
    assert list(store.read_lines(tmp_path / "x.jsonl")) == items
    store.write_json(tmp_path / "x.json", items)
    assert store.read_json(tmp_path / "x.json") == items
