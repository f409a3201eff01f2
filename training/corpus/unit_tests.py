"""Which file a test is about: by the naming habits of its language, then by the words it has in common with files.

Names decide where they lead to one file. Of several files with the right name, the test's is the one it imports, then
the one whose folders mirror the test's, then the one whose declared names it uses most. A test whose name leads to no
file belongs to the one it imports whose declared names it uses clearly most; if none stands out, to none.

CodeGemma's report (arXiv 2406.11409, section 2.3) puts unit tests beside their subject by name alone
(TestFoo.java by Foo.java).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from training.corpus.languages import Repository
from training.corpus.languages.paths import folder, in_test_folder, shared_depth

_CAMEL = (
    r"(?:Unit|Integration)?Tests?(?P<s>[A-Z0-9].*)",
    r"(?P<s>.+?)(?:Unit|Integration|Stress)?(?:Tests?|TestCases?|Specs?)",
)
_LOWER = (r"tests?[_-](?P<s>.+)", r"(?P<s>.+?)[_-](?:unit_?)?(?:tests?|unittests?|specs?)")
_HABITS: Mapping[str, tuple[str, ...]] = {
    "python": (r"tests?_(?P<s>.+)", r"(?P<s>.+?)_(?:unit_?)?(?:tests?|spec)"),
    "javascript": (r"(?P<s>.+?)[._-](?:unit[._-])?(?:tests?|specs?)", *_LOWER, _CAMEL[1]),
    "java": (*_CAMEL, r"(?P<s>.+?)(?:IT|ITCase|TestFixture)"),
    "kotlin": _CAMEL,
    "go": (r"(?P<s>.+?)_test",),
    "cpp": (*_LOWER, *_CAMEL, r"(?P<s>.+?)-?unittests?", r"(?:unit|gtest)-(?P<s>.+)"),
    "csharp": (*_CAMEL, r"(?P<s>.+?)(?:TestFixture|Fixture|Facts)"),
    "rust": (r"tests?_(?P<s>.+)", r"(?P<s>.+?)_(?:tests?|spec)"),
}
_SAME = {"typescript": "javascript", "c": "cpp"}
_RELATED = ({"java", "kotlin"}, {"javascript", "typescript"}, {"c", "cpp"})
_COMPILED = {name: tuple(map(re.compile, habits)) for name, habits in _HABITS.items()}
_HEADERS = (".h", ".hh", ".hpp", ".hxx")
_ENDINGS = (".py", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cc", ".cpp", ".cxx", ".c", ".d.ts", ".pyi")
"""Of files with the same name, the test's subject: a header or a declaration file stands behind the source."""

_PLACES = re.compile(
    r"^(.*[._-])?(tests?|specs?|__tests__|unit|unittests?|src|source|main|lib|include|java|kotlin|python|csharp|cpp"
    r"|common|jvm|js|native|[a-z]+(Test|Main))$|[._-]?Tests?$"
)
"""Folders that say what kind of file lies in them, not what it is about."""

_CLEAR = 2.0
"""How many times more a subject found by words alone has in common with a test than any other file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    path: str
    stem: str
    folders: tuple[str, ...]
    language: str


def subjects(languages: Mapping[str, str], repository: Repository) -> dict[str, str]:
    """The subject of every test that has one, by path. No test is the subject of another.

    Args:
        languages: of all files that may be tests or subjects, by path.
        repository: what they say.
    """
    tests, plain = {}, defaultdict[str, list[_File]](list)
    for path in sorted(languages):
        file = _file(path, languages[path])
        if (stems := _tested(file)) is not None:
            tests[path] = (file, stems)
        else:
            plain[file.stem.lower()].append(file)
    imported: defaultdict[str, set[str]] = defaultdict(set)
    for edge in repository.edges:
        imported[edge.importer].add(edge.imported)
    known = _Words(repository)
    found = {}
    for path, (file, stems) in tests.items():
        named = [item for stem in stems for item in plain.get(stem.lower(), ()) if _is_related(item, file)]
        # A test folder's own helpers are no subjects of tests elsewhere.
        named = [item for item in named if not in_test_folder(item.path) or folder(item.path) == folder(path)]
        if named:
            found[path] = max(named, key=lambda item: _likeness(file, item, imported[path], known)).path
        elif _is_named_so(file) and (other := _by_words(path, imported[path] - tests.keys(), known)):
            found[path] = other
    return found


def is_test(path: str, language: str) -> bool:
    """Whether a file is a test by its name."""
    return _is_named_so(_file(path, language))


def _file(path: str, language: str) -> _File:
    parts = path.split("/")
    name = parts[-1].removesuffix(".d.ts")
    stem = name.rpartition(".")[0] or name
    folders = tuple(part for part in parts[:-1] if not _PLACES.search(part))
    return _File(path=path, stem=stem, folders=folders, language=_SAME.get(language, language))


def _is_named_so(file: _File) -> bool:
    return any(pattern.fullmatch(file.stem) for pattern in _COMPILED.get(file.language, ()))


def _tested(file: _File) -> list[str] | None:
    """The names that a test's subject may have; None for what is no test."""
    matches = [pattern.fullmatch(file.stem) for pattern in _COMPILED.get(file.language, ())]
    stems = [match["s"] for match in matches if match]
    if stems:
        return stems
    # tests/foo.rs, __tests__/foo.js
    return [file.stem] if in_test_folder(file.path) and file.language in _COMPILED else None


def _is_related(one: _File, other: _File) -> bool:
    return one.language == other.language or any({one.language, other.language} <= group for group in _RELATED)


def _likeness(test: _File, item: _File, imported: set[str], known: "_Words") -> tuple[Any, ...]:
    """The greatest of these is the subject."""
    mirrored = 0
    for one, other in zip(reversed(test.folders), reversed(item.folders), strict=False):
        if one.lower() != other.lower():
            break
        mirrored += 1
    ending = next((rank for rank, name in enumerate(_ENDINGS) if item.path.endswith(name)), len(_ENDINGS))
    rest = (known.shared(test.path, item.path), -ending, tuple(-ord(char) for char in item.path))
    is_imported = any(_stands_for(path, item) for path in imported)
    return (folder(item.path) == folder(test.path), is_imported, mirrored, shared_depth(test.path, item.path), *rest)


def _stands_for(path: str, item: _File) -> bool:
    """Whether importing a path is importing the file; tests include a header, which a source of its name stands for."""
    if path.endswith(_HEADERS):
        return path.rpartition("/")[2].rpartition(".")[0] == item.path.rpartition("/")[2].rpartition(".")[0]
    return path.rpartition(".")[0].endswith(item.path.rpartition(".")[0])


def _by_words(path: str, candidates: Iterable[str], known: "_Words") -> str | None:
    scores = sorted(((known.shared(path, item), item) for item in candidates if not in_test_folder(item)), reverse=True)
    if not scores or scores[0][0] <= 0 or (len(scores) > 1 and scores[0][0] < _CLEAR * scores[1][0]):
        return None
    return scores[0][1]


class _Words:
    """What files declare and which words they use."""

    def __init__(self, repository: Repository) -> None:
        self._facts = repository.facts
        self._declaring: defaultdict[str, int] = defaultdict(int)
        for facts in self._facts.values():
            for name in facts.declared:
                self._declaring[name] += 1

    def shared(self, test: str, item: str) -> float:
        """Names that one file declares and the other uses; a name that n files declare counts 1/n."""
        if test not in self._facts or item not in self._facts:
            return 0.0
        used = set(self._facts[test].words)
        return sum(1 / self._declaring[name] for name in self._facts[item].declared if name in used)
