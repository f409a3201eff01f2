"""Rows from TensorFlow Datasets, for the set where it has the same ones: SuperGLUE's BoolQ.

TFDS (4.9.10) shuffles what it stores, so only rows that carry their number can be put back into the origin's order.
Left out are sets whose numbers or fields it drops or changes (GSM8K, PIQA, HellaSwag, WinoGrande, ARC, TriviaQA) and
those that it does not have (HumanEval, infilling, MBPP, BabelCode, MMLU, MATH-500).
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_codegemma.evaluation.fetching.forms import as_lines

LABELS = ("false", "true")
"""By TFDS's number of the class; the pinned copy has the words."""


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


def _boolq(load: Callable[[str, str], Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    rows = [
        {
            "question": _text(row["question"]),
            "passage": _text(row["passage"]),
            "idx": int(row["idx"]),
            "label": LABELS[int(row["label"])],
        }
        for row in load("super_glue/boolq", "validation")
    ]
    return sorted(rows, key=lambda row: row["idx"])


def _text(value: bytes) -> str:
    return value.decode("utf-8")


SETS = {"boolq/val.jsonl.gz": _boolq}
"""File -> its rows, given what loads a split of a set."""
