"""Benchmark rows as lm-evaluation-harness wants them, task by task, and which of them a limit takes.

The files have the fields of their own benchmarks; the harness' templates want those of the copies that it downloads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Row = dict[str, Any]
Files = Mapping[str, Sequence[Row]]

HELD_OUT = 5
"""Rows at the start of TriviaQA's file that are shots instead of problems."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The problems of one of the harness' tasks; every benchmark but MMLU has one part.

    Attributes:
        harness_task: its name there.
        problems: rows to score, with the fields that the harness' templates name.
        numbers: of the problems, the row in their file, from 0.
        shots: rows to draw solved problems from; none where there are none or the harness has them.
        subject: of the part, for MMLU.
    """

    harness_task: str
    problems: list[Row]
    numbers: list[int]
    shots: tuple[Row, ...] = ()
    subject: str = ""


def limited(parts: Sequence[Part], limit: int | None) -> list[Part]:
    """The first problems: one of each part, then the second of each, until there are `limit`; None for all.

    Parts of which none is taken are left out.
    """
    if limit is None:
        return list(parts)
    order = sorted((index, place) for place, part in enumerate(parts) for index in range(len(part.problems)))
    taken = [0] * len(parts)
    for _, place in order[:limit]:
        taken[place] += 1
    return [
        replace(part, problems=part.problems[:count], numbers=part.numbers[:count])
        for part, count in zip(parts, taken, strict=True)
        if count
    ]


def boolq(files: Files) -> list[Part]:
    """The label is the word "true" or "false" in the file (a template's `label | int` makes 0 of both), or a truth
    value in other copies; the harness wants the number of the choice.
    """
    numbers = {"false": 0, "true": 1, False: 0, True: 1}
    return [_whole("boolq", [{**row, "label": numbers[row["label"]]} for row in _only(files)])]


def piqa(files: Files) -> list[Part]:
    """As it is."""
    return [_whole("piqa", _only(files))]


def triviaqa(files: Files) -> list[Part]:
    """The harness wants the aliases inside `answer`; the first `HELD_OUT` rows are the shots."""
    rows = [{"question": row["question"], "answer": {"aliases": row["golden_answers"]}} for row in _only(files)]
    problems = rows[HELD_OUT:]
    numbers = list(range(HELD_OUT, len(rows)))
    return [Part(harness_task="triviaqa", problems=problems, numbers=numbers, shots=tuple(rows[:HELD_OUT]))]


def arc_challenge(files: Files) -> list[Part]:
    """The original nests the question; the harness wants the choices as two lists."""
    rows = []
    for row in _only(files):
        choices = row["question"]["choices"]
        rows.append(
            {
                "id": row["id"],
                "question": row["question"]["stem"],
                "choices": {name: [choice[name] for choice in choices] for name in ("text", "label")},
                "answerKey": row["answerKey"],
            }
        )
    return [_whole("arc_challenge", rows)]


def hellaswag(files: Files) -> list[Part]:
    """The cleaned text goes under the names that the harness' own cleaning would have made."""
    rows = [{"query": row["query"], "choices": row["endings"], "label": row["label"]} for row in _only(files)]
    return [_whole("hellaswag", rows)]


def mmlu(files: Files) -> list[Part]:
    """One part for each subject, in the order of the file."""
    shots = _by_subject(files["mmlu/dev.jsonl.gz"])
    return [
        Part(
            harness_task=f"mmlu_{subject}",
            problems=[row for _, row in numbered],
            numbers=[number for number, _ in numbered],
            shots=tuple(row for _, row in shots[subject]),
            subject=subject,
        )
        for subject, numbered in _by_subject(files["mmlu/test.jsonl.gz"]).items()
    ]


def winogrande(files: Files) -> list[Part]:
    """As it is."""
    return [_whole("winogrande", _only(files))]


def gsm8k(files: Files) -> list[Part]:
    """As it is; the training rows are the shots."""
    part = _whole("gsm8k", files["gsm8k/test.jsonl.gz"])
    return [replace(part, shots=tuple(files["gsm8k/train_first200.jsonl.gz"]))]


def math(files: Files) -> list[Part]:
    """As it is; the harness has the shots."""
    return [_whole("minerva_math500", _only(files))]


def _only(files: Files) -> Sequence[Row]:
    (rows,) = files.values()
    return rows


def _whole(harness_task: str, rows: Sequence[Row]) -> Part:
    return Part(harness_task=harness_task, problems=list(rows), numbers=list(range(len(rows))))


def _by_subject(rows: Sequence[Row]) -> dict[str, list[tuple[int, Row]]]:
    subjects: dict[str, list[tuple[int, Row]]] = {}
    for number, row in enumerate(rows):
        made = {
            "question": row["question"],
            "choices": [row[letter] for letter in "ABCD"],
            "answer": "ABCD".index(row["answer"]),
        }
        subjects.setdefault(row["subject"], []).append((number, made))
    return subjects
