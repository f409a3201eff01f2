"""A build: the same corpus by Beam, by a loop, and after kills; and every stage's counts are checked."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.training.corpus import made_corpus
from training.corpus import pipeline, preparing, sharding, store
from training.corpus.job import Job, OtherBuildError
from training.corpus.ledger import ConservationError, Ledger
from training.corpus.manifest import read_manifest
from training.corpus.steps import Steps, run_in_loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def built(folder: Path) -> Job:
    """The corpus as a plain loop builds it."""
    job = made_corpus.job(folder)
    run_in_loop(job)
    return job


def elsewhere(job: Job, workdir: Path) -> Job:
    return replace(job, workdir=workdir)


def test_beam_builds_the_same_corpus_as_a_loop(built, tmp_path):
    job = elsewhere(built, tmp_path)
    pipeline.run(job)
    assert made_corpus.contents(job.corpus) == made_corpus.contents(built.corpus)


@pytest.mark.slow  # each process imports everything anew
def test_two_processes_build_the_same_corpus(built, tmp_path):
    job = elsewhere(built, tmp_path)
    pipeline.run(job, ["--direct_num_workers=2", "--direct_running_mode=multi_processing"])
    assert made_corpus.contents(job.corpus) == made_corpus.contents(built.corpus)


def test_every_file_is_in_the_corpus_or_dropped_with_its_reason(built):
    counts = Ledger.from_json(read_manifest(built.corpus).counts["files"])
    counts.check()
    reasons = {
        stage: {name: files for name, (files, _) in counts.reasons(stage).items()}
        for stage in ("filter", "safety", "vocabulary", "duplicates", "decontamination", "order", "fitting")
    }
    assert reasons == {
        "filter": {"empty": 1, "language-not-wanted": 1},
        "safety": {},
        "vocabulary": {"not-exact": 1},
        "duplicates": {"exact-duplicate": 1, "near-duplicate": 1, "repeated-name": 1},
        "decontamination": {"benchmark-overlap": 1},
        "order": {},
        "fitting": {},
    }
    assert counts.total("read", "in")[0] == 8 + 5 + 13
    assert counts.total("fitting", "out")[0] == 8 + 5 + 13 - 7


def test_the_smaller_name_of_duplicates_stays_across_repositories(built):
    dropped = [item for path in (built.work / "shards").glob("*/dropped.jsonl") for item in store.read_lines(path)]
    gone = {(item["repository"], item["path"]) for item in dropped if "duplicate" in item["reason"]}
    assert gone == {("folder:second", "copy.py"), ("folder:second", "nearly.py")}


def test_no_secret_reaches_the_documents(built):
    texts = [
        document.text
        for index in range(3)
        for found in [store.documents(preparing.folder_of(built, index))]
        for document in found.read(range(len(found)))
    ]
    assert len(texts) == 8 + 5 + 13 - 3
    assert not any(made_corpus.SECRET in text for text in texts)
    assert any("REDACTED_KEY" in text for text in texts)


def test_the_corpus_has_several_shards_of_whole_repositories(built):
    assert len(read_manifest(built.corpus).shards) >= 3
    names = [name for path in (built.work / "decisions").glob("shard-*.json") for name, _ in store.read_json(path)]
    assert sorted(names) == ["folder:first", "folder:second", "table/0", "table/1", "table/2"]


_DRIVER = """
import os, signal, sys
from pathlib import Path
from tests.training.corpus import made_corpus
from training.corpus import manifest, shards, store
from training.corpus.steps import run_in_loop
left = int(sys.argv[3])
def counted(module, name):
    real = getattr(module, name)
    def call(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    setattr(module, name, call)
for module, name in ((store, "write_json"), (store, "write_lines"), (store.np, "save"), (manifest.Path, "replace"),
                     (manifest.Path, "rename"), (store.DocumentWriter, "add"), (shards.rows, "to_bytes")):
    counted(module, name)
run_in_loop(made_corpus.job(Path(sys.argv[1]), workdir=Path(sys.argv[2])))
"""


def interrupted(folder: Path, workdir: Path, *, after: int) -> int:
    """Builds in a process that kills itself at its n-th write; gives its exit code."""
    command = [sys.executable, "-c", _DRIVER, str(folder), str(workdir), str(after)]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, timeout=120).returncode


def test_a_killed_build_is_no_corpus_and_goes_on_to_the_same_one(built, folder, tmp_path):
    """Killed at four places, each time a little further: while documents, signatures and shards are written."""
    for after in (17, 29, 31, 22):
        assert interrupted(folder, tmp_path, after=after) == -signal.SIGKILL
        with pytest.raises(FileNotFoundError, match="A corpus folder must have a manifest"):
            read_manifest(tmp_path / "corpus")
    run_in_loop(elsewhere(built, tmp_path))
    assert made_corpus.contents(tmp_path / "corpus") == made_corpus.contents(built.corpus)
    assert not list(tmp_path.rglob("*.part"))
    assert not list((tmp_path / "work").rglob(f"{store.UNFINISHED}*"))


def test_finished_steps_are_not_done_again(built, tmp_path, monkeypatch):
    job = elsewhere(built, tmp_path)
    run_in_loop(job)
    before = made_corpus.contents(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("a step that was finished is done again")

    monkeypatch.setattr(preparing._Preparation, "run", refuse)
    monkeypatch.setattr(sharding._Shard, "run", refuse)
    run_in_loop(job)
    assert made_corpus.contents(tmp_path) == before


def test_a_shard_that_was_damaged_is_made_again(built, tmp_path):
    job = elsewhere(built, tmp_path)
    run_in_loop(job)
    (job.corpus / "manifest.json").unlink()
    (job.corpus / "shard-00001.array_record").write_bytes(b"half")
    run_in_loop(job)
    assert made_corpus.contents(job.corpus) == made_corpus.contents(built.corpus)


def test_another_recipe_does_not_go_on_in_the_folder(built):
    other = replace(built, recipe=replace(built.recipe, seed=7, infill=replace(built.recipe.infill, fim_rate=0.5)))
    with pytest.raises(OtherBuildError, match=r"begun with other values of recipe.infill.fim_rate, recipe.seed. Name"):
        other.begin()


def test_a_build_needs_sources(tmp_path, built):
    job = Job(recipe=replace(built.recipe, sources=()), workdir=tmp_path, sources=tmp_path)
    with pytest.raises(ValueError, match="A build needs sources; the recipe 'own_repositories' names none"):
        job.begin()


def test_sources_that_leave_nothing_fail_the_build(built, tmp_path):
    settings = replace(built.recipe.filter, languages=frozenset({"cobol"}))
    job = Job(recipe=replace(built.recipe, filter=settings), workdir=tmp_path, sources=tmp_path)
    with pytest.raises(RuntimeError, match="A corpus has at least one row; nothing is left of 3 sources"):
        run_in_loop(job)
    assert not (job.corpus / "manifest.json").exists()


def losing(function: Callable[..., object]) -> Callable[..., object]:
    """A method that gives one item less."""

    def call(*arguments: object) -> list[object]:
        return list(function(*arguments))[1:]  # type: ignore[call-overload]

    return call


@pytest.mark.parametrize(
    ("module", "name", "stage"),
    [
        (preparing._Preparation, "_documents", "vocabulary"),
        (sharding._Shard, "_documents", "decontamination"),
        (sharding._Shard, "_ordered", "fitting"),
    ],
)
def test_a_stage_that_loses_a_file_fails_the_build(built, tmp_path, monkeypatch, module, name, stage):
    monkeypatch.setattr(module, name, losing(getattr(module, name)))
    with pytest.raises(ConservationError, match=stage):
        run_in_loop(elsewhere(built, tmp_path))
    assert not (tmp_path / "corpus" / "manifest.json").exists()


def test_a_fragment_that_is_lost_fails_the_build(built, tmp_path, monkeypatch):
    real = sharding.Fitter.fit

    def fit(self, documents):
        for item in real(self, documents):
            if getattr(item, "files", None) and item.files[0].start > 0:
                continue
            yield item

    monkeypatch.setattr(sharding.Fitter, "fit", fit)
    with pytest.raises(ConservationError, match=r"'fitting' must use every character of a document once; .*long.py"):
        run_in_loop(elsewhere(built, tmp_path))


def test_tokens_lost_in_packing_fail_the_build(built, tmp_path, monkeypatch):
    real = sharding.pack

    def pack(examples, **named):
        return real(list(examples)[1:], **named)

    monkeypatch.setattr(sharding, "pack", pack)
    with pytest.raises(ConservationError, match=r"All tokens of examples must be in rows; .*'packing'"):
        run_in_loop(elsewhere(built, tmp_path))


def test_beam_calls_each_step_for_each_number_once(built, tmp_path):
    log = tmp_path / "log"

    def note(name: str, value: int) -> Callable[..., int]:
        def call(_: Job, *numbers: object) -> int:
            with log.open("a") as stream:
                stream.write(f"{name} {numbers}\n")
            return value

        return call

    steps = Steps(
        prepare=note("prepare", 5),
        parts=lambda _, counts: len(list(counts)) - 1,
        link=note("link", 0),
        decide=note("decide", 4),
        make_shard=note("shard", 9),
        finish=note("finish", 0),
    )
    pipeline.run(elsewhere(built, tmp_path), steps=steps)
    lines = log.read_text().splitlines()
    assert sorted(lines[:3]) == [f"prepare ({index},)" for index in range(3)]
    assert sorted(lines[3:5]) == ["link (0, 2)", "link (1, 2)"]
    assert lines[5] == "decide (2,)"
    assert sorted(lines[6:10]) == [f"shard ({index},)" for index in range(4)]
    assert lines[10:] == ["finish (2,)"]
