"""A repository's own tests as the judge: run in the sandbox, each time on a fresh copy with one file changed.

A completion passes if the tests' command ends with status 0; else the verdict is "error", with the status and the last
words. The command runs inside the same process tree as the
completion, so one that ends the tests early with status 0 would pass: this measures models, it does not stop cheats
(what the sandbox stops, it stops here too). Before anything is judged the unmodified repository must pass, and a place
counts only if the tests fail when it is left empty: otherwise they do not look at it, and any text would pass.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from keras_codegemma import neighbours
from keras_codegemma.evaluation.execution import CommandJob, Executor, Outcome
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.sandbox import PYTHON, Limits

_TEST = "tests"


class OwnTests:
    """Runs a repository's tests.

    Args:
        executor: runs commands in the sandbox.
        root: of the repository; its files are copied once, those that git ignores are not.
        command: for a shell, run at the root of a copy.
        seconds: of processor time that one run may take, and three times that on the clock.
        readable: folders that the tests may read besides the system's and Python's own; a folder's `bin` is put on
            the path, so that a virtual environment can be named.

    Raises:
        ValueError: the unmodified repository does not pass.
    """

    def __init__(
        self, executor: Executor, root: Path, *, command: str, seconds: int = 60, readable: Sequence[Path] = ()
    ):
        self._executor = executor
        self._command = command
        self._readable = [str(folder.resolve()) for folder in readable]
        self._limits = Limits(
            cpu_seconds=seconds,
            wall_seconds=3.0 * seconds,
            memory_bytes=4 << 30,
            address_space_bytes=None,
            processes=256,
            file_bytes=256 << 20,
            tmp_bytes=256 << 20,
            output_bytes=16 << 20,
        )
        self._copy = tempfile.TemporaryDirectory(prefix="codegemma-repository-")
        _copy_files(root, Path(self._copy.name))
        self._check_unmodified(root)

    def job(self, problem: Problem, completion: str) -> CommandJob:
        """What judges one completion."""
        return self._job({problem.path: problem.program(completion)})

    def notice(self, problems: Sequence[Problem]) -> list[bool]:
        """Whether the tests fail where each problem's place is left empty."""
        outcomes = self._executor.run([self.job(problem, "") for problem in problems])
        return [not outcome.passed for outcome in outcomes]

    def close(self) -> None:
        """Deletes the copy."""
        self._copy.cleanup()

    def __enter__(self) -> "OwnTests":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_unmodified(self, root: Path) -> None:
        (outcome,) = self._executor.run([self._job({})])
        if not outcome.passed:
            self.close()
            raise ValueError(
                f"A repository's own tests must pass before they can judge; in a copy of {root}, in the sandbox, "
                f"`{self._command}` ended with: {_last_words(outcome)}. Make them pass there: no network, files that "
                "git ignores are missing, and installed packages are seen only in a virtual environment named with "
                "--allow-read."
            )

    def _job(self, files: dict[str, str]) -> CommandJob:
        marker = f"{secrets.token_hex(8)}-"
        python = str(Path(PYTHON[0]).parent)
        places = [f"{folder}/bin" for folder in self._readable] + [python, "/usr/local/bin", "/usr/bin", "/bin"]
        passed = f"[ $status -ne 0 ] || echo {marker}{_TEST}...PASSED"
        script = f"( {self._command}\n); status=$?; echo; {passed}; exit $status"
        return CommandJob(
            files=files,
            compile=None,
            run=("/bin/sh", "-c", script),
            marker=marker,
            test_ids=(_TEST,),
            limits=self._limits,
            compile_limits=self._limits,
            read_only=tuple(self._readable),
            environment={"PATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": "1"},
            copy_of=Path(self._copy.name),
        )


def _copy_files(root: Path, target: Path) -> None:
    for name in neighbours.list_files(root, hidden=True):
        source = root / name
        if source.is_symlink() or source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)


def _last_words(outcome: Outcome) -> str:
    return f"{outcome.verdict}, {' '.join(outcome.detail[-1000:].split())}" if outcome.detail else outcome.verdict
