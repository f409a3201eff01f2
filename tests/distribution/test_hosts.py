"""Several real processes on this machine: they train as one does, one of them speaks, and none survives another."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_codegemma as kcg
from keras_codegemma.distribution.hosts import disagreements, initialize
from keras_codegemma.distribution.watch import LOST_EXIT_CODE, Watch
from tests.distribution.hosts_program import (
    LENGTH,
    PROMPTS,
    ROWS,
    STEPS,
    UNEVEN_BATCH,
    ids,
    uneven_rows,
    write_samples,
)
from tests.tolerances import tolerance

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("hosts_program.py")
DEVICES = 4


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Job:
    """Processes of one job, on a free port of this machine."""

    def __init__(self, mode: str, count: int, *arguments: str):
        address = f"127.0.0.1:{free_port()}"
        flags = f"--xla_force_host_platform_device_count={DEVICES // count}"
        environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
        self.processes = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM), mode, address, str(count), str(index), *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]

    def finish(self, seconds: float = 240) -> list[tuple[int, str, str]]:
        """Exit code, output and errors of each."""
        found = []
        try:
            for process in self.processes:
                out, error = process.communicate(timeout=seconds)
                found.append((process.returncode, out, error))
        finally:
            for process in self.processes:
                process.kill()
        return found


def losses(outputs: list[tuple[int, str, str]]) -> list[list[float]]:
    assert all(code == 0 for code, _, _ in outputs), outputs
    return [json.loads(out.splitlines()[-1])["losses"] for _, out, _ in outputs]


@functools.cache
def losses_of_one_process() -> list[float]:
    """Without a mesh."""
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    lm.compile(optimizer=keras.optimizers.AdamW(1e-3))
    found: list[float] = []
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: found.append(float(logs["loss"])))
    rows = ids().reshape(STEPS * ROWS, LENGTH)
    labels = np.roll(rows, -1, axis=1)
    lm.fit({"token_ids": rows}, labels, batch_size=ROWS, shuffle=False, callbacks=[record], verbose=0)
    return found


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_train_as_one(count):
    alone = losses_of_one_process()
    outputs = Job("train", count).finish()
    for found in losses(outputs):
        assert np.abs(np.subtract(found, alone)).max() <= tolerance("sharded", "float32") * max(alone)
    # Progress is process 0's. The collectives' own library prints a line for each connection, on all.
    assert "loss:" in outputs[0][1]
    for _, out, error in outputs[1:]:
        assert "loss:" not in out + error


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_rows_that_do_not_divide_are_filled_up_without_weight(count):
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    lm.compile(optimizer=keras.optimizers.AdamW(1e-3))
    parts = [uneven_rows(group) for group in range(count)]
    steps = [np.concatenate([part[first : first + UNEVEN_BATCH] for part in parts]) for first in (0, UNEVEN_BATCH)]
    alone = [float(lm.train_on_batch({"token_ids": rows}, np.roll(rows, -1, axis=1))[0]) for rows in steps]
    rows = np.concatenate(parts)
    expected = lm.evaluate({"token_ids": rows}, np.roll(rows, -1, axis=1), verbose=0, return_dict=True)
    outputs = Job("uneven", count).finish()
    # Keras logs the mean of an epoch so far.
    for found in losses(outputs):
        assert found == pytest.approx([alone[0], np.mean(alone)], rel=tolerance("sharded", "float32"))
    for _, out, _ in outputs:
        found = json.loads(out.splitlines()[-1])
        for name in ("accuracy", "nats_per_token"):
            assert found[name] == pytest.approx(expected[name], rel=10 * tolerance("sharded", "float32"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_a_killed_process_ends_the_others_with_its_name(count):
    job = Job("hang", count)
    job.processes[1].wait(timeout=200)
    start = time.monotonic()
    outputs = job.finish(60)
    assert time.monotonic() - start < 60
    assert outputs[1][0] == -signal.SIGKILL
    for index, (code, _, error) in enumerate(outputs):
        if index != 1:
            assert code == LOST_EXIT_CODE, error
            assert f"process {index} ends, because process 1 of {count} (" in error
            assert "has been silent for" in error


@pytest.mark.slow
def test_an_error_on_one_process_is_told_by_the_others():
    outputs = Job("fail", 2).finish()
    assert outputs[1][0] == 1
    assert "a broken row" in outputs[1][2]
    assert outputs[0][0] == LOST_EXIT_CODE
    assert "failed: ValueError: a broken row" in outputs[0][2]


@pytest.mark.slow
def test_processes_of_the_shell_loop_that_disagree_are_refused_by_name():
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // 2}",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PORT": str(free_port()),
    }
    command = ["sh", str(ROOT / "examples/launch/local.sh"), "2", str(PROGRAM), "disagree"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    message = 'mesh is "replica 1 x fsdp 2 x model 2" on process 0, "replica 1 x fsdp 4 x model 1" on process 1'
    assert done.returncode == 1
    assert done.stderr.count(message) == 2


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_one_model_over_several_processes_generates_as_one(count):
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    expected = lm.generate(list(PROMPTS), max_new_tokens=8)
    outputs = Job("generate", count).finish()
    assert all(code == 0 for code, _, _ in outputs), outputs
    assert [json.loads(out.splitlines()[-1])["texts"] for _, out, _ in outputs] == [expected] * count


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_problems_are_shared_by_process_and_merged_into_one_result(count, tmp_path):
    assert write_samples(str(tmp_path / "alone"), process=0, processes=1)
    outputs = Job("evaluate", count, str(tmp_path / "shared")).finish()
    assert all(code == 0 for code, _, _ in outputs), outputs
    # The last to finish merges. With several batches each process has made its own part.
    assert any(json.loads(out.splitlines()[-1])["complete"] for _, out, _ in outputs)
    assert len(list((tmp_path / "shared").glob("samples-*.jsonl"))) == count

    def texts(folder):
        lines = (tmp_path / folder / "samples.jsonl").read_text().splitlines()
        return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]

    assert texts("shared") == texts("alone")


def test_the_watch_names_who_is_silent_and_who_failed():
    watch = Watch(None, index=0, count=3, lost_seconds=30)
    watch._seen = {1: ("", 0.0), 2: ("", 0.0)}
    folder = "keras_codegemma/watch"
    found = {f"{folder}/host/1": "a, pid 7", f"{folder}/beat/1": "1", f"{folder}/beat/2": "1"}
    assert watch._lost(found, now=1.0) is None
    found[f"{folder}/end/2"] = "done"  # it may leave before the others
    assert watch._lost(found, now=30.0) is None
    assert watch._lost(found, now=32.0) == "process 1 of 3 (a, pid 7) has been silent for 31 seconds"
    found[f"{folder}/end/1"] = "failed: ValueError: no"
    assert watch._lost(found, now=33.0) == "process 1 of 3 (a, pid 7) failed: ValueError: no"


def test_disagreements_name_fields_and_processes():
    found = [{"seed": 1, "preset": "a"}, {"seed": 2, "preset": "a"}, {"seed": 1, "preset": "a"}]
    assert disagreements(found) == ["seed is 1 on processes 0 and 2, 2 on process 1"]
    assert disagreements([{"seed": 1}, {"seed": 1}]) == []


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"must be host:port; got 'here'\. Add a free port"):
        initialize("here", num_processes=2, process_id=0)
    with pytest.raises(ValueError, match=r"from 0 to 1, for 2 processes; got 2"):
        initialize("here:1", num_processes=2, process_id=2)
