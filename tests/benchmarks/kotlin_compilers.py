"""What a Kotlin program costs: BabelCode's `kotlinc -script` against a compiler with an image of its classes.

    python -m tests.benchmarks.kotlin_compilers ../shared/eval_data [--runs 5]

Prints JSON: processor seconds (which a busy machine changes little) and seconds on the clock of one program, median
and range, with versions and date. Outside any box, with the same limits of the JVM.
"""

import argparse
import datetime
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from keras_codegemma.evaluation import babelcode
from keras_codegemma.evaluation.commands import CommandJob
from keras_codegemma.evaluation.toolchains import find_toolchains
from tests.evaluation.record_compilers import PROBLEM, answers


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    toolchains = find_toolchains()
    problems = babelcode.load(options.data, subset="humaneval", language="Kotlin")
    problem = next(problem for problem in problems if problem.cluster == PROBLEM)
    job = babelcode.job(problem, "\n" + answers("Kotlin")["right"][PROBLEM], toolchains)
    assert isinstance(job, CommandJob)
    assert job.compile is not None
    kotlinc = os.environ.get("KOTLINC") or shutil.which("kotlinc") or ""
    script = ("bash", str(Path(kotlinc).resolve()), "-script", "main.kts", "-no-reflect", "-nowarn")
    measured = {"kotlinc -script": [], "compiled with image, then run": [], "of which compiling": []}
    for _ in range(options.runs):
        measured["kotlinc -script"].append(_run(job, [script])[-1])
        first, both = _run(job, [job.compile, job.run])
        measured["of which compiling"].append(first)
        measured["compiled with image, then run"].append(both)
    print(
        json.dumps(
            {
                "versions": toolchains["Kotlin"].version,
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "cores": os.cpu_count(),
                "runs": options.runs,
                "seconds": {name: _summary(values) for name, values in measured.items()},
            },
            indent=1,
        )
    )


def _run(job: CommandJob, commands: list[tuple[str, ...]]) -> list[tuple[float, float]]:
    """(processor seconds, seconds) from the start to the end of each command."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in job.files.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        start, used, ends = time.perf_counter(), _used(), []
        for command in commands:
            ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
            ends.append((_used() - used, time.perf_counter() - start))
        assert ran.stdout.count("PASSED") == len(job.test_ids), ran.stdout
        return ends


def _used() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _summary(values: list[tuple[float, float]]) -> dict[str, list[float]]:
    return {
        name: [round(statistics.median(column), 2), round(min(column), 2), round(max(column), 2)]
        for name, column in zip(("processor", "clock"), zip(*values, strict=True), strict=True)
    }


if __name__ == "__main__":
    main()
