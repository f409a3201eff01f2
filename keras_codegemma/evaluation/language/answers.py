"""What the model answered in a task that is not finished: a file of batches, so that an interrupted run goes on.

Batches are made from the requests alone, and a batch that was cut off is made again whole, so the finished files do
not depend on where a run was interrupted.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import records

BATCH = {"batch": records.TEXT, "answers": records.TEXTS, "seconds": records.NUMBER}
"""Fields of a line: the sha256 of what was asked, each answer as JSON, and the seconds that the batch took."""


class Answers:
    """Answers by batch, on disk as soon as they are known.

    Args:
        path: of the file; None keeps them in memory alone.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        self._path = None if path is None else Path(path)
        self._known: dict[str, list[Any]] = {}
        self.seconds = 0.0
        self._appender: records.Appender | None = None
        if self._path is not None:
            self._appender = records.Appender(self._path, BATCH)
            for record in records.read(self._path, BATCH).records:
                self._known[record["batch"]] = [json.loads(answer) for answer in record["answers"]]
                self.seconds += record["seconds"]

    def of(self, asked: Any, make: Callable[[], Sequence[Any]]) -> list[Any]:
        """The answers to one batch: those on record, or what `make` returns, which is then put on record.

        Args:
            asked: what the answers depend on, as JSON can write it.
            make: asks the model.
        """
        batch = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        if batch not in self._known:
            start = time.perf_counter()
            answers = list(make())
            seconds = round(time.perf_counter() - start, 4)
            if self._appender is not None:
                written = [json.dumps(answer) for answer in answers]
                self._appender.add([{"batch": batch, "answers": written, "seconds": seconds}])
            self._known[batch] = answers
            self.seconds += seconds
        return self._known[batch]

    def close(self) -> None:
        """Closes the file."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def delete(self) -> None:
        """Removes the file, whose task is finished."""
        self.close()
        if self._path is not None:
            self._path.unlink()

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
