"""Runs of language tasks: their files, what is made again, what is refused, and that nothing asks the network."""

import functools
import importlib.metadata
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import keras_codegemma as kcg
from keras_codegemma.evaluation import language
from keras_codegemma.evaluation.language import TASKS, answers, harness, likelihood, model
from keras_codegemma.evaluation.language.likelihood import Likelihoods
from tests.evaluation.language import made_data
from tests.evaluation.language.scripted import Scripted
from tests.evaluation.language.small_lm import small_lm


@pytest.fixture(scope="module")
def lm():
    return small_lm()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_data.write(tmp_path_factory.mktemp("data"))


_compiled = functools.cache(lambda backbone, batch_size: Likelihoods(backbone, batch_size=batch_size))


@pytest.fixture(autouse=True)
def compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run compiles the shapes that it meets; here all runs of one model share what was compiled."""
    monkeypatch.setattr(likelihood, "Likelihoods", _compiled)


def run(lm: Any, data: Path, folder: Path, *tasks: str, **options: Any) -> dict[str, language.Result]:
    options = {"limit": None, "preset": "tiny", "allow_other_data": True, **options}
    return language.run(lm, data=data, tasks=tasks, folder=folder, **options)


def contents(folder: Path) -> dict[str, Any]:
    """All files of a run, without the seconds."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "language").iterdir()):
        text = path.read_text()
        found[path.name] = {**json.loads(text), "seconds": 0} if path.suffix == ".json" else text
    return found


def test_all_tasks_run_without_a_network_and_leave_readable_files(lm, data, tmp_path, monkeypatch):
    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"asked the network for {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(model, "NEW_TOKENS", 6)
    before = dict(os.environ)
    found = run(lm, data, tmp_path, *TASKS)
    assert dict(os.environ) == before
    assert language.read(tmp_path) == found
    assert list(found) == list(TASKS)
    for name, result in found.items():
        assert result.not_run == ""
        assert tuple(result.figures) == TASKS[name].metrics
        lines = (tmp_path / f"language/{name}.samples.jsonl").read_text().splitlines()
        samples = [json.loads(line) for line in lines]
        assert len(samples) == result.problems == result.available
        for metric, figure in result.figures.items():
            assert figure.value == sum(sample[metric] for sample in samples) / len(samples)
        assert result.truncated == sum(sample["tokens_left_out"] > 0 for sample in samples)
        assert result.shots == TASKS[name].shots
        assert result.other_data
        assert result.harness == importlib.metadata.version("lm-eval")
        assert set(result.files) == set(TASKS[name].files)
    assert set(found["mmlu"].subjects) == {"anatomy", "world_religions"}
    assert found["mmlu"].subjects["anatomy"]["problems"] == 2
    # The second passage of BoolQ does not fit 128 tokens, nor do MATH's four solved problems.
    assert found["boolq"].truncated == 1
    assert found["boolq"].tokens_left_out > 0
    assert found["math"].truncated == 2
    assert found["winogrande"].truncated == 0
    assert not list(tmp_path.glob("language/*.answers.jsonl"))


def test_finished_tasks_are_not_run_again(lm, data, tmp_path, monkeypatch):
    first = run(lm, data, tmp_path, "boolq")
    monkeypatch.setattr(harness, "score", lambda *_: pytest.fail("ran again"))
    assert run(lm, data, tmp_path, "boolq") == first
    assert run(lm, tmp_path / "elsewhere", tmp_path, "boolq") == first


class Killed(BaseException):
    """As a kill: nothing that runs afterwards may count on having run."""


@pytest.mark.parametrize("batches", [1, 3])
def test_an_interrupted_task_goes_on_with_the_same_final_files(lm, data, tmp_path, monkeypatch, batches):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(lm, data, whole, "piqa", "arc-challenge", batch_size=2)
    of, done, asked = answers.Answers.of, [], []

    def counting(self: Any, batch: Any, make: Any) -> Any:
        if len(done) == batches:
            raise Killed
        done.append(batch)
        return of(self, batch, make)

    monkeypatch.setattr(answers.Answers, "of", counting)
    with pytest.raises(Killed):
        run(lm, data, cut, "piqa", "arc-challenge", batch_size=2)
    path = next(iter(cut.glob("language/*.answers.jsonl")))
    path.write_bytes(path.read_bytes() + b'{"batch": "half of a li')

    def noting(self: Any, batch: Any, make: Any) -> Any:
        return of(self, batch, lambda: asked.append(batch) or make())

    monkeypatch.setattr(answers.Answers, "of", noting)
    run(lm, data, cut, "piqa", "arc-challenge", batch_size=2)
    assert contents(cut) == contents(whole)
    assert not [batch for batch in asked if batch in done]


def test_a_missing_file_is_a_result_and_the_others_run(lm, data, tmp_path):
    partial = made_data.write(
        tmp_path / "data", {name: rows for name, rows in made_data.ROWS.items() if not name.startswith("boolq")}
    )
    found = run(lm, partial, tmp_path, "boolq", "winogrande")
    path = partial / "boolq/val.jsonl.gz"
    assert found["boolq"].not_run == (
        f"not run: The benchmark file boolq/val.jsonl.gz must lie in the data folder; {path} cannot be read "
        "(No such file or directory). Put it there, or pass the folder that has it."
    )
    assert found["boolq"].figures == {}
    assert found["winogrande"].problems == 2
    assert language.read(tmp_path) == found
    # With the file in place it runs.
    assert run(lm, data, tmp_path, "boolq")["boolq"].problems == 2


def test_a_file_with_another_hash_is_run_only_where_that_is_allowed(lm, data, tmp_path):
    found = run(lm, data, tmp_path, "boolq", allow_other_data=False)["boolq"]
    assert found.not_run.startswith("not run: The contents of boolq/val.jsonl.gz must have the sha256 ")
    assert found.not_run.endswith("its figures are then those of another benchmark.")
    assert run(lm, data, tmp_path, "boolq")["boolq"].other_data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": 1}, "limit was None and is 1"),
        ({"preset": "other"}, "preset was 'tiny' and is 'other'"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(lm, data, tmp_path, change, message):
    run(lm, data, tmp_path, "boolq")
    with pytest.raises(ValueError, match=rf"same settings; in .*{message}\. Choose another folder, or delete this one"):
        run(lm, data, tmp_path, "winogrande", **change)
    assert list(language.read(tmp_path)) == ["boolq"]


def test_another_model_or_harness_in_the_same_folder_is_refused(lm, data, tmp_path, monkeypatch):
    run(lm, data, tmp_path, "boolq")
    monkeypatch.setattr(harness, "version", lambda: "9.9.9")
    monkeypatch.setattr(model, "fingerprint", lambda _: "another")
    with pytest.raises(ValueError, match=r"model was '\w{64}' and is 'another'; harness was '.*' and is '9\.9\.9'"):
        run(lm, data, tmp_path, "winogrande")


def test_other_data_under_a_finished_result_are_refused(lm, data, tmp_path):
    run(lm, data, tmp_path, "boolq")
    rows = made_data.ROWS["boolq/val.jsonl.gz"]
    changed = made_data.write(tmp_path / "changed", {"boolq/val.jsonl.gz": rows[:1]})
    with pytest.raises(ValueError, match="All results of a run must come from the same data; BoolQ was scored on"):
        run(lm, changed, tmp_path, "boolq")


def test_wrong_arguments_are_refused_before_anything_is_made(lm, data, tmp_path):
    with pytest.raises(ValueError, match=r"Tasks must be among boolq, .*math; got chess\. Correct the name"):
        run(lm, data, tmp_path / "a", "boolq", "chess")
    with pytest.raises(ValueError, match=r"limit must be at least 1; got 0\. Raise it"):
        run(lm, data, tmp_path / "a", "boolq", limit=0)
    with pytest.raises(ValueError, match=r"batch_size must be at least 1; got -1\. Raise it"):
        run(lm, data, tmp_path / "a", "boolq", batch_size=-1)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("found", ["0.4.12", None])
def test_a_missing_or_old_harness_is_named_with_its_extra(lm, data, tmp_path, monkeypatch, found):
    def version(_: str) -> str:
        if found is None:
            raise importlib.metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ImportError) as error:
        run(lm, data, tmp_path, "boolq")
    assert str(error.value) == (
        f"Language and mathematics benchmarks need lm-evaluation-harness 0.4.13 or newer; got {found or 'none'}. "
        "Install it: pip install 'keras-codegemma[eval]'."
    )


@pytest.mark.parametrize(
    ("name", "found", "wanted"),
    [("math-verify", None, "of any version"), ("antlr4-python3-runtime", "4.9.3", "4.11")],
)
def test_math_without_its_packages_is_refused_at_the_start(lm, data, tmp_path, monkeypatch, name, found, wanted):
    real = importlib.metadata.version

    def version(asked: str) -> str:
        if asked == name and found is None:
            raise importlib.metadata.PackageNotFoundError
        return found if asked == name else real(asked)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ImportError) as error:
        run(lm, data, tmp_path, "boolq", "math")
    assert str(error.value) == (
        f"MATH needs {name} {wanted} to compare formulas; got {found or 'none'}. "
        "Install it: pip install 'keras-codegemma[eval]'."
    )
    assert language.read(tmp_path) == {}


def test_newer_versions_and_pre_releases_of_the_harness_are_taken(monkeypatch):
    for found in ("0.4.13", "0.5", "0.10.0", "1.0.0rc1", "0.4.14.dev0"):
        monkeypatch.setattr(importlib.metadata, "version", lambda _, found=found: found)
        assert harness.version() == found


def test_math_outside_the_main_thread_is_refused():
    caught: list[BaseException] = []

    def score() -> None:
        try:
            harness.score(Scripted(), TASKS["math"], [])
        except ValueError as error:
            caught.append(error)

    thread = threading.Thread(target=score, name="worker")
    thread.start()
    thread.join()
    assert str(caught[0]) == (
        "MATH must be scored in the main thread, because the harness limits the time of each comparison by a signal; "
        "this is worker. Call run there, or leave math out."
    )


@pytest.mark.slow
@pytest.mark.shared
def test_the_nine_tasks_run_on_the_real_files_with_the_preset_that_ships(shared_dir, tmp_path):
    lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny")
    found = language.run(lm, data=shared_dir / "eval_data", tasks=tuple(TASKS), limit=5, folder=tmp_path)
    assert [result.problems for result in found.values()] == [5] * 9
    assert not any(result.not_run or result.other_data for result in found.values())
