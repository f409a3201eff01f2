"""Runs the language tasks of a model into a folder, one file a task; goes on where it was interrupted."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_codegemma.evaluation.language import files, harness, results, rows
from keras_codegemma.evaluation.language.answers import Answers
from keras_codegemma.evaluation.language.files import Data, UnusableDataError
from keras_codegemma.evaluation.language.results import Result
from keras_codegemma.evaluation.language.tasks import TASKS, LanguageTask

if TYPE_CHECKING:
    from keras_codegemma import CodeGemmaCausalLM
    from keras_codegemma.evaluation.language.likelihood import Likelihoods

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
        batch_size: rows that run together: speed and memory, and of a figure no more than rounding decides.
        preset: the model's name, for the record.
        allow_other_data: takes benchmark files with another hash than the pinned one, and says so in the result.

    Returns:
        The results of these tasks, in the order asked for.

    Raises:
        ImportError: lm-evaluation-harness, or what it compares formulas with, is not installed.
        ValueError: an unknown task, a bad limit, a model without a preprocessor, or a folder that holds results of
            another model, other settings or other data.
    """
    _check(tasks, limit, batch_size)
    version = harness.version()
    if "math" in tasks:
        harness.check_formulas()
    from keras_codegemma.evaluation.language.likelihood import Likelihoods
    from keras_codegemma.evaluation.language.model import fingerprint

    settings = {"preset": preset, "model": fingerprint(lm), "limit": limit, "harness": version}
    results.check_settings(folder, settings)
    work = _Run(
        lm=lm,
        likelihoods=Likelihoods(lm.backbone, batch_size=batch_size),
        data=Path(data),
        limit=limit,
        folder=Path(folder),
        batch_size=batch_size,
        version=version,
        allow_other_data=allow_other_data,
    )
    return {name: work.result_of(TASKS[name]) for name in dict.fromkeys(tasks)}


def _check(tasks: Sequence[str], limit: int | None, batch_size: int) -> None:
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise ValueError(f"Tasks must be among {', '.join(TASKS)}; got {', '.join(unknown)}. Correct the name.")
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}. Raise it.")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What all tasks of a run share; `run` describes the fields."""

    lm: "CodeGemmaCausalLM"
    likelihoods: "Likelihoods"
    data: Path
    limit: int | None
    folder: Path
    batch_size: int
    version: str
    allow_other_data: bool

    def result_of(self, task: LanguageTask) -> Result:
        """The result that is there, or a new one."""
        before = results.read_one(self.folder, task.name)
        if before is not None and not before.not_run:
            self._check_same_data(before, task)
            self._answers(task).unlink(missing_ok=True)
            _LOG.info("%s is finished; its result stays.", task.title)
            return before
        try:
            loaded = files.load(task, self.data, allow_other_data=self.allow_other_data)
        except UnusableDataError as error:
            _LOG.warning("%s is not run: %s", task.title, error)
            result = self._result(task, not_run=f"not run: {error}")
            results.write(self.folder, result)
            return result
        count = loaded.available if self.limit is None else min(self.limit, loaded.available)
        _LOG.info("%s: %d of %d problems.", task.title, count, loaded.available)
        return self._score(task, loaded)

    def _answers(self, task: LanguageTask) -> Path:
        return results.path_of(self.folder, f"{task.name}.answers.jsonl")

    def _check_same_data(self, before: Result, task: LanguageTask) -> None:
        try:
            now = files.hashes(task, self.data)
        except UnusableDataError:
            return  # A finished result needs its files no more.
        if now != before.files:
            raise ValueError(
                f"All results of a run must come from the same data; {task.title} was scored on {dict(before.files)}, "
                f"and {self.data} has {now}. Choose another folder for the run, or delete that result."
            )

    def _score(self, task: LanguageTask, loaded: Data) -> Result:
        from keras_codegemma.evaluation.language.model import Shortened, as_harness_model

        shortened = Shortened()
        with Answers(self._answers(task)) as answers:
            model = as_harness_model(
                self.lm,
                batch_size=self.batch_size,
                likelihoods=self.likelihoods,
                answers=answers,
                shortened=shortened,
            )
            samples = harness.score(model, task, rows.limited(loaded.parts, self.limit))
            for sample in samples:
                key = (sample.pop("harness_task"), sample.pop("place"))
                sample["tokens_left_out"] = shortened.tokens.get(key, 0)
            _write_samples(results.path_of(self.folder, f"{task.name}.samples.jsonl"), samples)
            result = self._result(task, loaded=loaded, samples=samples, seconds=answers.seconds)
            results.write(self.folder, result)
            answers.delete()
        return result

    def _result(
        self,
        task: LanguageTask,
        *,
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
            limit=self.limit,
            shots=task.shots,
            truncated=sum(count > 0 for count in left_out),
            tokens_left_out=max(left_out, default=0),
            subjects=_subjects(task, samples),
            harness=self.version,
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
