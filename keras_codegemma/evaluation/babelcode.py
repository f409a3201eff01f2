"""BabelCode's HumanEval (161 problems) and sanitised MBPP (342), in as many of 8 languages as have a toolchain here.

Program as in google-research/babelcode: the row's test code with signature, docstring and completion in place of
its placeholder. Each test prints a line; passed if the last command returns 0 and every test printed PASSED. Stops are
the benchmark's (`language_stop_words`): closing braces are put back, Kotlin has none, and Go's bare "struct" cuts every
completion that uses one. A C# or Java prompt opens a class, which is closed after the method.

Deviations, all of them:

- Commands are those of the toolchains found (`find_toolchains`), whose versions differ from the benchmark's container
  (Debian 10: gcc 8, Java 11, Node 16, Go 1.19, Rust 1.64, Kotlin 1.7, Mono); Java and Kotlin's scripts are compiled
  and run by two commands, so that compile errors are told from run-time errors, and JavaScript's syntax is checked
  first.
- Limits are the row's seconds of processor time, and of the clock three times that, for compiling and running each.
- Result lines carry a marker and words drawn for each run, so that a program that prints or changes such lines is not
  believed (`commands` says what that does not stop); Python's tests run in a process of their own (`in_box`).
- A language without a toolchain is an error, never a zero.

C# and JavaScript compare JSON texts, so that a map with its entries in another order than the data's fails.

The Python references pass 161 of 161 and 312 of 342 (`FAILING_REFERENCES` says which fail and why), and in the other
languages the tests of three to six rows of MBPP are no valid programs (`BROKEN_ROWS`). These ceilings (91.2% for
Python, 98.2% to 99.1% for the others) stand in the report.

Published: CodeGemma's report (arXiv 2406.11409), Table 4.
"""

import dataclasses
import os
import re
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from keras_codegemma.evaluation.commands import CommandJob
from keras_codegemma.evaluation.datasets import read_rows
from keras_codegemma.evaluation.outcomes import Outcome
from keras_codegemma.evaluation.problems import Problem, Task, by_preset
from keras_codegemma.evaluation.sandbox import Limits
from keras_codegemma.evaluation.toolchains import INSTALL, Toolchain, Toolchains, find_toolchains

__all__ = ["TASKS", "Toolchain", "Toolchains", "find_toolchains", "job", "load", "problem", "reference_programs"]

LANGUAGES = {
    "C++": "cpp",
    "CSharp": "cs",
    "Go": "go",
    "Java": "java",
    "Javascript": "js",
    "Kotlin": "kt",
    "Python": "py",
    "Rust": "rs",
}
"""BabelCode's names of the languages, with the ends of the files' names."""

STOPS_FILE = "babelcode/language_stop_words.jsonl.gz"

_RETURN_TUPLES = (
    "106 160 252 255 257 259 261 273 305 310 399 401 415 417 429 445 470 560 579 587 616 726 766 780 785 788"
)
FAILING_REFERENCES = {
    **dict.fromkeys(_RETURN_TUPLES.split(), "returns a tuple where the data has a list"),
    **dict.fromkeys(("395", "602"), "returns None where the data has an empty text"),
    **dict.fromkeys(("746", "755"), "returns None, which the comparison of floats does not take"),
}
"""Rows of the sanitised MBPP whose own Python answer fails, with the reason; found by running them all."""

_NO_LONG: dict[str, str] = dict.fromkeys(("67",), "its tests have an integer of more than 64 bits")
_NO_EMPTY: dict[str, str] = dict.fromkeys(("395", "602"), "its tests have an empty character")
_NO_NONE: dict[str, str] = dict.fromkeys(("626", "746", "755"), "its tests have Python's None")
BROKEN_ROWS: dict[str, dict[str, str]] = {
    **{language: {**_NO_LONG, **_NO_EMPTY, **_NO_NONE} for language in ("CSharp", "Go", "Java", "Kotlin", "Rust")},
    "C++": {**_NO_EMPTY, **_NO_NONE},
    "Javascript": {**_NO_NONE},
    "Python": FAILING_REFERENCES,
}
"""Rows of the sanitised MBPP that no answer passes, by language: their translated tests do not compile (in JavaScript:
do not run), and in Python the benchmark's own answer fails. HumanEval has none. Found by compiling every row."""

_BODY = "PLACEHOLDER_CODE_BODY"
_KEEPS_STOP = ("C++", "CSharp", "Java", "Rust")
_CLOSES_CLASS = ("CSharp", "Java")


def load(folder: str | os.PathLike[str], *, subset: str, language: str) -> list[Problem]:
    """The problems of one set in one language.

    Args:
        folder: with the benchmark files.
        subset: "humaneval" or "mbpp" (the sanitised set).
        language: a key of `LANGUAGES`.
    """
    rows = read_rows(folder, _file(subset, language))
    stops = {row["language"]: row["stop_words"] for row in read_rows(folder, STOPS_FILE)}
    task = f"babelcode-{subset}-{LANGUAGES[language]}"
    return [problem(row, task=task, stops=tuple(stops.get(language, ()))) for row in rows]


def _file(subset: str, language: str) -> str:
    return f"babelcode/bc_{'humaneval' if subset == 'humaneval' else 'sanitized_mbpp'}_{LANGUAGES[language]}.jsonl.gz"


def problem(row: Mapping[str, Any], *, task: str, stops: tuple[str, ...]) -> Problem:
    """One row as a problem."""
    language, prompt = row["language"], row["signature_with_docstring"]
    head, tail = _test_code(row)
    tests = ""
    closing = "\n}\n" if language in _CLOSES_CLASS else "\n"
    if language == "Python":
        tests, tail = head + tail, ""
    return Problem(
        task_id=f"{task}/{row['qid']}",
        task=task,
        kind="completion",
        prefix=prompt,
        before=head + prompt,
        after=closing + tail,
        tests=tests,
        entry_point=row["entry_fn_name"],
        language=language,
        stop=stops,
        keep_stop=language in _KEEPS_STOP,
        cluster=str(row["qid"]),
        printed_ids=tuple(row["test_case_ids"]),
        max_new_tokens=512,
        seconds=max(row["timeouts"]),
    )


def reference_programs(folder: str | os.PathLike[str], *, subset: str) -> dict[str, str]:
    """The benchmark's own Python answers as whole programs, by row number.

    Args:
        folder: with the benchmark files.
        subset: as in `load`.
    """
    file = "human_eval" if subset == "humaneval" else "sanitized_mbpp"
    answers = {row["qid"]: row["code"] for row in read_rows(folder, f"babelcode/golden_{file}.jsonl.gz")}
    programs = {}
    for row in read_rows(folder, _file(subset, "Python")):
        answer, wanted = answers[row["qid"]], row["entry_fn_name"]
        defined = re.findall(r"^def +(\w+)", answer, re.MULTILINE)
        alias = "" if wanted in defined else f"\n{wanted} = {defined[-1]}\n"
        programs[row["qid"]] = _test_code(row)[0] + answer + alias
    return programs


def job(problem: Problem, completion: str, toolchains: Toolchains) -> CommandJob | Outcome:
    """What to compile and run; an outcome "toolchain_missing" where that cannot be done here."""
    toolchain = toolchains.get(problem.language)
    if toolchain is None:
        detail = (
            f"toolchain not found: {problem.language} cannot be compiled and run here; "
            f"install {INSTALL[problem.language]}"
        )
        return Outcome(verdict="toolchain_missing", detail=detail, seconds=0.0)
    # Both words look alike, so that neither says of itself which it is.
    marker, passed, failed = f"TEST-{secrets.token_hex(8)}-", f"P{secrets.token_hex(8)}", f"P{secrets.token_hex(8)}"

    def secret(tests: str) -> str:
        return tests.replace("TEST-", marker).replace('"PASSED"', f'"{passed}"').replace('"FAILED"', f'"{failed}"')

    source = secret(problem.before) + problem.cut(completion) + secret(problem.after)
    names = {"{main}": _main_class(source), "{file}": toolchain.file}
    limits = Limits(
        cpu_seconds=problem.seconds,
        wall_seconds=3.0 * problem.seconds,
        address_space_bytes=None,
        processes=toolchain.processes,
        file_bytes=256 << 20,
    )
    return CommandJob(
        files={toolchain.file: source},
        compile=None if toolchain.compile is None else _fill(toolchain.compile, names),
        run=_fill(toolchain.run, names),
        marker=marker,
        passed=passed,
        failed=failed,
        test_ids=problem.printed_ids or (),
        limits=limits,
        compile_limits=dataclasses.replace(limits, memory_bytes=toolchain.compile_memory_bytes),
        read_only=toolchain.read_only,
        environment=dict(toolchain.environment),
    )


def _test_code(row: Mapping[str, Any]) -> tuple[str, str]:
    code = row["test_code"].replace("PLACEHOLDER_FN_NAME", row["entry_fn_name"])
    head, _, tail = code.replace("PLACEHOLDER_CLS_NAME", row["entry_cls_name"]).partition(_BODY)
    return head, tail


def _main_class(source: str) -> str:
    """The class that has Java's main function."""
    before_main = source.partition("public static void main(")[0]
    names = re.findall(r"^\s*(?:public )?class (\w+)", before_main, re.MULTILINE)
    return names[-1] if names else "Main"


def _fill(command: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    for mark, name in names.items():
        command = tuple(part.replace(mark, name) for part in command)
    return command


_PUBLISHED = {
    ("humaneval", "C++"): by_preset(24.2, 19.9, 32.9, 42.2, 46.6),
    ("humaneval", "CSharp"): by_preset(10.6, 26.1, 22.4, 26.7, 54.7),
    ("humaneval", "Go"): by_preset(20.5, 18.0, 21.7, 28.6, 34.2),
    ("humaneval", "Java"): by_preset(29.2, 29.8, 41.0, 48.4, 50.3),
    ("humaneval", "Javascript"): by_preset(21.7, 28.0, 39.8, 46.0, 48.4),
    ("humaneval", "Kotlin"): by_preset(28.0, 32.3, 39.8, 51.6, 47.8),
    ("humaneval", "Python"): by_preset(21.7, 36.6, 42.2, 48.4, 54.0),
    ("humaneval", "Rust"): by_preset(26.7, 24.2, 34.1, 36.0, 37.3),
    ("mbpp", "C++"): by_preset(47.1, 38.9, 53.8, 56.7, 63.5),
    ("mbpp", "CSharp"): by_preset(28.7, 45.3, 32.5, 41.2, 62.0),
    ("mbpp", "Go"): by_preset(45.6, 38.9, 43.3, 46.2, 53.2),
    ("mbpp", "Java"): by_preset(41.8, 49.7, 50.3, 57.3, 62.9),
    ("mbpp", "Javascript"): by_preset(45.3, 45.0, 58.2, 61.4, 61.4),
    ("mbpp", "Kotlin"): by_preset(46.8, 49.7, 54.7, 59.9, 62.6),
    ("mbpp", "Python"): by_preset(38.6, 52.9, 59.1, 62.0, 60.2),
    ("mbpp", "Rust"): by_preset(45.3, 47.4, 52.9, 53.5, 52.3),
}


def _ceiling(subset: str, language: str) -> dict[str, Any]:
    """What no answer can reach, as fields of a `Task`."""
    broken = BROKEN_ROWS[language] if subset == "mbpp" else {}
    if not broken:
        return {}
    rows = ", ".join(broken)
    reason = "its tests do not compile, or do not run, in this language"
    if language == "Python":
        reason = "most of the benchmark's own answers return tuples where its data have lists"
    return {"ceiling": 100 * (1 - len(broken) / 342), "notes": f"no answer passes in rows {rows}: {reason}"}


TASKS = tuple(
    Task(
        name=f"babelcode-{subset}-{LANGUAGES[language]}",
        title=f"BabelCode {'HumanEval' if subset == 'humaneval' else 'MBPP'}, {language}",
        load=partial(load, subset=subset, language=language),
        files=(_file(subset, language), STOPS_FILE),
        published=published,
        **_ceiling(subset, language),
    )
    for (subset, language), published in _PUBLISHED.items()
)
