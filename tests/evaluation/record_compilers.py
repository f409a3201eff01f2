"""Records what this machine's compilers and runtimes say, for tests on machines that have none.

    python -m tests.evaluation.record_compilers ../shared/eval_data [LANGUAGE ...]

Runs the right answer of `data/babelcode/*.toml` to problem 13 and the five broken ones (wrong in all tests, in all but
one, not to be compiled, raising, endless) and writes `data/babelcode/recorded/<ending>.json`, with versions and date.
"""

import dataclasses
import datetime
import json
import platform
import re
import sys
import tomllib
from pathlib import Path

from keras_codegemma.evaluation import babelcode, commands
from keras_codegemma.evaluation.commands import CommandJob, Ran
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.sandbox import Bubblewrap
from keras_codegemma.evaluation.toolchains import Toolchains, find_toolchains

DATA = Path(__file__).parent / "data" / "babelcode"
MARKER = "TEST-0123456789abcdef-"
VERDICTS = {
    "right": "passed",
    "wrong": "failed",
    "partly": "failed",
    "broken": "compile_error",
    "raises": "error",
    "hangs": "timeout",
}
"""Kind of answer -> what it must be judged."""
PROBLEM = "13"


def answers(language: str) -> dict:
    """The answers written for a language."""
    return tomllib.loads((DATA / f"{babelcode.LANGUAGES[language]}.toml").read_text("utf-8"))


def short(job: CommandJob) -> CommandJob:
    """The job with two seconds of processor time to run, for answers that never end."""
    return dataclasses.replace(job, limits=dataclasses.replace(job.limits, cpu_seconds=2, wall_seconds=20.0))


def record(box: Bubblewrap, problem: Problem, toolchains: Toolchains) -> dict:
    """One language's recording."""
    written = answers(problem.language)
    runs = {}
    for kind in VERDICTS:
        answer = written["right"][PROBLEM] if kind == "right" else written[kind]
        job = babelcode.job(problem, "\n" + answer, toolchains)
        assert isinstance(job, CommandJob)
        job = dataclasses.replace(short(job) if kind == "hangs" else job, files=_plain(job), marker=MARKER)
        compiled, ran = commands.run_raw(box, job)
        runs[kind] = {"compiled": _shown(compiled), "ran": _shown(ran)}
    toolchain = toolchains[problem.language]
    return {
        "language": problem.language,
        "version": toolchain.version,
        "compile": None if toolchain.compile is None else " ".join(toolchain.compile),
        "run": " ".join(toolchain.run),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "test_ids": list(problem.printed_ids or ()),
        "runs": runs,
    }


def _plain(job: CommandJob) -> dict[str, str]:
    """The sources with a fixed marker and the benchmark's own words."""
    words = {job.marker: MARKER, job.passed: "PASSED", job.failed: "FAILED"}
    files = dict(job.files)
    for drawn, fixed in words.items():
        files = {name: text.replace(drawn, fixed) for name, text in files.items()}
    return files


def _shown(ran: Ran | None) -> dict | None:
    if ran is None:
        return None
    output = re.sub(r"/tmp/codegemma-job-\w+", "/box", ran.output)
    return {**dataclasses.asdict(ran), "output": output[:4000]}


def main(arguments: list[str]) -> None:
    """Records all languages that are here, or those named."""
    toolchains = find_toolchains()
    box = Bubblewrap()
    for language in arguments[1:] or toolchains:
        problems = babelcode.load(arguments[0], subset="humaneval", language=language)
        problem = next(problem for problem in problems if problem.cluster == PROBLEM)
        recorded = record(box, problem, toolchains)
        path = DATA / "recorded" / f"{babelcode.LANGUAGES[language]}.json"
        text = json.dumps(recorded, indent=1, ensure_ascii=False).replace(str(Path.home()), "~")
        path.write_text(text + "\n", encoding="utf-8")
        print(language, recorded["version"])
    box.close()


if __name__ == "__main__":
    main(sys.argv[1:])
