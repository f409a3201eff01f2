"""Runs the language tasks of a model into a folder, one file a task; goes on where it was interrupted."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_codegemma.evaluation.language import files, harness, results, rows
from keras_codegemma.evaluation.language.answers import Answers
from keras_codegemma.evaluation.language.files import Data, UnusableDataError
from keras_codegemma.evaluation.language.results import Result
from keras_codegemma.evaluation.language.tasks import TASKS, LanguageTask

if TYPE_CHECKING:
    from keras_codegemma import CodeGemmaCausalLM

_LOG = logging.getLogger(__name__)


def run(
    lm: "CodeGemmaCausalLM",
    *,
    data: str | os.PathLike[str],
    tasks: Sequence[str],
    limit: int | None = None,
    folder: str | os.PathLike[str],
    batch_size: int = 8,
    preset: str = "",
    allow_other_data: bool = False,
) -> dict[str, Result]:
    """Scores a model on tasks and writes `language/<task>.json` and `language/<task>.samples.jsonl` into a folder.

    A finished task is not run again; an interrupted one goes on after its last whole batch, with the same final files
    but for the seconds. A task whose data cannot be used gets a result that says why.

    Args:
        lm: the model, with its preprocessor.
        data: folder with the benchmark files, named as in `LanguageTask.files`.
        tasks: names, keys of `TASKS`.
        limit: the first problems of each task only; None for all.
        folder: of the run; made if missing.
        batch_size: rows that run together. Changes nothing but speed and memory.
        preset: the model's name, for the record.
        allow_other_data: takes benchmark files with another hash than the pinned one, and says so in the result.

    Returns:
        The results of these tasks, in the order asked for.

    Raises:
        ImportError: lm-evaluation-harness is not installed.
        ValueError: an unknown task, a bad limit, or a folder that holds results of another model or other settings.
    """
    _check(tasks, limit, batch_size)
    version = harness.version()
    from keras_codegemma.evaluation.language.model import fingerprint

    settings = {"preset": preset, "model": fingerprint(lm), "limit": limit, "harness": version}
    results.check_settings(folder, settings)
    found = {}
    for name in dict.fromkeys(tasks):
        found[name] = _run_task(
            lm,
            TASKS[name],
            data=data,
            limit=limit,
            folder=folder,
            batch_size=batch_size,
            version=version,
            allow_other_data=allow_other_data,
        )
    return found


def _check(tasks: Sequence[str], limit: int | None, batch_size: int) -> None:
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise ValueError(f"Tasks must be among {', '.join(TASKS)}; got {', '.join(unknown)}. Correct the name.")
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}. Raise it.")


def _run_task(
    lm: "CodeGemmaCausalLM",
    task: LanguageTask,
    *,
    data: str | os.PathLike[str],
    limit: int | None,
    folder: str | os.PathLike[str],
    batch_size: int,
    version: str,
    allow_other_data: bool,
) -> Result:
    before = results.read_one(folder, task.name)
    if before is not None and not before.not_run:
        _LOG.info("%s is finished; its result stays.", task.title)
        return before
    try:
        loaded = files.load(task, data, allow_other_data=allow_other_data)
    except UnusableDataError as error:
        _LOG.warning("%s is not run: %s", task.title, error)
        result = _result(task, limit=limit, version=version, not_run=f"not run: {error}")
        results.write(folder, result)
        return result
    _LOG.info("%s: %d problems, of which %s.", task.title, loaded.available, "all" if limit is None else limit)
    return _score(lm, task, loaded, limit=limit, folder=folder, batch_size=batch_size, version=version)


def _score(
    lm: "CodeGemmaCausalLM",
    task: LanguageTask,
    loaded: Data,
    *,
    limit: int | None,
    folder: str | os.PathLike[str],
    batch_size: int,
    version: str,
) -> Result:
    from keras_codegemma.evaluation.language.model import Shortened, as_harness_model

    shortened = Shortened()
    with Answers(results.path_of(folder, f"{task.name}.answers.jsonl")) as answers:
        model = as_harness_model(lm, batch_size=batch_size, answers=answers, shortened=shortened)
        samples = harness.score(model, task, rows.limited(loaded.parts, limit))
        for sample in samples:
            key = (sample.pop("harness_task"), sample.pop("place"))
            sample["tokens_left_out"] = shortened.tokens.get(key, 0)
        _write_samples(results.path_of(folder, f"{task.name}.samples.jsonl"), samples)
        result = _result(task, limit=limit, version=version, loaded=loaded, samples=samples, seconds=answers.seconds)
        results.write(folder, result)
        answers.delete()
    return result


def _result(
    task: LanguageTask,
    *,
    limit: int | None,
    version: str,
    not_run: str = "",
    loaded: Data | None = None,
    samples: Sequence[Mapping[str, Any]] = (),
    seconds: float = 0.0,
) -> Result:
    left_out = [sample["tokens_left_out"] for sample in samples]
    return Result(
        task=task.name,
        title=task.title,
        not_run=not_run,
        figures={name: results.figure([sample[name] for sample in samples]) for name in task.metrics if samples},
        problems=len(samples),
        available=loaded.available if loaded else 0,
        limit=limit,
        shots=task.shots,
        truncated=sum(count > 0 for count in left_out),
        tokens_left_out=max(left_out, default=0),
        subjects=_subjects(task, samples),
        harness=version,
        files=loaded.hashes if loaded else {},
        other_data=loaded.other if loaded else False,
        seconds=round(seconds, 2),
        deviation=task.deviation,
        published=dict(task.published),
    )


def _subjects(task: LanguageTask, samples: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    values: dict[str, list[float]] = {}
    for sample in samples:
        if "subject" in sample:
            values.setdefault(sample["subject"], []).append(sample[task.metrics[0]])
    return {name: {"value": sum(found) / len(found), "problems": len(found)} for name, found in values.items()}


def _write_samples(path: Path, samples: Sequence[Mapping[str, Any]]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")
    partial.replace(path)
