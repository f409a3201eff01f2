"""A problem: what the model is shown, how its completion becomes a program, and what the program must pass.

Each task file (`completion`, `infilling`, `babelcode`) turns benchmark rows into these; everything after that knows
only this form. Plain Python.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem of one task.

    Attributes:
        task_id: unique within a problems file, `infilling-single-line-psm/HumanEval/0/L0` for instance.
        task: the task's name, its first part.
        kind: "completion" (the model continues `prefix`) or "infilling" (it fills in between `prefix` and `suffix`).
        prefix: what the model is shown before the cursor.
        suffix: and after it.
        layout: "psm" or "spm" for infilling, else ""; "" also leaves the choice to the preset.
        before: the program is before + completion + after.
        after: see `before`.
        tests: source that the program must pass; "" for other languages than Python, whose `after` has the tests.
        entry_point: name of the function asked for.
        canonical_solution: a completion known to be right; "" where none is.
        language: of the program, as in `babelcode.LANGUAGES`.
        stop: texts before the first of which a completion is cut.
        keep_stop: whether that text is put back, as closing braces must be.
        cluster: problems with the same one are no independent draws.
        printed_ids: of tests that print their results (BabelCode), else None.
        max_new_tokens: budget of the completion.
        seconds: limit of processor time of the program.
        path: of the file being completed, as the model is shown it; "" to show none.
        context: (path, text) of other files that the model is shown, the most useful last.
    """

    task_id: str
    task: str
    kind: str
    prefix: str
    suffix: str = ""
    layout: str = ""
    before: str = ""
    after: str = ""
    tests: str = ""
    entry_point: str = ""
    canonical_solution: str = ""
    language: str = "Python"
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    cluster: str = ""
    printed_ids: tuple[str, ...] | None = None
    max_new_tokens: int = 128
    seconds: int = 3
    path: str = ""
    context: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("completion", "infilling"):
            raise ValueError(
                f"kind must be 'completion' or 'infilling'; got {self.kind!r} ({self.task_id}). Use one of them."
            )

    def cut(self, completion: str) -> str:
        """The part of a completion that counts, by the task's stops."""
        places = [(place, text) for text in self.stop if (place := completion.find(text)) >= 0]
        if not places:
            return completion
        place, text = min(places)
        return completion[:place] + (text if self.keep_stop else "")

    def program(self, completion: str) -> str:
        """The whole program."""
        return self.before + self.cut(completion) + self.after

    def as_record(self) -> dict[str, Any]:
        """As a line of problems.jsonl."""
        record = asdict(self)
        record["context"] = [list(pair) for pair in self.context]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in record.items()}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Problem":
        """From a line of problems.jsonl."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
        }
        fields["context"] = tuple((path, text) for path, text in record["context"])
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A row of the published table.

    Attributes:
        name: as on the command line.
        title: as in the report.
        load: reads the problems from the data folder.
        files: that it reads there, as in `datasets.sources`.
        published: preset -> published percentage.
        ceiling: percentage that the benchmark's own references reach, if not 100.
        notes: deviations that a reader of the figure should know.
    """

    name: str
    title: str
    load: Callable[[Any], list[Problem]]
    files: tuple[str, ...] = ()
    published: dict[str, float] = field(default_factory=dict)
    ceiling: float = 100.0
    notes: str = ""


PRESETS = (
    "code_gemma_2b_en",
    "code_gemma_1.1_2b_en",
    "code_gemma_7b_en",
    "code_gemma_instruct_7b_en",
    "code_gemma_1.1_instruct_7b_en",
)
"""The order of the columns of the report's tables."""


def by_preset(*figures: float) -> dict[str, float]:
    """Published figures in the order of `PRESETS`."""
    return dict(zip(PRESETS, figures, strict=True))
