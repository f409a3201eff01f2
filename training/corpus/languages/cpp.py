"""C and C++: files by the paths of their includes.

Better than matching text: includes are found inside conditionals and after any number of lines, but not in comments;
a path is looked for beside the including file first, then by the longest root that ends with it; names of the standard
library are never taken for a file that happens to be called so.
"""

from collections.abc import Iterator, Mapping

from training.corpus.languages.facts import WEAK, Edge, Facts, Found, Import
from training.corpus.languages.grammars import Tree
from training.corpus.languages.paths import Suffixes, folder, joined, nearest

_QUERY = """
(preproc_include path: (_) @include)
(class_specifier name: (type_identifier) @declared body: (_))
(struct_specifier name: (type_identifier) @declared body: (_))
(enum_specifier name: (type_identifier) @declared body: (_))
(function_definition declarator: (function_declarator declarator: (identifier) @declared))
(alias_declaration name: (_) @declared)
(preproc_function_def name: (_) @declared)
"""
QUERIES = {"cpp": _QUERY}
_HEADERS = ("h", "hh", "hpp", "hxx", "h++")
_SOURCES = ("c", "cc", "cpp", "cxx", "c++", "cu")
_STANDARD = frozenset(
    [
        "assert.h",
        "complex.h",
        "ctype.h",
        "errno.h",
        "fenv.h",
        "float.h",
        "inttypes.h",
        "limits.h",
        "locale.h",
        "math.h",
        "setjmp.h",
        "signal.h",
        "stdarg.h",
        "stdatomic.h",
        "stdbool.h",
        "stddef.h",
        "stdint.h",
        "stdio.h",
        "stdlib.h",
        "string.h",
        "strings.h",
        "threads.h",
        "time.h",
        "uchar.h",
        "wchar.h",
        "wctype.h",
        "unistd.h",
        "fcntl.h",
        "dirent.h",
        "dlfcn.h",
        "pthread.h",
        "windows.h",
        "poll.h",
        "sched.h",
        "semaphore.h",
        "syslog.h",
        "termios.h",
        "netdb.h",
    ]
)


def read(tree: Tree, found: Found) -> Facts:
    """The includes of a file, and the types and functions it defines."""
    imports = []
    for node in found.get("include", ()):
        text = tree.text(node).strip()
        if text[:1] in ('"', "<"):
            imports.append(Import(text[1:-1].strip(), (), "system" if text[0] == "<" else ""))
    declared = {tree.text(node) for node in found.get("declared", ())}
    return Facts(imports=tuple(imports), declared=tuple(sorted(declared)))


def resolve(files: Mapping[str, Facts], others: Mapping[str, str]) -> Iterator[Edge]:
    """Edges between the sources and headers of a repository.

    Args:
        files: of all C and C++ files, by path.
        others: not needed.
    """
    suffixes = Suffixes(files)
    for path, facts in files.items():
        found = {target for item in facts.imports if (target := _included(item, path, files, suffixes))}
        header = _header(path, suffixes)
        if header and header not in found:
            yield Edge(path, header, WEAK)
        yield from (Edge(path, target) for target in found if target != path)


def _included(item: Import, path: str, files: Mapping[str, Facts], suffixes: Suffixes) -> str | None:
    beside = joined(folder(path), item.target) if item.kind != "system" else None
    if beside in files:
        return beside
    name = item.target
    while name.startswith(("../", "./")):
        name = name.partition("/")[2]
    if item.kind == "system" and (name in _STANDARD or "." not in name.rpartition("/")[2]):
        # <vector> is the standard library's, <Eigen/Core> may be the repository's.
        return suffixes.best(name, path) if "/" in name and not name.startswith(("sys/", "bits/")) else None
    return suffixes.best(name, path)


def _header(path: str, suffixes: Suffixes) -> str | None:
    """The header that a source of the same name defines, even if it does not include it itself."""
    stem, _, ending = path.rpartition(".")
    if ending not in _SOURCES:
        return None
    name = stem.rpartition("/")[2]
    places = [place for header in _HEADERS for place in suffixes.ending(f"{name}.{header}")]
    return nearest([place for place in places if folder(place) == folder(path)], path)
