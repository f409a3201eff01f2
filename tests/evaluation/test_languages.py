"""Eight languages: known-good programs pass, broken ones do not and say how, and programs that lie are not believed.

Where a language's toolchain is missing, its recorded compiler output is judged instead, which the tests of recordings
do on every machine.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from keras_codegemma.evaluation import babelcode, commands, runner
from keras_codegemma.evaluation.babelcode import LANGUAGES
from keras_codegemma.evaluation.commands import CommandJob, Ran
from keras_codegemma.evaluation.execution import Executor, Outcome, PythonJob
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.table import TASKS
from keras_codegemma.evaluation.toolchains import INSTALL, Toolchains, find_toolchains
from tests.evaluation.boxes import bubblewrap, executor, lone_executor, processes_below
from tests.evaluation.record_compilers import DATA, MARKER, PROBLEM, VERDICTS, answers, short

__all__ = ["bubblewrap", "executor", "lone_executor"]

COMPILED = [language for language in LANGUAGES if language != "Python"]


@pytest.fixture(scope="session")
def toolchains() -> Toolchains:
    """What is here, made ready outside the boxes' limits."""
    return find_toolchains()


@pytest.fixture
def data(shared_dir: Path) -> Path:
    return shared_dir / "eval_data"


def _problems(data: Path, language: str) -> dict[str, Problem]:
    return {problem.cluster: problem for problem in babelcode.load(data, subset="humaneval", language=language)}


def _run(
    executor: Executor, toolchains: Toolchains, cases: Iterable[tuple[Problem, str]], *, hang: bool = False
) -> list[Outcome]:
    jobs = [runner.job_for(problem, "\n" + answer, toolchains) for problem, answer in cases]
    runnable = [short(job) if hang and isinstance(job, CommandJob) else job for job in jobs]
    missing = [job for job in runnable if isinstance(job, Outcome)]
    return missing or list(executor.run([job for job in runnable if not isinstance(job, Outcome)]))


def _is_missing(outcomes: list[Outcome], language: str) -> bool:
    """Whether the language cannot be run here; then it says so, and its recording is judged."""
    if outcomes[0].verdict != "toolchain_missing":
        return False
    assert outcomes[0].detail.startswith(f"toolchain not found: {language} cannot be compiled and run here; install")
    test_recordings_are_judged_as_the_programs_were(language)
    return True


# Without any toolchain


@pytest.mark.parametrize("language", COMPILED)
def test_recordings_are_judged_as_the_programs_were(language: str) -> None:
    recorded = json.loads((DATA / "recorded" / f"{LANGUAGES[language]}.json").read_text("utf-8"))
    assert recorded["language"] == language
    assert recorded["version"]
    assert recorded["date"] >= "2026-11-24"
    for kind, verdict in VERDICTS.items():
        raw = recorded["runs"][kind]
        compiled, ran = (None if part is None else Ran(**part) for part in (raw["compiled"], raw["ran"]))
        found, detail = commands.judge(compiled, ran, marker=MARKER, test_ids=recorded["test_ids"])
        assert found == verdict, (kind, detail)
        assert (ran is None) == (kind == "broken")
        if kind == "partly":
            assert detail == "test 1: FAILED, test 2: FAILED, test 3: FAILED"
        if kind == "broken":
            assert "undefined" in detail.lower() or "Unexpected token" in detail


@pytest.mark.parametrize("language", COMPILED)
def test_a_missing_toolchain_is_an_error_and_no_zero(language: str) -> None:
    problem = Problem(task_id="x/1", task="x", kind="completion", prefix="", language=language)
    outcome = babelcode.job(problem, "", {})
    assert isinstance(outcome, Outcome)
    assert outcome.verdict == "toolchain_missing"
    assert outcome.detail == (
        f"toolchain not found: {language} cannot be compiled and run here; install {INSTALL[language]}"
    )


@pytest.mark.parametrize(
    ("output", "status", "verdict", "detail"),
    [
        ("M-0...PASSED\nM-1...PASSED\n", 0, "passed", ""),
        ("no newlineM-0...PASSED\nM-1...PASSED\n", 0, "passed", ""),
        ("M-0...PASSED\nM-1...FAILED\n", 0, "failed", "test 1: FAILED"),
        ("M-0...PASSED\n", 0, "error", "test 1: missing"),
        ("TEST-0...PASSED\nTEST-1...PASSED\n", 0, "error", "test 0: missing"),
        ("M-0...PASSED\nM-1...FAILED\nM-1...PASSED\n", 0, "error", "test 1: FAILED and PASSED"),
        ("M-0...PASSED\nM-1...PASSED\n", 3, "error", "status 3"),
        ("M-0...Overflow\nM-1...PASSED\n", 0, "error", "test 0: Overflow"),
    ],
)
def test_printed_results_are_read_strictly(output: str, status: int, verdict: str, detail: str) -> None:
    found, said = commands.judge_printed(output, "M-", ("0", "1"), status)
    assert found == verdict
    assert detail in said


@pytest.mark.parametrize("end", ["timeout", "output_limit", "killed"])
def test_a_limit_is_the_verdict_in_either_stage(end: str) -> None:
    stopped, fine = Ran(output="x", status=-1, end=end), Ran(output="", status=0, end="end")
    assert commands.judge(stopped, None, marker="M-", test_ids=["0"]) == (end, "x")
    assert commands.judge(fine, stopped, marker="M-", test_ids=["0"]) == (end, "x")


# With the toolchains of the machine


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_good_answers_pass_and_bad_ones_say_how(
    executor: Executor, toolchains: Toolchains, data: Path, language: str
) -> None:
    problems, written = _problems(data, language), answers(language)
    right = [(problems[number], answer) for number, answer in written["right"].items()]
    assert len(right) == 5
    outcomes = _run(executor, toolchains, right)
    if _is_missing(outcomes, language):
        return
    assert [outcome.verdict for outcome in outcomes] == ["passed"] * 5, outcomes
    for kind, verdict in VERDICTS.items():
        if kind != "right":
            outcome = _run(executor, toolchains, [(problems[PROBLEM], written[kind])], hang=kind == "hangs")[0]
            assert outcome.verdict == verdict, (kind, outcome)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_that_lie_are_not_believed_and_leave_nothing(
    lone_executor: Executor, toolchains: Toolchains, data: Path, language: str
) -> None:
    problem, written = _problems(data, language)[PROBLEM], answers(language)
    first = _run(lone_executor, toolchains, [(problem, written["right"][PROBLEM])])
    if _is_missing(first, language):
        return
    assert first[0].passed
    before = processes_below()
    for kind, answer in written["hostile"].items():
        outcome = _run(lone_executor, toolchains, [(problem, answer)])[0]
        assert outcome.verdict in ("failed", "error"), (kind, outcome)
    assert len(processes_below()) == len(before)


# An answer that compiles whatever the types are, and raises.
STUBS = {
    "C++": 'throw runtime_error("stub");\n}',
    "CSharp": "throw new InvalidOperationException();\n    }\n",
    "Go": 'panic("stub")\n}',
    "Java": "throw new IllegalStateException();\n    }\n",
    "Javascript": "throw new RangeError();\n}",
    "Kotlin": "throw IllegalStateException()\n}",
    "Rust": "panic!()\n}",
}


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("language", STUBS)
def test_rows_that_no_answer_passes_are_those_listed(
    executor: Executor, toolchains: Toolchains, data: Path, language: str
) -> None:
    problems = {problem.cluster: problem for problem in babelcode.load(data, subset="mbpp", language=language)}
    known = list(babelcode.BROKEN_ROWS["Go"])
    outcomes = _run(executor, toolchains, [(problems[row], STUBS[language]) for row in known])
    if _is_missing(outcomes, language):
        return
    # In JavaScript all compile; the tests after the one that cannot be run are missing.
    broken = {
        row
        for row, outcome in zip(known, outcomes, strict=True)
        if outcome.verdict == "compile_error" or (language == "Javascript" and "missing" in outcome.detail)
    }
    assert broken == set(babelcode.BROKEN_ROWS[language])


def test_ceilings_stand_in_the_tasks() -> None:
    ceilings = {name: round(task.ceiling, 2) for name, task in TASKS.items() if name.startswith("babelcode-mbpp-")}
    assert {name.removeprefix("babelcode-mbpp-"): ceiling for name, ceiling in ceilings.items()} == {
        "cpp": 98.54,
        "cs": 98.25,
        "go": 98.25,
        "java": 98.25,
        "js": 99.12,
        "kt": 98.25,
        "py": 91.23,
        "rs": 98.25,
    }
    assert all(TASKS[f"babelcode-humaneval-{ending}"].ceiling == 100.0 for ending in LANGUAGES.values())
    assert TASKS["babelcode-mbpp-js"].notes.startswith("no answer passes in rows 626, 746, 755: its tests do not")


@pytest.mark.shared
def test_what_the_marker_does_not_stop_is_as_documented(executor: Executor, toolchains: Toolchains, data: Path) -> None:
    """Functions of JavaScript know their text; should this fail one day, `commands` has to say so."""
    answer = (
        "    const marker = main.toString().match(/TEST-[0-9a-f]+-/)[0];\n"
        '    const passed = driver.toString().match(/"(P[0-9a-f]+)"/)[1];\n'
        "    for (let i = 0; i < 4; i++) console.log(`${marker}${i}...${passed}`);\n    process.exit(0);\n}"
    )
    outcomes = _run(executor, toolchains, [(_problems(data, "Javascript")[PROBLEM], answer)])
    if not _is_missing(outcomes, "Javascript"):
        assert outcomes[0].passed


@pytest.mark.shared
def test_the_sources_are_gone_when_the_program_runs(executor: Executor, toolchains: Toolchains, data: Path) -> None:
    look = '    throw new Error(require("fs").readdirSync(".").join());\n}'.replace("throw new Error", "console.log")
    problem = _problems(data, "Javascript")[PROBLEM]
    job = runner.job_for(problem, "\n" + look, toolchains)
    if isinstance(job, Outcome):
        _is_missing([job], "Javascript")
        return
    assert isinstance(job, CommandJob)
    ran = commands.run_raw(executor.sandbox, job)[1]
    assert ran is not None
    # An empty line for each of the four tests: the folder has no file.
    assert ran.output.splitlines()[::2] == [""] * 4


@pytest.mark.shared
def test_python_answers_are_jobs_of_their_own_kind(data: Path) -> None:
    job = runner.job_for(_problems(data, "Python")[PROBLEM], "\n" + answers("Python")["right"][PROBLEM])
    assert isinstance(job, PythonJob)
    assert "greatest_common_divisor" in job.tests
    assert "TEST-" not in job.program


def test_every_language_has_the_same_kinds_of_answers() -> None:
    for language in LANGUAGES:
        written = answers(language)
        assert {"wrong", "partly", "broken", "raises", "hangs", "right", "hostile"} == written.keys()
        assert list(written["right"]) == ["13", "28", "35", "48", "111"]
        assert {"prints", "leaves"} <= written["hostile"].keys() <= {"prints", "leaves", "reads", "rewrites"}
