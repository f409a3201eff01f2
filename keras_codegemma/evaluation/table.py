"""The code rows of the published table by name, and their problems, or the reason why there are none."""

import os
from collections.abc import Sequence

from keras_codegemma.evaluation import babelcode, completion, infilling
from keras_codegemma.evaluation.problems import Problem, Task

TASKS: dict[str, Task] = {task.name: task for task in (*infilling.TASKS, *completion.TASKS, *babelcode.TASKS)}
"""In the order of the report."""


def load(
    names: Sequence[str], *, data: str | os.PathLike[str], limit: int | None, strict: bool
) -> tuple[list[Problem], dict[str, str]]:
    """The problems of tasks.

    Args:
        names: keys of `TASKS`.
        data: folder with the benchmark files.
        limit: the first problems of each task only; None for all.
        strict: whether a file that is missing or another one is an error.

    Returns:
        The problems, and the reason for each task whose files cannot be used.

    Raises:
        FileNotFoundError, ValueError: with `strict`, a file that cannot be used.
    """
    problems: list[Problem] = []
    left_out: dict[str, str] = {}
    for name in names:
        try:
            problems += TASKS[name].load(data)[:limit]
        except (FileNotFoundError, ValueError) as error:
            if strict:
                raise
            left_out[name] = str(error)
    return problems, left_out
