"""What would stop a run later is an error before its first step; what only shows later stops it with a name."""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.training.corpus.packed import numbered_rows, write_corpus
from tests.training.run.made_run import SHAPE, real_corpus, settings_of, small_recipe
from training.callbacks import DivergedError
from training.checkpoint import check_room
from training.config import DataSettings, KeepSettings, ModelSettings, OptimizerSettings, TrainingRecipe
from training.data import read_chats
from training.log import read
from training.run import train
from training.run_folder import RunFolder
from training.train import FAILED, WRONG_USE, main


def silent(line) -> None:
    del line


def with_data(recipe: TrainingRecipe, **changes) -> TrainingRecipe:
    return replace(recipe, data=replace(recipe.data, **changes))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return real_corpus(tmp_path_factory.mktemp("corpus"), files=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TrainingRecipe(name="a", steps=10, keep=KeepSettings(save_every=25)).check_complete(),
            r"keep\.save_every must be a multiple of keep\.log_every=10; got 25\. Give, for example, 30",
        ),
        (lambda: KeepSettings(log_every=0), r"must be at least 1; got 0,"),
        (lambda: KeepSettings(spike=0.5), r"above 1; got 0\.5\. Try 1\.5"),
        (lambda: TrainingRecipe(name="a", steps=0), r"steps must be at least 1; got 0\."),
        (
            lambda: TrainingRecipe(name="a", steps=15).check_complete(),
            r"steps must be a multiple of keep\.log_every=10; got 15\. Give, for example, 20",
        ),
        (lambda: OptimizerSettings(peak_rate=0), r"peak_rate must be above 0"),
        (lambda: OptimizerSettings(final_rate=2), r"from 0 to 1; got 2"),
        (lambda: DataSettings(batch_size=0), r"must be at least 1"),
        (lambda: DataSettings(held_out_rows=-1), r"must be 0 or more; got -1"),
        (lambda: DataSettings(held_out_rows=1, held_out=Path("a")), r"got held_out_rows=1 and held_out=a\. Set one"),
        (lambda: ModelSettings(quantization="int8"), r"cannot be trained; got quantization='int8' without adapters"),
        (lambda: ModelSettings(lora_rank=4, adapter=Path("a")), r"brings its own rank; got lora_rank=4 too"),
        (lambda: ModelSettings(lora_rank=4, shape=SHAPE), r"need trained weights below them"),
        (
            lambda: TrainingRecipe(name="a", steps=10).check_complete(),
            r"got corpus=None, chats=None and preferences=None",
        ),
        (
            lambda: TrainingRecipe(name="a", steps=10, data=DataSettings(corpus=Path("a"))).check_complete(),
            r"got warmup_steps=100 of 10 steps",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_when_built(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: with_data(r, corpus=Path("/nowhere")), r"A corpus folder must have a manifest\.json"),
        (lambda r: with_data(r, held_out_rows=10_000), r"held_out_rows is 10000\. Hold out fewer"),
        (
            lambda r: replace(r, model=replace(r.model, shape=replace(SHAPE, vocabulary_size=100))),
            r"its tokenizer's vocabulary size, 8192 of code_gemma_tiny; got 100",
        ),
        (
            lambda r: replace(r, model=replace(r.model, shape=replace(SHAPE, context_length=32))),
            r"must fit the model's context of 32; .* has rows of 64",
        ),
        (lambda r: replace(r, mesh=replace(r.mesh, fsdp=3)), r"got 1 x 3 x 1 for 8 devices"),
    ],
)
def test_data_and_models_that_do_not_fit_are_refused_before_the_first_step(corpus, tmp_path, change, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(change(small_recipe(corpus)), tmp_path, report=silent)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_ids_beyond_the_vocabulary_and_empty_shards_are_refused(tmp_path):
    beyond, empty = tmp_path / "beyond", tmp_path / "empty"
    beyond.mkdir()
    empty.mkdir()
    write_corpus(beyond, numbered_rows(8200), rows_per_shard=8200, vocabulary_size=9000)
    with pytest.raises(ValueError, match=r"below the model's vocabulary size 8192; .* has 8200\. Build"):
        train(with_data(small_recipe(beyond), held_out_rows=0), tmp_path / "run", report=silent)
    write_corpus(empty, numbered_rows(4), rows_per_shard=4, vocabulary_size=9000)
    manifest = json.loads((empty / "manifest.json").read_text())
    manifest["shards"][0]["rows"] = 0
    (empty / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"Some rows must be left|shards with rows"):
        train(with_data(small_recipe(empty), held_out_rows=0), tmp_path / "run", report=silent)


def test_another_recipe_in_the_folder_of_a_run_is_refused(corpus, tmp_path):
    def stop(line):
        raise InterruptedError

    recipe = small_recipe(corpus)
    with pytest.raises(InterruptedError):
        train(recipe, tmp_path, report=stop)
    other = replace(recipe, optimizer=replace(recipe.optimizer, peak_rate=1.0))
    with pytest.raises(ValueError, match=r"these differ: optimizer\.peak_rate\. Give the same ones"):
        train(other, tmp_path, report=silent)
    # What changes no number may change.
    again = replace(recipe, keep=replace(recipe.keep, checkpoints=1), data=replace(recipe.data, threads=1))
    with pytest.raises(InterruptedError):
        train(again, tmp_path, report=stop)


def test_a_loss_that_is_no_number_or_leaps_stops_the_run_and_names_the_last_good_checkpoint(corpus, tmp_path):
    recipe = small_recipe(corpus)
    wild = replace(
        recipe,
        optimizer=replace(recipe.optimizer, peak_rate=1e30, warmup_steps=12, clip_norm=None),
        keep=replace(recipe.keep, save_every=2, spike=None),
    )
    with pytest.raises(DivergedError, match=r"no checkpoint was written yet|the last good one is \d+"):
        train(wild, tmp_path / "nan", report=silent)
    assert all(line["loss"] < 1e30 for line in read(tmp_path / "nan/metrics.jsonl") if "loss" in line)
    leaping = replace(
        recipe,
        steps=60,
        optimizer=replace(recipe.optimizer, peak_rate=3.0, warmup_steps=59, weight_decay=0.0),
        keep=replace(recipe.keep, log_every=1, save_every=10, validate_every=10, spike=1.1),
    )
    with pytest.raises(DivergedError, match=r"below 1\.1 times its usual .*; at step \d+ .* the last good one is \d0"):
        train(leaping, tmp_path / "leap", report=silent)


def test_a_full_disk_and_a_folder_that_cannot_be_written_to_are_errors_before_the_first_step(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"must be one that can be written to; .*file/run is not \(Not a directory\)"):
        train(small_recipe(corpus), tmp_path / "file" / "run", report=silent)
    with pytest.raises(OSError, match=r"must fit beside each other; .* has .* MB free\. Make room"):
        check_room(tmp_path, 2**60, count=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"A checkpoint of 2 MB must fit into .*; it does not \(File too large\)"):
            train(small_recipe(corpus), tmp_path / "run", report=silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "run/metrics.jsonl").exists()


@pytest.mark.slow
def test_a_disk_that_fills_up_later_stops_the_run_and_leaves_what_was_saved(corpus, tmp_path):
    program = (
        "import resource, sys\n"
        "from training import train\n"
        "shown = train._print_line\n"
        "def fill(line):\n"
        "    shown(line)\n"
        "    if line['step'] == 10:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "train._print_line = fill\n"
        "sys.exit(train.main(sys.argv[1:]))\n"
    )
    settings = [f"--set={text}" for text in settings_of(corpus)]
    arguments = ["tiny", "--workdir", str(tmp_path), *settings]
    full = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert full.returncode == FAILED, full.stderr
    assert "the last good one is" in full.stderr
    assert full.stderr.splitlines()[-1].endswith(
        "checkpoints/6. Make room or correct the folder, and give the same command again."
    )
    subprocess.run([sys.executable, "-m", "training.train", *arguments], cwd=ROOT, timeout=120, check=True)


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    held = RunFolder(tmp_path)
    with pytest.raises(OSError, match=r"another does in .*\. Wait for it"):
        RunFolder(tmp_path)
    held.close()
    RunFolder(tmp_path).close()


def test_the_command_says_wrong_use_and_failure_by_its_exit_code(tmp_path, capsys):
    assert main(["tiny", "--workdir", str(tmp_path)]) == WRONG_USE
    assert main(["tiny", "--workdir", str(tmp_path), "--set", "optimizer.name=sgd"]) == WRONG_USE
    assert main(["nothing", "--workdir", str(tmp_path)]) == WRONG_USE
    assert main(["tiny", "--workdir", str(tmp_path), "--set", "data.corpus=/nowhere"]) == FAILED
    said = capsys.readouterr().err
    assert "optimizer.name is one of adamw, adafactor, muon; got 'sgd'" in said
    assert "A corpus folder must have a manifest.json" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"at least one; .* has none"),
        ("\n{]\n", r"Line 2 of .* must be .*; it is not \(JSONDecodeError"),
        ('{"prompt": 1}\n', r"Line 1 of .*; it is not \(KeyError: 'messages'\)"),
    ],
)
def test_files_of_chats_must_be_so(tmp_path, text, message):
    (tmp_path / "chats.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_chats(tmp_path / "chats.jsonl")
