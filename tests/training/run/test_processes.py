"""The command as several processes: one log, an end when one is lost, and checkpoints that any number goes on from."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_codegemma.distribution.watch import LOST_EXIT_CODE
from tests.conftest import ROOT
from tests.tolerances import tolerance
from tests.training.run.made_run import real_corpus, settings_of
from tests.training.run.test_going_on import assert_equal, numbers

DEVICES = 4
SPLIT = ("mesh.fsdp=4",)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return real_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory) -> Path:
    """A run of one process on one device."""
    folder = tmp_path_factory.mktemp("alone")
    (done,) = finish(start(corpus, folder, count=1, devices=1))
    assert done[0] == 0, done
    return folder


@pytest.fixture(scope="module")
def together(corpus, tmp_path_factory) -> Path:
    """A run of two processes with two devices each."""
    folder = tmp_path_factory.mktemp("together")
    outputs = finish(start(corpus, folder, *SPLIT, count=2))
    assert [code for code, _, _ in outputs] == [0, 0], outputs
    assert "loss" in outputs[0][1]
    assert "loss" not in outputs[1][1]
    return folder


def start(
    corpus: Path, folder: Path, *settings: str, count: int, devices: int = DEVICES, others: tuple[str, ...] = ()
) -> list[subprocess.Popen]:
    """Training on a corpus as `count` processes; `others` are settings of all but the first."""
    settings = (*settings_of(corpus), *settings)
    return start_recipe("tiny", folder, *settings, count=count, devices=devices, others=others)


def start_recipe(
    recipe: str, folder: Path, *settings: str, count: int, devices: int, others: tuple[str, ...] = ()
) -> list[subprocess.Popen]:
    """The command, likewise."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    processes = []
    for index in range(count):
        texts = [f"--set={text}" for text in (*settings, *(others if index else ()))]
        command = [sys.executable, "-m", "training.train", recipe, "--workdir", str(folder), *texts]
        environment = {
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices // count}",
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
        }
        processes.append(
            subprocess.Popen(
                command if count == 1 else [*command, "--distributed"],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finish(processes: list[subprocess.Popen], seconds: float = 400) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each."""
    found = []
    try:
        for process in processes:
            out, error = process.communicate(timeout=seconds)
            found.append((process.returncode, out, error))
    finally:
        for process in processes:
            process.kill()
    return found


def break_off(processes: list[subprocess.Popen], *, behind: int, how: signal.Signals, whom: int) -> None:
    """Sends a signal to one of the processes once step `behind` was logged."""
    output = processes[0].stdout
    assert output is not None
    for line in output:
        if line.startswith(f"step {behind} "):
            break
    processes[whom].send_signal(how)


def assert_close(folder: Path, expected: Path) -> None:
    """The same lines, but for the order of sums."""
    ours, theirs = numbers(folder), numbers(expected)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for name in one.keys() & {"loss", "nats_per_token", "val_loss"}:
            assert one[name] == pytest.approx(other[name], rel=tolerance("rescored", "float32")), (one, other)


def test_two_processes_log_and_validate_as_one(together, alone):
    assert_close(together, alone)
    assert [json.loads(line)["step"] for line in (together / "starts.jsonl").read_text().splitlines()] == [0]


def test_a_killed_process_ends_the_job_and_the_same_command_goes_on_bit_for_bit(corpus, together, tmp_path):
    processes = start(corpus, tmp_path, *SPLIT, count=2)
    break_off(processes, behind=14, how=signal.SIGKILL, whom=1)
    killed = time.monotonic()
    outputs = finish(processes)
    assert time.monotonic() - killed < 60
    assert outputs[1][0] == -signal.SIGKILL
    assert outputs[0][0] == LOST_EXIT_CODE
    assert "process 0 ends, because process 1 of 2 (" in outputs[0][2]
    assert [code for code, _, _ in finish(start(corpus, tmp_path, *SPLIT, count=2))] == [0, 0]
    assert_equal(tmp_path, together)
    assert len((tmp_path / "starts.jsonl").read_text().splitlines()) == 2


def test_a_signal_to_one_process_saves_and_stops_all(corpus, together, tmp_path):
    processes = start(corpus, tmp_path, *SPLIT, count=2)
    break_off(processes, behind=6, how=signal.SIGTERM, whom=1)
    assert [code for code, _, _ in finish(processes)] == [75, 75]
    assert numbers(tmp_path)[-1]["step"] < 20
    assert [code for code, _, _ in finish(start(corpus, tmp_path, *SPLIT, count=2))] == [0, 0]
    assert_equal(tmp_path, together)


@pytest.mark.parametrize(("first", "then"), [(4, 1), (1, 4)])
def test_another_number_of_processes_goes_on_from_a_checkpoint(corpus, alone, tmp_path, first, then):
    def settings(count):
        return (SPLIT, DEVICES) if count > 1 else ((), 1)

    split, devices = settings(first)
    processes = start(corpus, tmp_path, *split, count=first, devices=devices)
    break_off(processes, behind=8, how=signal.SIGTERM, whom=0)
    assert {code for code, _, _ in finish(processes)} == {75}
    split, devices = settings(then)
    outputs = finish(start(corpus, tmp_path, *split, count=then, devices=devices))
    assert {code for code, _, _ in outputs} == {0}, outputs
    assert_close(tmp_path, alone)


def test_processes_with_other_settings_are_refused_by_name(corpus, tmp_path):
    others = ("seed=1", "model.preset=code_gemma_2b_en")
    outputs = finish(start(corpus, tmp_path, *SPLIT, count=2, others=others))
    for code, _, error in outputs:
        assert code == 1, error
        assert "All processes of a job must have the same settings" in error
        assert 'model.preset is "code_gemma_tiny" on process 0, "code_gemma_2b_en" on process 1' in error
        assert "seed is 0 on process 0, 1 on process 1" in error
    assert not (tmp_path / "run.json").exists()


def test_two_processes_tune_preferences_as_one(tmp_path):
    pairs = tmp_path / "preferences.jsonl"
    with pairs.open("w") as stream:
        for i in range(20):
            messages = [{"role": "user", "content": f"What is {i} + 1?"}]
            stream.write(json.dumps({"messages": messages, "chosen": f"{i + 1}", "rejected": f"Not {i}."}) + "\n")
    settings = (
        *(f"data.preferences={pairs}", "data.batch_size=4", "data.sequence_length=48", "data.held_out_rows=4"),
        *("model.preset=code_gemma_tiny", "model.dtype=float32", "model.lora_rank=4", "steps=8"),
        *("optimizer.peak_rate=0.01", "optimizer.warmup_steps=1"),
        *("keep.log_every=2", "keep.save_every=4", "keep.validate_every=4"),
    )
    alone, together = tmp_path / "alone", tmp_path / "together"
    (one,) = finish(start_recipe("preference_7b", alone, *settings, "mesh.fsdp=1", count=1, devices=1))
    assert one[0] == 0, one
    both = finish(start_recipe("preference_7b", together, *settings, "mesh.fsdp=2", count=2, devices=2))
    assert [code for code, _, _ in both] == [0, 0], both
    assert_close(together, alone)
    assert (together / "adapter.safetensors").exists()
    assert numbers(together)[-1]["val_loss"] < numbers(together)[0]["loss"]
