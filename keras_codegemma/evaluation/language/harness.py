"""lm-evaluation-harness at work: its tasks on our rows, with its hub switched off, and its samples as plain records.

The only file that drives lm_eval; it is imported inside functions, since it takes seconds and is an extra.
"""

import contextlib
import importlib
import importlib.metadata
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_codegemma.evaluation.language.rows import Part
from keras_codegemma.evaluation.language.tasks import LanguageTask

if TYPE_CHECKING:
    from lm_eval.api.model import LM

OLDEST = (0, 4, 13)
FORMULAS = {"sympy": "", "math-verify": "", "antlr4-python3-runtime": "4.11"}  # versions that the harness asks for
SEED = 1234  # of the shots that are drawn: the default of the harness
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE")


def version() -> str:
    """The version of lm-evaluation-harness.

    Raises:
        ImportError: it is not installed, or too old.
    """
    try:
        found = importlib.metadata.version("lm-eval")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
    if numbers < OLDEST:
        raise ImportError(
            f"Language and mathematics benchmarks need lm-evaluation-harness {'.'.join(map(str, OLDEST))} or newer; "
            f"got {found}. Install it: pip install 'keras-codegemma[eval]'."
        )
    return found


def check_formulas() -> None:
    """Whether MATH's answers can be compared here.

    Raises:
        ImportError: what the harness compares formulas with is missing, or another version.
    """
    for name, begins in FORMULAS.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if found == "none" or not found.startswith(begins):
            raise ImportError(
                f"MATH needs {name} {begins or 'of any version'} to compare formulas; got {found}. "
                "Install it: pip install 'keras-codegemma[eval]'."
            )


def score(model: "LM", task: LanguageTask, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Runs one task.

    Args:
        model: as `model.as_harness_model` makes it.
        task: of `tasks.TASKS`.
        parts: its problems.

    Returns:
        A record for each problem, in the order of their numbers; see `_record`.

    Raises:
        ValueError: MATH outside the main thread, where its comparison of formulas fails without a word.
    """
    if task.name == "math" and threading.current_thread() is not threading.main_thread():
        raise ValueError(
            "MATH must be scored in the main thread, because the harness limits the time of each comparison by a "
            f"signal; this is {threading.current_thread().name}. Call run there, or leave math out."
        )
    with _offline(), _quiet():
        from lm_eval.evaluator import evaluate

        tasks = _tasks(task, parts)
        results = evaluate(lm=model, task_dict={"tasks": tasks}, bootstrap_iters=0, log_samples=True)
    assert results is not None, "only other processes than the first get none"
    records = [
        record
        for part in parts
        for record in _records(task, part, results["samples"][part.harness_task])  # type: ignore[index]
    ]
    return sorted(records, key=lambda record: record["problem"])


def _tasks(task: LanguageTask, parts: Sequence[Part]) -> dict[str, Any]:
    """The harness' own tasks, with our rows as their data."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    folder = Path(lm_eval.__file__).parent / "tasks" / task.folder
    manager = TaskManager(include_defaults=False, include_path=folder)
    missing = [part.harness_task for part in parts if part.harness_task not in manager.task_index]
    if missing:
        raise ValueError(
            f"lm-evaluation-harness must define the tasks of {task.title}; {missing[0]} is not in {folder}. "
            f"Install a version that has it, {'.'.join(map(str, OLDEST))} for instance."
        )
    configurations = [_configuration(task, part) for part in parts]
    # A group's members are the tasks of these names with the fields given here changed.
    loaded = manager.load({"group": "keras_codegemma", "task": configurations})["tasks"]
    for made in loaded.values():
        made.set_fewshot_seed(SEED)
    return loaded


def _configuration(task: LanguageTask, part: Part) -> dict[str, Any]:
    import datasets

    rows = {"test": datasets.Dataset.from_list(part.problems)}
    if part.shots:
        rows["shots"] = datasets.Dataset.from_list(list(part.shots))
    return {
        "task": part.harness_task,
        "custom_dataset": lambda **_: rows,
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": "shots" if part.shots else None,
        "num_fewshot": task.shots,
        **task.overrides,
    }


def _records(task: LanguageTask, part: Part, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_problem: dict[int, list[dict[str, Any]]] = {}
    for sample in samples:
        by_problem.setdefault(sample["doc_id"], []).append(sample)
    return [_record(task, part, place, by_problem[place]) for place in range(len(part.problems))]


def _record(task: LanguageTask, part: Part, place: int, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One problem: what was asked and answered, and each metric.

    Of a choice: `prompt` (or `prompts`, where the options are in them), `options` (or `option`), their
    `log_likelihoods` in nats and whether greedy decoding gives them. Of a generating task: `prompt` and `response`.
    """
    sample = samples[0]
    record: dict[str, Any] = {"problem": part.numbers[place]}
    if part.subject:
        record["subject"] = part.subject
    asked = sample["arguments"]
    if isinstance(asked[0][1], str):
        contexts, options = [list(dict.fromkeys(texts)) for texts in zip(*asked, strict=True)]
        record |= {"prompt": contexts[0]} if len(contexts) == 1 else {"prompts": contexts}
        record |= {"option": options[0]} if len(contexts) > 1 else {"options": [pair[1] for pair in asked]}
        answers = [responses[0] for responses in sample["resps"]]
        record |= {"log_likelihoods": [value for value, _ in answers], "greedy": [greedy for _, greedy in answers]}
    else:
        record |= {"prompt": asked[0][0], "response": sample["resps"][0][0]}
    # Where the options are in the prompts (WinoGrande), the harness' target is the text that they share.
    record["target"] = int(sample["doc"]["answer"]) - 1 if "prompts" in record else sample["target"]
    record["harness_task"], record["place"] = part.harness_task, place
    by_filter = {found["filter"]: found for found in samples}
    for metric in task.metrics:
        name, _, filtered = metric.partition(",")
        record[metric] = float(by_filter[filtered or "none"][name])
    return record


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keeps the hub's packages from the network, in this process and in those it starts, until the end of the block."""
    import datasets.config
    import huggingface_hub.constants

    with contextlib.ExitStack() as stack:
        for name in OFFLINE:
            stack.callback(_put_back, name, os.environ.get(name))
            os.environ[name] = "1"
        # They read the variables when they are imported, and were before this.
        for module, name in (
            (huggingface_hub.constants, "HF_HUB_OFFLINE"),
            (datasets.config, "HF_HUB_OFFLINE"),
            (datasets.config, "HF_DATASETS_OFFLINE"),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, True)
        yield


def _put_back(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lets the harness report what is wrong, but not its progress, nor remarks on its own command line and tasks."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    steps: Any = importlib.import_module("lm_eval.api.task")
    logger, task_logger = logging.getLogger("lm_eval"), logging.getLogger("lm_eval.api.task")
    level, bars, tqdm = logger.level, is_progress_bar_enabled(), steps.tqdm
    logger.setLevel(logging.WARNING)
    task_logger.addFilter(_no_remark)
    disable_progress_bar()
    steps.tqdm = lambda rows, **_: rows
    try:
        yield
    finally:
        steps.tqdm = tqdm
        if bars:
            enable_progress_bar()
        task_logger.removeFilter(_no_remark)
        logger.setLevel(level)


def _no_remark(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(text in message for text in ("Custom kwargs can be passed", "is defined, but "))
