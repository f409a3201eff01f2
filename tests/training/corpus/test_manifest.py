"""The manifest: read as written, and refused when anything beside it is not as it says."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.corpus.packed import numbered_rows, write_corpus
from training.corpus.manifest import Manifest, read_manifest, versions, write_manifest


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_corpus(tmp_path, numbered_rows(5), rows_per_shard=2, vocabulary_size=100)
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_manifest_is_read_as_it_was_written(corpus: Path):
    manifest = read_manifest(corpus)
    assert (manifest.num_rows, manifest.num_tokens) == (5, 5 * 7)
    assert [shard.rows for shard in manifest.shards] == [2, 2, 1]
    assert [shard.examples for shard in manifest.shards] == [4, 4, 2]
    assert [shard.max_token_id for shard in manifest.shards] == [9, 9, 9]
    assert (manifest.recipe, manifest.counts) == ({"name": "test"}, {"documents": 3})
    assert write_manifest(corpus, manifest).read_text() == (corpus / "manifest.json").read_text()


def test_versions_of_the_tools_are_in_it(corpus: Path):
    found = read_manifest(corpus).versions
    assert found == versions()
    assert {"python", "keras-codegemma", "array-record", "sentencepiece", "numpy"} == set(found)


def test_the_fingerprint_is_that_of_the_rows(corpus: Path, tmp_path_factory: pytest.TempPathFactory):
    manifest = read_manifest(corpus)
    assert replace(manifest, recipe={"name": "other"}, seed=9).fingerprint == manifest.fingerprint
    again = write_corpus(tmp_path_factory.mktemp("a"), numbered_rows(5), rows_per_shard=2, vocabulary_size=100)
    assert again.fingerprint == manifest.fingerprint
    other = write_corpus(tmp_path_factory.mktemp("b"), numbered_rows(5)[::-1], rows_per_shard=2, vocabulary_size=100)
    assert other.fingerprint != manifest.fingerprint


def test_what_killed_builds_left_is_removed(corpus: Path):
    (corpus / "shard-00009.array_record.abc.part").write_bytes(b"half")
    write_manifest(corpus, read_manifest(corpus))
    assert not list(corpus.glob("*.part"))


def test_a_folder_without_a_manifest_is_no_corpus(corpus: Path):
    (corpus / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"a build writes last; {corpus} has none. Let the build")):
        read_manifest(corpus)


def test_a_file_that_is_no_json_is_refused(corpus: Path):
    (corpus / "manifest.json").write_text('{"format":')
    with pytest.raises(ValueError, match="must be JSON; it is not: Expecting value"):
        read_manifest(corpus)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "another"}'])
def test_another_file_of_that_name_is_refused(corpus: Path, content: str):
    (corpus / "manifest.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"must be the manifest of a corpus \('keras-codegemma corpus'\); it is another"
    ):
        read_manifest(corpus)


def test_another_version_is_refused(corpus: Path):
    edit(corpus, version=2)
    with pytest.raises(ValueError, match=r"must have version 1; got 2\. Read it with the release that wrote it"):
        read_manifest(corpus)


@pytest.mark.parametrize("changes", [{"shards": [{"name": "a"}]}, {"extra": 1}])
def test_missing_and_unknown_fields_are_refused(corpus: Path, changes: dict[str, object]):
    edit(corpus, **changes)
    with pytest.raises(ValueError, match=r"must have the fields of a manifest: .*Build the corpus again"):
        read_manifest(corpus)


def test_a_missing_shard_is_refused(corpus: Path):
    (corpus / "shard-00001.array_record").unlink()
    with pytest.raises(ValueError, match=r"must have \d+ bytes, as the manifest says; it is missing\. Build or copy"):
        read_manifest(corpus)


def test_a_shard_cut_short_is_refused(corpus: Path):
    path = corpus / "shard-00001.array_record"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=f"must have {size} bytes, as the manifest says; it has {size - 7}"):
        read_manifest(corpus)


def test_a_manifest_of_shards_that_are_not_there_is_not_written(corpus: Path):
    manifest: Manifest = read_manifest(corpus)
    (corpus / "manifest.json").unlink()
    (corpus / "shard-00000.array_record").unlink()
    with pytest.raises(ValueError, match="it is missing"):
        write_manifest(corpus, manifest)
    assert not (corpus / "manifest.json").exists()
