"""A run that was stopped or killed comes to the same numbers as one that was not, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.training.run.made_run import real_corpus, settings_of, small_recipe
from training.log import read
from training.run import train
from training.train import STOPPED

NUMBERS = (
    *("step", "loss", "nats_per_token", "accuracy", "middle_nats_per_token", "middle_accuracy"),
    *("learning_rate", "tokens", "val_loss", "val_nats_per_token", "val_middle_nats_per_token"),
)


class KilledError(Exception):
    """Stands for a kill: nothing of ours gets to run after it but `finally`."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return real_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert train(small_recipe(corpus), folder, report=lambda line: None)
    return folder


def numbers(folder: Path) -> list[dict[str, float]]:
    return [{name: line[name] for name in NUMBERS if name in line} for line in read(folder / "metrics.jsonl")]


def weights(folder: Path) -> dict[str, np.ndarray]:
    import h5py

    found = {}
    with h5py.File(folder / "model" / "model.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_equal(folder: Path, expected: Path) -> None:
    assert numbers(folder) == numbers(expected)
    ours, theirs = weights(folder), weights(expected)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_the_loss_falls_and_is_logged_with_validation(uninterrupted):
    lines = numbers(uninterrupted)
    losses = [line["nats_per_token"] for line in lines if "loss" in line]
    assert [line["step"] for line in lines if "loss" in line] == list(range(2, 21, 2))
    assert [line["step"] for line in lines if "val_loss" in line] == [10, 20]
    assert losses[-1] < losses[0] - 0.3
    assert "<polyline" in (uninterrupted / "loss.svg").read_text()


def test_a_run_that_broke_off_goes_on_to_the_same_numbers_with_other_readers(corpus, uninterrupted, tmp_path):
    def kill(line):
        if line["step"] == 16:
            raise KilledError

    with pytest.raises(KilledError):
        train(small_recipe(corpus), tmp_path, report=kill)
    assert not (tmp_path / "model").exists()
    recipe = small_recipe(corpus)
    recipe = replace(recipe, data=replace(recipe.data, threads=1))
    assert train(recipe, tmp_path, report=lambda line: None)
    assert_equal(tmp_path, uninterrupted)
    assert [json.loads(line)["step"] for line in (tmp_path / "starts.jsonl").read_text().splitlines()] == [0, 12]


def test_a_signal_saves_within_an_interval_and_the_run_goes_on_to_the_same_numbers(corpus, uninterrupted, tmp_path):
    def stop(line):
        # It is taken up behind the next batch, in the middle of an interval.
        if line["step"] == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert not train(small_recipe(corpus), tmp_path, report=stop)
    assert signal.getsignal(signal.SIGTERM) is before
    assert train(small_recipe(corpus), tmp_path, report=lambda line: None)
    assert_equal(tmp_path, uninterrupted)


def command(corpus: Path, folder: Path, *settings: str) -> list[str]:
    texts = [f"--set={text}" for text in (*settings_of(corpus), *settings)]
    return [sys.executable, "-m", "training.train", "tiny", "--workdir", str(folder), *texts]


@pytest.mark.slow
def test_killed_at_five_random_moments_the_command_comes_to_the_same_numbers(corpus, tmp_path):
    subprocess.run(command(corpus, tmp_path / "whole"), cwd=ROOT, check=True, timeout=120)
    rng = random.Random(8)
    folder = tmp_path / "killed"
    for kill in range(5):
        # Other numbers of worker processes each time; the killed process is waited for at a random line.
        running = subprocess.Popen(
            command(corpus, folder, f"data.workers={kill % 3}"), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(rng.randint(1, 5)):
            running.stdout.readline()
        time.sleep(rng.random() * 0.1)
        running.kill()
        running.communicate(timeout=60)
    subprocess.run(command(corpus, folder), cwd=ROOT, check=True, timeout=120)
    assert_equal(folder, tmp_path / "whole")


@pytest.mark.slow
def test_sigterm_ends_the_command_with_its_exit_code(corpus, tmp_path):
    running = subprocess.Popen(command(corpus, tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    running.stdout.readline()
    running.terminate()
    running.communicate(timeout=60)
    assert running.returncode == STOPPED
    subprocess.run(command(corpus, tmp_path), cwd=ROOT, check=True, timeout=120)


@pytest.mark.slow
def test_workers_end_when_the_process_that_trains_is_killed(corpus, tmp_path):
    running = subprocess.Popen(command(corpus, tmp_path, "data.workers=1"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    running.stdout.readline()
    running.kill()
    # The pipe is open as long as a worker is.
    running.communicate(timeout=20)
