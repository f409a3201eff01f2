"""Whole builds from bad input: nothing ends them, each file is counted with its reason, the rest comes back exactly."""

import pytest

from tests.training.corpus import hostile, made_corpus
from training.corpus import pipeline, store
from training.corpus.job import Job
from training.corpus.ledger import Ledger
from training.corpus.manifest import read_manifest
from training.corpus.steps import run_in_loop
from training.corpus.verification import verify


def check(sources: list[hostile.Hostile], job: Job) -> None:
    """The files of a finished build are where they should be."""
    assert made_corpus.reasons(job) == hostile.total(sources)
    counts = Ledger.from_json(read_manifest(job.corpus).counts["files"])
    kept = sum(source.kept for source in sources)
    assert counts.total("read", "in")[0] == kept + sum(hostile.total(sources).values())
    assert counts.total("fitting", "out")[0] == kept
    assert verify(job).documents == kept


def test_bad_input_is_counted_and_the_rest_comes_back(tmp_path):
    sources = hostile.write(tmp_path / "sources", hostile.SMALL)
    job = made_corpus.job_of([source.path for source in sources], tmp_path / "work")
    run_in_loop(job)
    check(sources, job)


@pytest.mark.slow  # 5000 files, and bombs of a gigabyte
def test_bad_input_of_full_size_is_counted_by_beam_too(tmp_path):
    sources = hostile.write(tmp_path / "sources", hostile.FULL)
    job = made_corpus.job_of([source.path for source in sources], tmp_path / "work")
    pipeline.run(job)
    check(sources, job)
    most = max(store.read_json(path)["peak_memory_bytes"] for path in (job.work / "sources").glob("*/summary.json"))
    assert most < 2 << 30
