"""Rows from TensorFlow Datasets, for the sets where it has the same ones: MBPP and BoolQ.

TFDS shuffles what it stores, so only rows that carry their number can be put back into the origin's order: MBPP's
`task_id` and the `idx` of SuperGLUE's BoolQ. Left out are sets whose numbers or fields it drops (GSM8K, PIQA,
HellaSwag, WinoGrande, ARC, TriviaQA) and those that it does not have (HumanEval, infilling, BabelCode, MATH-500).
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_codegemma.evaluation.fetching.forms import as_lines


def contents(name: str) -> bytes:
    """The rows of a benchmark file, from TFDS.

    Args:
        name: a key of `SETS`.

    Raises:
        ImportError: TFDS is not installed.
    """
    try:
        datasets = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise ImportError(
            f"--from tfds needs TensorFlow Datasets, which is not installed here ({error}). "
            "Install it: pip install 'keras-codegemma[tf]'."
        ) from error
    return as_lines(SETS[name](lambda *what: _rows(datasets, *what)))


def _rows(datasets: Any, name: str, split: str) -> list[Mapping[str, Any]]:
    return list(datasets.as_numpy(datasets.load(name, split=split)))


def _mbpp(load: Callable[[str, str], Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    rows = [
        {
            "text": _text(row["text"]),
            "code": _text(row["code"]),
            "task_id": int(row["task_id"]),
            "test_setup_code": _text(row["test_setup_code"]),
            "test_list": [_text(test) for test in row["test_list"]],
            "challenge_test_list": [_text(test) for test in row["challenge_test_list"]],
        }
        for row in load("mbpp/full", "train+test+validation+prompt")
    ]
    return sorted(rows, key=lambda row: row["task_id"])


def _boolq(load: Callable[[str, str], Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    rows = [
        {
            "question": _text(row["question"]),
            "passage": _text(row["passage"]),
            "idx": int(row["idx"]),
            "label": bool(row["label"]),
        }
        for row in load("super_glue/boolq", "validation")
    ]
    return sorted(rows, key=lambda row: row["idx"])


def _text(value: bytes) -> str:
    return value.decode("utf-8")


SETS = {"mbpp/mbpp.jsonl.gz": _mbpp, "boolq/val.jsonl.gz": _boolq}
"""File -> its rows, given what loads a split of a set."""
