"""The command killed at any moment: readers refuse what it left, and the next run goes on from there."""

import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.conftest import ROOT
from tests.training.corpus import made_corpus
from training.corpus import shards
from training.corpus.loader import make_loader
from training.corpus.manifest import read_manifest


def start(folder: Path, workdir: Path) -> subprocess.Popen[bytes]:
    """The build of the made-up sources as a program."""
    sources = ",".join(str(path) for path in (folder / "first", folder / "second", folder / "table.jsonl"))
    values = (f"sources={sources}", f"tokenizer={made_corpus.TOKENIZER}", "shard_bytes=3000")
    settings = [item for value in (*values, "fitting.sequence_length=512") for item in ("--set", value)]
    command = [sys.executable, "-m", "training.corpus", "build", "own_repositories", "--workdir", str(workdir)]
    return subprocess.Popen([*command, *settings], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def check_left(corpus: Path) -> None:
    """Shards that have their name are whole, and without a manifest nothing takes them for a corpus."""
    for path in corpus.glob("*.array_record"):
        assert list(shards.read_rows(path))
    if not (corpus / "manifest.json").exists():
        for read in (read_manifest, lambda folder: make_loader(folder, batch_size=1, seed=0)):
            with pytest.raises(FileNotFoundError, match="A corpus folder must have a manifest"):
                read(corpus)


@pytest.mark.slow  # each process imports everything anew
def test_a_build_killed_again_and_again_becomes_the_same_corpus(tmp_path):
    made_corpus.write(tmp_path / "sources")
    assert start(tmp_path / "sources", tmp_path / "whole").wait() == 0
    rng, killed, workdir = Random(0), 0, tmp_path / "killed"
    while not (workdir / "corpus" / "manifest.json").exists():
        process = start(tmp_path / "sources", workdir)
        seen = sum(1 for _ in workdir.rglob("*"))
        while process.poll() is None and sum(1 for _ in workdir.rglob("*")) == seen:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        killed += process.poll() is None
        process.kill()
        process.wait()
        check_left(workdir / "corpus")
    assert killed >= 5
    assert start(tmp_path / "sources", workdir).wait() == 0
    assert made_corpus.contents(workdir / "corpus") == made_corpus.contents(tmp_path / "whole" / "corpus")
