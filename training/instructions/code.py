"""Generated code as chats, kept only when its tests pass: each program runs in a box of the evaluation's.

A line of answers is `{"prompt": "...", "response": "...", "tests": "..."}`: what a user asks; what a model wrote, of
which the fenced blocks are the program, or all of it where there is none; and Python that uses the program's names and
ends without an exception when it is right. Several answers to a prompt are several lines, with the same tests.

Verdicts are appended as they come, so a build that was stopped goes on where it was. What is written in the end:

| file | what |
| --- | --- |
| `verdicts.jsonl` | of each line: passed, or why not |
| `chats.jsonl` | for `data.chats`: prompts with answers that passed, one of each program |
| `preferences.jsonl` | for `data.preferences`: of prompts that have both, answers that passed and that did not |
| `report.json` | counts |
"""

import ast
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import records
from keras_codegemma.evaluation.execution import Executor, PythonJob
from keras_codegemma.evaluation.sandbox import Limits
from training.corpus.decontamination import Benchmarks
from training.instructions.chats import chat, is_clean, read_distinct, write_lines

VERDICT = {"answer": records.TEXT, "verdict": records.TEXT, "detail": records.TEXT}
"""Fields of verdicts.jsonl; `answer` is a hash of the line's three texts."""
UNTESTED = ("benchmark", "no-program", "no-test")
"""Verdicts of what is not run: a piece of a benchmark, nothing that parses, tests that test nothing."""

_FENCE = re.compile(r"^ {0,3}```[ \t]*([\w+-]*)[^\n]*\n(.*?)^ {0,3}```[ \t]*$", re.DOTALL | re.MULTILINE)
_PYTHON = ("", "python", "py", "python3")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A line: what was asked, what was answered, and the tests."""

    prompt: str
    response: str
    tests: str

    @property
    def name(self) -> str:
        """A hash of everything, by which its verdict is found again."""
        parts = json.dumps([self.prompt, self.response, self.tests])
        return hashlib.sha256(parts.encode()).hexdigest()[:32]

    @property
    def program(self) -> str:
        """The response's fenced blocks of Python, or all of it where it has no block at all."""
        blocks = _FENCE.findall(self.response)
        return "\n".join(code for kind, code in blocks if kind.lower() in _PYTHON) if blocks else self.response


def read_answers(path: Path) -> list[Answer]:
    """All lines; the same line twice counts once.

    Raises:
        FileNotFoundError, ValueError: no such file, none in it, or a line that is no answer.
    """
    return read_distinct(path, Answer, ("prompt", "response", "tests"), what="answers")


def judge(
    answers: Sequence[Answer],
    executor: Executor,
    *,
    benchmarks: Benchmarks | None,
    seconds: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Runs every program that has no verdict yet.

    Args:
        answers: all.
        executor: runs them in boxes.
        benchmarks: what no answer may have a piece of.
        seconds: of processor time that a program may take.
        folder: with `verdicts.jsonl`, made if missing.
        progress: is told how many of how many have been run.

    Returns:
        The verdict of each answer by its name: one of `outcomes.VERDICTS` or `UNTESTED`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with records.Appender(folder / "verdicts.jsonl", VERDICT) as appender:
        verdicts = {
            item["answer"]: item["verdict"] for item in records.read(folder / "verdicts.jsonl", VERDICT).records
        }
        todo = [answer for answer in answers if answer.name not in verdicts]
        to_run = []
        for answer in todo:
            if reason := _untested(answer, benchmarks):
                appender.add([{"answer": answer.name, "verdict": reason, "detail": ""}])
                verdicts[answer.name] = reason
            else:
                to_run.append(answer)
        limits = Limits(cpu_seconds=seconds, wall_seconds=3 * seconds + 1)
        jobs = [PythonJob(program=answer.program, tests=answer.tests, limits=limits) for answer in to_run]
        for number, (answer, outcome) in enumerate(zip(to_run, executor.run(jobs), strict=True), start=1):
            appender.add([{"answer": answer.name, "verdict": outcome.verdict, "detail": outcome.detail[:500]}])
            verdicts[answer.name] = outcome.verdict
            progress(number, len(to_run))
    return {answer.name: verdicts[answer.name] for answer in answers}


def _untested(answer: Answer, benchmarks: Benchmarks | None) -> str | None:
    if not is_clean((answer.prompt, answer.response, answer.tests), benchmarks):
        return "benchmark"
    if not _statements(answer.program):
        return "no-program"
    return None if _tests_something(answer.tests) else "no-test"


def _statements(program: str) -> list[ast.stmt]:
    """What a program does; nothing where it does not parse. A text alone does nothing."""
    try:
        found = ast.parse(program).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [node for node in found if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]


def _tests_something(tests: str) -> bool:
    """Whether tests can fail by more than a name that is not there: with an assertion, a call or a raise."""
    checks = (ast.Assert, ast.Call, ast.Raise)
    return any(isinstance(node, checks) for statement in _statements(tests) for node in ast.walk(statement))


def write_results(answers: Sequence[Answer], verdicts: dict[str, str], folder: Path) -> dict[str, Any]:
    """Writes chats, preferences and the report, which it returns."""
    passed: dict[str, list[Answer]] = {}
    failed: dict[str, list[Answer]] = {}
    counts: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for answer in answers:
        verdict = verdicts[answer.name]
        if verdict == "passed":
            # Programs that differ in layout and comments alone are one.
            program = answer.prompt, ast.dump(ast.parse(answer.program))
            if program in seen:
                verdict = "duplicate"
            else:
                seen.add(program)
                passed.setdefault(answer.prompt, []).append(answer)
        elif verdict not in UNTESTED:
            failed.setdefault(answer.prompt, []).append(answer)
        counts[verdict] += 1
    kept = [answer for group in passed.values() for answer in group]
    write_lines(folder / "chats.jsonl", (chat(answer.prompt, answer.response) for answer in kept))
    pairs = list(_pairs(passed, failed))
    write_lines(folder / "preferences.jsonl", pairs)
    report = {"answers": len(answers), "verdicts": dict(sorted(counts.items())), "prompts": len(passed)}
    report |= {"chats": len(kept), "preferences": len(pairs)}
    records.write_json(folder / "report.json", report)
    return report


def _pairs(passed: dict[str, list[Answer]], failed: dict[str, list[Answer]]) -> Iterator[dict[str, Any]]:
    """Of each prompt as many pairs as it has answers of the rarer kind, each answer in one."""
    for prompt, good in passed.items():
        for better, worse in zip(good, failed.get(prompt, []), strict=False):
            yield {
                "messages": [{"role": "user", "content": prompt}],
                "chosen": better.response,
                "rejected": worse.response,
            }
