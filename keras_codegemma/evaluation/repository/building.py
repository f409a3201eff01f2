"""Which spans of which files become problems: drawn by a hash, so that the same code gives the same problems.

The draw depends on the seed, the file's path and the span's own text; other files that come and go do not shift it.
Files of tests are left out: taking a test away never fails it.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from keras_codegemma import neighbours
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.repository import spans
from keras_codegemma.evaluation.repository.spans import Span
from keras_codegemma.evaluation.runner import Progress

KINDS = {"line": 128, "block": 256, "function": 512}
"""What is taken out -> tokens that a completion may have."""

_TEST_FILE = re.compile(r"(^|/)(tests?|testing|specs?|__tests__)/|(^|/)(test_|conftest)[^/]*$|[_.](test|spec)\.\w+$")

CHECKED_AT_ONCE = 16

Check = Callable[[Sequence[Problem]], list[bool]]
"""Which problems the repository's tests notice."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The source files in a folder that are no tests.

    Attributes:
        folder: that was looked through.
        root: of its repository.
        texts: by path from the root.
    """

    folder: Path
    root: Path
    texts: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """Of all paths and texts."""
        return _hash("".join(f"{path}\0{text}\0" for path, text in self.texts.items()))


@dataclass(frozen=True, kw_only=True)
class Built:
    """The problems, and what they were chosen from.

    Attributes:
        problems: by kind, then in the order of the draw.
        candidates: kind -> spans that could have been drawn.
        unnoticed: kind -> spans that were drawn, but whose absence no test noticed.
    """

    problems: list[Problem]
    candidates: dict[str, int]
    unnoticed: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    path: str
    text: str
    span: Span


def read(folder: Path) -> Sources:
    """Reads the source files of a repository, or of a folder inside one."""
    root = neighbours.repository_root(folder / "x")
    return Sources(folder=folder, root=root, texts=dict(_texts(root, folder.resolve())))


def build(
    sources: Sources,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    limit: int,
    seed: int,
    layout: str = "",
    context_chars: int,
    check: Check | None = None,
    progress: Progress = lambda done, total: None,
) -> Built:
    """Makes problems from source files.

    Args:
        sources: the files.
        kinds: keys of `KINDS`.
        limit: the most problems of each kind.
        seed: of the draw.
        layout: "psm", "spm", or "" for the preset's own.
        context_chars: of other files that the model is shown with each problem; 0 for none.
        check: tells which problems the tests notice; only these are kept. None keeps all.
        progress: told problems, of those wanted.

    Raises:
        ValueError: there is nothing to make a problem of.
    """
    problems: list[Problem] = []
    candidates: dict[str, int] = {}
    unnoticed: dict[str, int] = {}
    for kind in kinds:
        drawn = sorted(_candidates(sources.texts, kind), key=partial(_place, seed, kind))
        candidates[kind] = len(drawn)
        wanted = len(problems) + min(limit, len(drawn))
        make = partial(_problem, kind=kind, root=sources.root, layout=layout, context_chars=context_chars)
        for start in range(0, len(drawn), CHECKED_AT_ONCE):
            if len(problems) == wanted:
                break
            some = [make(candidate) for candidate in drawn[start : start + CHECKED_AT_ONCE]]
            noticed = [True] * len(some) if check is None else check(some)
            unnoticed[kind] = unnoticed.get(kind, 0) + noticed.count(False)
            good = [problem for problem, keep in zip(some, noticed, strict=True) if keep]
            problems += good[: wanted - len(problems)]
            progress(len(problems), limit * len(kinds))
    if not problems:
        raise ValueError(_nothing(sources.folder, candidates))
    return Built(problems=problems, candidates=candidates, unnoticed=unnoticed)


def _texts(root: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """(path, text) of the source files below a folder that are no tests."""
    for name in neighbours.list_files(root):
        if neighbours.is_source(name) and (root / name).is_relative_to(folder) and not _TEST_FILE.search(str(name)):
            text = neighbours.read_text(root / name)
            if text:
                yield str(name), text


def _candidates(texts: Mapping[str, str], kind: str) -> Iterator[_Candidate]:
    for path, text in texts.items():
        python = PurePosixPath(path).suffix in (".py", ".pyi")
        if kind == "line":
            found = spans.lines(text, python=python)
        elif not python:
            continue
        else:
            found = spans.blocks(text) if kind == "block" else spans.functions(text)
        for span in found:
            yield _Candidate(path=path, text=text, span=span)


def _place(seed: int, kind: str, candidate: _Candidate) -> str:
    _, middle, _ = candidate.span.split(candidate.text)
    return _hash(f"{seed}\0{kind}\0{candidate.path}\0{candidate.span.first}\0{middle}")


def _problem(candidate: _Candidate, *, kind: str, root: Path, layout: str, context_chars: int) -> Problem:
    before, middle, after = candidate.span.split(candidate.text)
    path = candidate.path
    shown = neighbours.find_neighbours(root / path, candidate.text, max_chars=context_chars) if context_chars else []
    return Problem(
        task_id=f"repository-{kind}/{path}/L{candidate.span.first}-{candidate.span.last}",
        task=f"repository-{kind}",
        kind="infilling",
        prefix=before,
        suffix=after,
        layout=layout,
        before=before,
        after=after,
        canonical_solution=middle,
        cluster=path,
        max_new_tokens=KINDS[kind],
        path=path,
        context=tuple(shown),
    )


def _nothing(folder: Path, candidates: Mapping[str, int]) -> str:
    count = sum(candidates.values())
    if not count:
        return (
            f"A folder to evaluate must hold source files, and for blocks and functions Python; {folder} has nothing "
            f"to take out ({', '.join(candidates)}). Name another folder or other kinds."
        )
    return (
        f"The tests must notice when something is missing; of {count} places in {folder} they noticed none. Give the "
        "command that runs the tests of this folder, or leave --tests out to compare texts alone."
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
