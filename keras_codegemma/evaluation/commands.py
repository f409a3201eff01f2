"""Programs of other languages than Python: files, a command that compiles, one that runs, and printed results.

In BabelCode's format program and tests are one program, which knows the expected values and says itself what passed.
What is done about programs that lie: each run draws a marker, which stands in the test code alone and must begin the
lines of results, and the two words for passed and failed; the sources are deleted before the run; every test must be
reported exactly once; the program must end with status 0. So lines printed by heart, an early exit, a look at the
source, and printing redirected to turn every FAILED into PASSED are no passes. What is not stopped, and is inherent in
the format: a program that digs marker and words out of what it was compiled to (its machine code, its class files, the
text of JavaScript's functions) or out of its own memory, or one that redirects printing, answers one test rightly and
repeats its word for the others. Python's tests run in a process of their own (`in_box`) and have no such gap.
"""

import dataclasses
import os
import selectors
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keras_codegemma.evaluation.outcomes import KILLED, Outcome, natural_status
from keras_codegemma.evaluation.sandbox import Limits, Sandbox


@dataclass(frozen=True, kw_only=True)
class CommandJob:
    """A program in files, with the commands that compile and run it.

    The program prints `<marker><id>...<passed>` for each test.

    Attributes:
        files: name -> text; written into a folder of the box.
        compile: a command, or None.
        run: a command; must end with status 0.
        marker: what the lines of results begin with.
        test_ids: all of them must have passed.
        passed: the word for it.
        failed: the word for a wrong result.
        limits: of the run; `compile_limits` of the compilation.
        read_only: folders of the toolchain.
        environment: variables of both commands.
        copy_of: a folder whose copy `files` are written over, or None for an empty one.
    """

    files: Mapping[str, str]
    compile: tuple[str, ...] | None
    run: tuple[str, ...]
    marker: str
    test_ids: tuple[str, ...]
    limits: Limits
    compile_limits: Limits
    passed: str = "PASSED"
    failed: str = "FAILED"
    read_only: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    copy_of: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What one command did.

    Attributes:
        output: of both streams.
        status: exit status; -1 where it did not end by itself.
        end: "end", or the limit that ended it: "timeout", "output_limit" or "killed".
    """

    output: str
    status: int
    end: str


def run_commands(sandbox: Sandbox, job: CommandJob) -> Outcome:
    """Compiles and runs a program, each in a box of its own, and judges what it printed."""
    start = time.monotonic()
    compiled, ran = run_raw(sandbox, job)
    if ran is not None:
        ran = dataclasses.replace(ran, output=_in_plain_words(ran.output, job))
    verdict, detail = judge(compiled, ran, marker=job.marker, test_ids=job.test_ids)
    return Outcome(verdict=verdict, detail=detail, seconds=time.monotonic() - start)


def run_raw(sandbox: Sandbox, job: CommandJob) -> tuple[Ran | None, Ran | None]:
    """What compiler and program did; None for a job without compiler, and for a program that did not compile."""
    compiled = None
    with tempfile.TemporaryDirectory(prefix="codegemma-job-") as name:
        folder = Path(name)
        if job.copy_of is not None:
            shutil.copytree(job.copy_of, folder, symlinks=True, dirs_exist_ok=True)
        folder.chmod(0o777)
        for file, text in job.files.items():
            (folder / file).write_text(text, encoding="utf-8")
        if job.compile is not None:
            compiled = _run_command(sandbox, job, job.compile, job.compile_limits, folder)
            if compiled.status != 0 or compiled.end != "end":
                return compiled, None
            for file in job.files:
                (folder / file).unlink()
        return compiled, _run_command(sandbox, job, job.run, job.limits, folder)


def _in_plain_words(output: str, job: CommandJob) -> str:
    """The program's output with PASSED and FAILED for the job's own words, and neither where it printed them itself."""
    if job.passed != "PASSED":
        output = output.replace("PASSED", "FORGED").replace("FAILED", "FORGED")
    return output.replace(job.passed, "PASSED").replace(job.failed, "FAILED")


def judge(compiled: Ran | None, ran: Ran | None, *, marker: str, test_ids: Iterable[str]) -> tuple[str, str]:
    """Verdict and detail of what compiler and program did, as `run_raw` gives it and `judge_printed` reads it."""
    last = compiled if ran is None else ran
    assert last is not None
    if last.end != "end":
        return last.end, last.output[-2000:]
    if ran is None:
        return "compile_error", last.output[-2000:]
    return judge_printed(ran.output, marker, test_ids, ran.status)


def judge_printed(output: str, marker: str, test_ids: Iterable[str], status: int) -> tuple[str, str]:
    """BabelCode's rule: passed only if the status is 0 and every id printed PASSED, here exactly once.

    Args:
        output: of the program.
        marker: what the lines of results begin with.
        test_ids: the ids to look for.
        status: exit status.

    Returns:
        (verdict, detail); a test that printed another word than FAILED met an exception of that name.
    """
    said: dict[str, list[str]] = {}
    for line in output.splitlines():
        # A program may have printed something without a line break before.
        _, found, rest = line.partition(marker)
        if found and "..." in rest:
            name, word = rest.split("...", 1)
            said.setdefault(name, []).append(word)
    wrong = {name: said.get(name, ["missing"]) for name in test_ids if said.get(name) != ["PASSED"]}
    if status == 0 and not wrong:
        return "passed", ""
    detail = ", ".join(f"test {name}: {' and '.join(words)}" for name, words in wrong.items())
    if status != 0 or any(words != ["FAILED"] for words in wrong.values()):
        return "error", f"status {status}; {detail}; {output[-500:].replace(marker, 'TEST-')}"[:2000]
    return "failed", detail[:2000]


def _run_command(sandbox: Sandbox, job: CommandJob, command: tuple[str, ...], limits: Limits, folder: Path) -> Ran:
    box = sandbox.start(command, limits=limits, read_only=job.read_only, work=folder, environment=job.environment)
    try:
        assert box.process.stdin is not None
        assert box.process.stdout is not None
        box.process.stdin.close()
        deadline, parts, count = time.monotonic() + limits.wall_seconds, [], 0
        with selectors.DefaultSelector() as selector:
            selector.register(box.process.stdout, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if not selector.select(left):
                    continue
                piece = os.read(box.process.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                parts.append(piece)
                count += len(piece)
                if count > limits.output_bytes:
                    return Ran(output=_text(parts), status=-1, end="output_limit")
            else:
                return Ran(output=_text(parts), status=-1, end="timeout")
        status = natural_status(box)
        seconds = time.monotonic() - deadline + limits.wall_seconds
        if status in KILLED:
            end = "timeout" if seconds >= 0.9 * limits.cpu_seconds else "killed"
            return Ran(output=_text(parts), status=-1, end=end)
        return Ran(output=_text(parts), status=-1 if status is None else status, end="end")
    finally:
        box.close()


def _text(parts: list[bytes]) -> str:
    return b"".join(parts).decode("utf-8", "replace")
