"""Reading a corpus back: exact, and every way in which it is not is found."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.corpus import made_corpus
from training.corpus import shards
from training.corpus.job import Job, tokenizer_of
from training.corpus.manifest import read_manifest, write_manifest
from training.corpus.steps import run_in_loop
from training.corpus.verification import CorpusDiffersError, verify


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = made_corpus.job(tmp_path_factory.mktemp("made"))
    run_in_loop(job)
    return job


@pytest.fixture
def copied(built: Job, tmp_path: Path) -> Job:
    shutil.copytree(built.workdir, tmp_path, dirs_exist_ok=True)
    return dataclasses.replace(built, workdir=tmp_path)


def rewrite(job: Job, change) -> None:
    """Puts changed rows into the first shard, and into the manifest that they are meant to be there."""
    path = job.corpus / shards.shard_name(0)
    manifest = read_manifest(job.corpus)
    shard = shards.write_shard(change(list(shards.read_rows(path))), path)
    write_manifest(job.corpus, dataclasses.replace(manifest, shards=(shard, *manifest.shards[1:])))


def test_every_document_comes_back_exactly(built):
    found = verify(built)
    assert found.documents == 19
    assert found.tokens == read_manifest(built.corpus).num_tokens
    counts = read_manifest(built.corpus).counts["files"]
    assert found.size_bytes == sum(
        row["size_bytes"] for row in counts if (row["stage"], row["fate"]) == ("fitting", "out")
    )


def test_a_changed_token_is_found(copied):
    tokenizer = tokenizer_of(str(made_corpus.TOKENIZER))

    def change(rows):
        ids = rows[0].examples[0].token_ids.copy()
        ids[np.flatnonzero(ids == tokenizer.token_to_id("return"))[0]] = tokenizer.token_to_id("def")
        example = dataclasses.replace(rows[0].examples[0], token_ids=ids)
        return [shards.rows.lay_out([example, *rows[0].examples[1:]], sequence_length=512), *rows[1:]]

    rewrite(copied, change)
    with pytest.raises(CorpusDiffersError, match=r"must come back exactly; 1 do not: .*, and differs from character"):
        verify(copied)


def test_a_missing_row_is_found(copied):
    rewrite(copied, lambda rows: rows[1:])
    with pytest.raises(
        CorpusDiffersError, match=r"Every document of shard 0 must come back exactly; .* (is missing|was to come)"
    ):
        verify(copied)


def test_a_row_too_many_is_found(copied):
    other = list(shards.read_rows(copied.corpus / shards.shard_name(1)))
    rewrite(copied, lambda rows: [*rows, other[0]])
    with pytest.raises(CorpusDiffersError, match=r"a document of id .* that no source has"):
        verify(copied)


def test_a_shard_of_other_bytes_is_found(copied):
    path = copied.corpus / shards.shard_name(0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="must have the SHA-256"):
        verify(copied)
