"""How many imports and tests of real repositories the corpus's order gets right, counted without its parse trees.

    python -m tests.benchmarks.corpus_order SOURCE... [--output FILE.json]

SOURCE is whatever the readers take. Imports are counted a second way: Python's by its own `ast`, the others' by regular
expressions on the text. An import may lead to a group of files (a Go package, a C# namespace); it is found if an edge
leads to one of them. A test has a counterpart if a file that is no test has its name without the mark of tests, or in
JavaScript, TypeScript and Rust the name of a file in a folder of tests; it is placed right if nothing but other tests
stands between the two. Printed for each language: imports, the share that became edges, and for each order the share of
imports that come first and of tests that are placed right.
"""

import argparse
import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import dirname, normpath

from training.corpus import reading
from training.corpus.document import Document, RawFile
from training.corpus.documents import OrderSettings, order
from training.corpus.filters import FileFilter, FilterSettings
from training.corpus.languages import read_repository

Import = tuple[str, frozenset[str]]
"""A file, and the files one of which it imports."""

ORDERS = ("imports", "report", "path")
_LANGUAGES = ("python", "javascript", "typescript", "java", "kotlin", "go", "cpp", "csharp", "rust")


@dataclass
class Score:
    """Counts of one language."""

    repositories: int = 0
    imports: int = 0
    found: int = 0
    tests: int = 0
    first: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ORDERS, 0))
    placed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ORDERS, 0))


def python_imports(files: dict[str, str]) -> Iterator[Import]:
    """By `ast`; a module's name begins at the highest folder that has an `__init__.py`."""
    modules: dict[str, str] = {}
    names: dict[str, str] = {}
    for path in files:
        parts = path.removesuffix(".py").removesuffix(".pyi").split("/")
        start = len(parts) - 1
        while start and "/".join([*parts[:start], "__init__.py"]) in files:
            start -= 1
        name = ".".join(parts[start:]).removesuffix(".__init__")
        names[path] = name
        modules.setdefault(name, path)
    for path, text in files.items():
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        package = names[path] if path.endswith("__init__.py") else names[path].rpartition(".")[0]
        targets: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package.split(".") if node.level else []
                base = base[: len(base) - node.level + 1] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                for alias in node.names:
                    whole = f"{module}.{alias.name}" if module else alias.name
                    targets.add(whole if whole in modules else module)
        yield from ((path, frozenset({modules[name]})) for name in targets if name in modules)


_SCRIPT = re.compile(r"""(?:\bfrom|\bimport|\brequire\(|\bimport\()\s*['"](\.[^'"\n]*)['"]""")
_ENDINGS = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".d.ts", "/index.ts", "/index.tsx", "/index.js")


def script_imports(files: dict[str, str]) -> Iterator[Import]:
    """Relative paths in quotes behind `from`, `import` and `require`."""
    for path, text in files.items():
        for target in _SCRIPT.findall(_without_comments(text)):
            place = normpath(f"{dirname(path)}/{target}".lstrip("/"))
            bare = re.sub(r"\.[cm]?jsx?$", "", place)
            found = [name for base in (place, bare) for ending in _ENDINGS if (name := base + ending) in files]
            if found:
                yield path, frozenset(found)


_PACKAGE = re.compile(r"^\s*package\s+([\w.]+)", re.M)
_JVM = re.compile(r"^\s*import\s+(?:static\s+)?([\w.]+?)(?:\.\*)?\s*;?\s*(?:as\s+\w+)?\s*(?://.*)?$", re.M)


def jvm_imports(files: dict[str, str]) -> Iterator[Import]:
    """Import lines that name a type of a file of that name."""
    types: defaultdict[str, set[str]] = defaultdict(set)
    for path, text in files.items():
        package = _PACKAGE.search(text)
        types[f"{package[1] if package else ''}.{Path(path).stem}"].add(path)
    for path, text in files.items():
        for name in _JVM.findall(_without_comments(text)):
            target = next((item for item in (name, name.rpartition(".")[0]) if item in types), None)
            if target and path not in types[target]:
                yield path, frozenset(types[target])


_GO_BLOCK = re.compile(r"^import\s*(?:\((.*?)^\)|(.*?)$)", re.M | re.S)


def go_imports(files: dict[str, str]) -> Iterator[Import]:
    """Quoted paths that end with a folder of the repository, below the module's name."""
    folders: defaultdict[str, set[str]] = defaultdict(set)
    modules = {
        dirname(path): found[1]
        for path, text in files.items()
        if path.endswith("go.mod") and (found := re.search(r"^module\s+(\S+)", text, re.M))
    }
    for path in files:
        if path.endswith(".go") and not path.endswith("_test.go"):
            folders[dirname(path)].add(path)
    for path, text in files.items():
        for block in _GO_BLOCK.findall(text) if path.endswith(".go") else ():
            for name in re.findall(r'"([^"]+)"', "".join(block)):
                for root, module in modules.items():
                    if name == module or name.startswith(module + "/"):
                        place = f"{root}/{name[len(module) + 1 :]}".strip("/")
                        if folders.get(place):
                            yield path, frozenset(folders[place])


_INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


def cpp_imports(files: dict[str, str]) -> Iterator[Import]:
    """Includes of a file beside the includer, or of the only files whose path ends so."""
    by_end: defaultdict[str, set[str]] = defaultdict(set)
    for path in files:
        by_end[path.rpartition("/")[2]].add(path)
    for path, text in files.items():
        for target in _INCLUDE.findall(text):
            beside = normpath(f"{dirname(path)}/{target}".lstrip("/"))
            found = {beside} if beside in files else set()
            if not found and "/" in target:
                found = {item for item in by_end[target.rpartition("/")[2]] if f"/{item}".endswith(f"/{target}")}
            if found - {path}:
                yield path, frozenset(found - {path})


_NAMESPACE = re.compile(r"^\s*namespace\s+([\w.]+)", re.M)
_CSHARP_TYPE = re.compile(r"\b(?:class|struct|interface|enum)\s+(\w+)")
_USING = re.compile(r"^\s*using\s+(?:static\s+)?(?:\w+\s*=\s*)?([\w.]+)\s*;", re.M)


def csharp_imports(files: dict[str, str]) -> Iterator[Import]:
    """`using` of a namespace of the repository, and one of its types named in the code: many usings are left over."""
    declaring: defaultdict[str, dict[str, set[str]]] = defaultdict(dict)
    for path, text in files.items():
        for name in _NAMESPACE.findall(text):
            declaring[name][path] = set(_CSHARP_TYPE.findall(_code(text)))
    for path, text in files.items():
        own, words = set(_NAMESPACE.findall(text)), set(re.findall(r"\w+", _code(text)))
        for name in set(_USING.findall(text)) - own:
            used = {item for item, types in declaring.get(name, {}).items() if types & words}
            if used - {path}:
                yield path, frozenset(used - {path})


_MOD = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;", re.M)


def rust_imports(files: dict[str, str]) -> Iterator[Import]:
    """`mod name;` in files whose modules lie where Rust looks first."""
    for path, text in files.items():
        base = dirname(path) if path.endswith(("lib.rs", "main.rs", "mod.rs")) else path.removesuffix(".rs")
        for name in _MOD.findall(_without_comments(text)):
            found = {item for item in (f"{base}/{name}.rs", f"{base}/{name}/mod.rs") if item in files}
            if found:
                yield path, frozenset(found)


COUNTERS: dict[str, Callable[[dict[str, str]], Iterator[Import]]] = {
    "python": python_imports,
    "javascript": script_imports,
    "typescript": script_imports,
    "java": jvm_imports,
    "kotlin": jvm_imports,
    "go": go_imports,
    "cpp": cpp_imports,
    "csharp": csharp_imports,
    "rust": rust_imports,
}
_FAMILY = {"c": "cpp"}
_TEST_NAMES = re.compile(
    r"^(?:tests?_(?P<a>.+)|(?P<b>.+?)(?:_tests?|[._-](?:test|spec)|[._]unit|Tests?)|Test(?P<c>[A-Z].*))$"
)


_TEST_FOLDERS = frozenset({"test", "tests", "__tests__", "spec"})
_BY_FOLDER = frozenset({"javascript", "typescript", "rust"})
"""Languages whose tests often have the very name of what they test: tests/foo.rs, __tests__/foo.js."""
_NO_NAMES = frozenset({"index", "mod", "lib", "main"})


def tested_name(path: str, language: str) -> str | None:
    """The name that a test's counterpart has; None for what is no test by name or folder."""
    stem = re.sub(r"\.\w+$", "", path.rpartition("/")[2])
    if match := _TEST_NAMES.match(stem):
        return next(part for part in match.groups() if part)
    is_below = not _TEST_FOLDERS.isdisjoint(dirname(path).split("/"))
    return stem if language in _BY_FOLDER and is_below and stem not in _NO_NAMES else None


def counterparts(languages: dict[str, str]) -> dict[str, set[str]]:
    """Tests by their names, with the files that have the rest of the name."""
    tests, others = {}, defaultdict(set)
    for path, language in languages.items():
        if name := tested_name(path, language):
            tests[path] = name
        else:
            others[language, re.sub(r"\.\w+$", "", path.rpartition("/")[2])].add(path)
    return {path: found for path, name in tests.items() if (found := others.get((languages[path], name), set()))}


def score(documents: Sequence[Document], modules: dict[str, str], scores: dict[str, Score]) -> None:
    """Counts one repository; `modules` are its go.mod files and empty `__init__.py`, which the corpus is without."""
    languages = {
        item.path: language for item in documents if (language := _FAMILY.get(item.language, item.language)) in COUNTERS
    }
    texts = {item.path: item.text for item in documents}
    edges = {(edge.importer, edge.imported) for edge in read_repository(documents).edges}
    places = {
        by: {item.path: index for index, item in enumerate(order(documents, OrderSettings(by=by)))} for by in ORDERS
    }
    subjects = counterparts(languages)
    for language in sorted(set(languages.values())):
        kin = {language} | ({"javascript", "typescript"} if "script" in language else set())
        files = {path: text for path, text in texts.items() if languages.get(path) in kin} | modules
        imports = {item for item in COUNTERS[language](files) if languages.get(item[0]) == language}
        imports = {(path, group & texts.keys() - {path}) for path, group in imports if path in texts}
        imports = {(path, group) for path, group in imports if group}
        if not imports:
            continue
        total = scores[language]
        total.repositories += 1
        total.imports += len(imports)
        total.found += sum(any((path, target) in edges for target in group) for path, group in imports)
        own = {test: found for test, found in subjects.items() if languages[test] == language}
        total.tests += len(own)
        for by, place in places.items():
            total.first[by] += sum(min(place[target] for target in group) < place[path] for path, group in imports)
            at = sorted(place, key=place.__getitem__)
            total.placed[by] += sum(
                _is_right_after(test, found, at=at, place=place, languages=languages) for test, found in own.items()
            )


def _is_right_after(
    test: str, found: set[str], *, at: list[str], place: dict[str, int], languages: dict[str, str]
) -> bool:
    index = place[test] - 1
    while index >= 0 and tested_name(at[index], languages.get(at[index], "")):
        index -= 1
    return index >= 0 and at[index] in found


def _code(text: str) -> str:
    return re.sub(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*', "", _without_comments(text))


def _without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|^\s*//[^\n]*", "", text, flags=re.S | re.M)


def _repositories(source: Path) -> Iterator[tuple[list[Document], dict[str, str]]]:
    keep = FileFilter(FilterSettings(licences=None))
    found: defaultdict[str, dict[str, Document]] = defaultdict(dict)
    modules: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for raw in reading.read(source):
        document = keep(raw) if isinstance(raw, RawFile) else None
        if isinstance(document, Document):
            found[document.repository].setdefault(document.path, document)
        elif isinstance(raw, RawFile) and raw.path.rpartition("/")[2] in ("go.mod", "__init__.py"):
            modules[raw.repository][raw.path] = raw.data.decode("utf-8", "replace")
    for repository, items in found.items():
        yield list(items.values()), dict(modules[repository])


def main() -> None:
    """Scores the sources and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    scores: defaultdict[str, Score] = defaultdict(Score)
    for source in options.sources:
        for documents, modules in _repositories(source):
            score(documents, modules, scores)
    heads = ["language", "repositories", "imports", "found", *(f"first: {by}" for by in ORDERS), "tests"]
    sys.stdout.write(f"| {' | '.join([*heads, *(f'placed: {by}' for by in ORDERS)])} |\n")
    sys.stdout.write(f"|{' --- |' * (len(heads) + len(ORDERS))}\n")
    for language in (name for name in _LANGUAGES if name in scores):
        item = scores[language]
        cells = [language, str(item.repositories), str(item.imports), _share(item.found, item.imports)]
        cells += [_share(item.first[by], item.imports) for by in ORDERS]
        cells += [str(item.tests), *(_share(item.placed[by], item.tests) for by in ORDERS)]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    if options.output:
        options.output.write_text(json.dumps({name: vars(item) for name, item in scores.items()}, indent=1) + "\n")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


if __name__ == "__main__":
    main()
