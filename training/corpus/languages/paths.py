"""Paths inside a repository as text: joining them, and finding files by the last parts of their path."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from posixpath import normpath

_TESTS = re.compile(
    r"(^|[a-z0-9._-])(Tests?|[tT]estFixtures)$|^(.*[._-])?(tests?|specs?|testing|__tests__|unittests?)$"
)


def folder(path: str) -> str:
    """The folder of a path; empty for the root."""
    return path.rpartition("/")[0]


def joined(base: str, relative: str) -> str | None:
    """A path relative to a folder; None if it leads out of the repository."""
    found = normpath(f"{base}/{relative}" if base else relative)
    if found == "." or found.startswith(("../", "/")) or found == "..":
        return "" if found == "." else None
    return found


def shared_depth(left: str, right: str) -> int:
    """How many folders two paths have in common, from the root."""
    depth = 0
    for one, other in zip(left.split("/")[:-1], right.split("/")[:-1], strict=False):
        if one != other:
            break
        depth += 1
    return depth


def in_test_folder(path: str) -> bool:
    """Whether a file lies among tests, by the names of its folders: `test`, `tests`, `jvmTest`, `Foo.Tests`."""
    return any(_TESTS.search(part) for part in path.split("/")[:-1])


def module_of(path: str) -> str:
    """The part of a repository that a file is compiled with, as far as its path says: what stands before "src"."""
    parts = path.split("/")
    return "/".join(parts[: parts.index("src")]) if "src" in parts[:-1] else folder(path).partition("/")[0]


class Suffixes:
    """Files by the last parts of their path: what an import names, whose root it does not tell."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for path in sorted(paths):
            self._by_name[path.rpartition("/")[2]].append(path)

    def ending(self, suffix: str) -> list[str]:
        """All paths that are the suffix or end with "/" and it, sorted."""
        candidates = self._by_name.get(suffix.rpartition("/")[2], ())
        return [path for path in candidates if path == suffix or path.endswith(f"/{suffix}")]

    def best(self, suffix: str, importer: str) -> str | None:
        """The path with that suffix whose root is nearest; None if there is none."""
        return nearest(self.ending(suffix), importer)


def nearest(candidates: Sequence[str], importer: str) -> str | None:
    """Of some paths, the one that has most folders in common with another path, then the shortest, then the first."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    return min(candidates, key=lambda path: (-shared_depth(path, importer), path.count("/"), path))
