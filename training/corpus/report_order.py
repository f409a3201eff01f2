"""The order of files as CodeGemma's report describes it, on plain text: the baseline of `documents.order`.

The report (arXiv 2406.11409, section 2.3) gives two heuristics. First, a dependency graph: imports from the top N
lines, each matched to the file with the longest path that ends so; unimportant edges are dropped to break cycles;
then, by shortest paths between all pairs, a topological order that takes the next unparented file nearest to those
sorted, ties by name. Second, for the rest: by name, unit tests beside their subject (TestFoo.java by Foo.java).

The report gives neither N nor importance nor patterns. Here N is 100, an edge is the less important the more files
have it as target, and an import is whatever looks like one in its language. Distances are those to the set of sorted
files, which is all that the order asks of the shortest paths.
"""

import re
from collections.abc import Mapping, Sequence

from training.corpus.dependencies import components
from training.corpus.document import Document
from training.corpus.languages.paths import Suffixes

TOP_LINES = 100
_PATTERNS: Mapping[str, str] = {
    "python": r"^\s*(?:from\s+([\w.]+)\s+import|import\s+([\w.]+))",
    "javascript": r"""(?:from|require\(|import\(?)\s*["']([^"']+)["']""",
    "java": r"^\s*import\s+(?:static\s+)?([\w.]+)",
    "kotlin": r"^\s*import\s+([\w.]+)",
    "go": r"""^\s*(?:import\s+)?(?:\w+\s+)?"([\w./-]+)"\s*$""",
    "cpp": r"""^\s*#\s*include\s*["<]([^">]+)[">]""",
    "csharp": r"^\s*using\s+(?:static\s+)?([\w.]+)\s*;",
    "rust": r"^\s*(?:pub\s+)?(?:use\s+([\w:]+)|mod\s+(\w+)\s*;)",
}
_COMPILED = {language: re.compile(pattern, re.MULTILINE) for language, pattern in _PATTERNS.items()}
_COMPILED |= {"typescript": _COMPILED["javascript"], "c": _COMPILED["cpp"]}
_TEST = re.compile(r"^tests?[_-]?(.+)$|^(.+?)[._-]?(?:unit)?(?:tests?|spec)$", re.IGNORECASE)


def order(documents: Sequence[Document]) -> list[str]:
    """The paths of documents, each once.

    Args:
        documents: with different paths.
    """
    names = sorted(document.path for document in documents)
    number = {path: index for index, path in enumerate(names)}
    edges = {(number[one], number[other]) for one, other in edges_by_text(documents)}
    graph = _without_cycles(len(names), edges)
    related = {index for edge in edges for index in edge}
    ordered = [names[index] for index in _sorted_by_distance(graph, related)]
    rest = [path for path in names if number[path] not in related]
    return ordered + sorted(rest, key=_beside_subject)


def edges_by_text(documents: Sequence[Document]) -> set[tuple[str, str]]:
    """(importer, imported) as matching text finds them."""
    suffixes = Suffixes(document.path for document in documents)
    stems = Suffixes(document.path.rpartition(".")[0] for document in documents)
    endings: dict[str, str] = {}
    for document in sorted(documents, key=lambda document: document.path, reverse=True):
        endings[document.path.rpartition(".")[0]] = document.path
    found = set()
    for document in documents:
        pattern = _COMPILED.get(document.language)
        top = "\n".join(document.text.split("\n", TOP_LINES)[:TOP_LINES])
        for match in pattern.finditer(top) if pattern else ():
            name = next(group for group in match.groups() if group)
            target = _longest(name, document, suffixes, stems, endings)
            if target and target != document.path:
                found.add((document.path, target))
    return found


def _longest(
    name: str, document: Document, suffixes: Suffixes, stems: Suffixes, endings: Mapping[str, str]
) -> str | None:
    """The file with the longest path that ends as the import says, with or without the file's ending."""
    if exact := suffixes.ending(name):
        return max(exact, key=lambda path: (len(path), path))
    parts = re.sub(r"\.js$|^[./@~]+", "", name) if "/" in name else name.replace("::", "/").replace(".", "/")
    stem = parts.removeprefix("crate/").strip("/")
    while stem:
        if found := stems.ending(stem):
            return endings[max(found, key=lambda path: (len(path), path))]
        # The last part may be a name inside the file.
        stem = stem.rpartition("/")[0] if "/" not in name else ""
    return None


def _without_cycles(count: int, edges: set[tuple[int, int]]) -> list[set[int]]:
    """Imports of each file; within cycles, edges are taken out from the least important on until none is left."""
    graph: list[set[int]] = [set() for _ in range(count)]
    for importer, imported in edges:
        graph[importer].add(imported)
    targets = [0] * count
    for _, imported in edges:
        targets[imported] += 1
    while cycles := [component for component in components(graph) if len(component) > 1]:
        for cycle in cycles:
            inside = set(cycle)
            among = [(targets[other], file, other) for file in cycle for other in graph[file] & inside]
            # A share of them at once, so that large cycles take few rounds.
            for _, file, other in sorted(among, reverse=True)[: max(1, len(among) // 50)]:
                graph[file].discard(other)
    return graph


def _sorted_by_distance(graph: list[set[int]], related: set[int]) -> list[int]:
    """Topological order; of the files without parents left, the nearest to those sorted comes next."""
    neighbours: dict[int, set[int]] = {index: set() for index in related}
    for file in related:
        for other in graph[file]:
            neighbours[file].add(other)
            neighbours[other].add(file)
    missing = {file: len(graph[file]) for file in related}
    importers: dict[int, list[int]] = {file: [] for file in related}
    for file in related:
        for other in graph[file]:
            importers[other].append(file)
    distance = dict.fromkeys(related, len(related))
    ready = {file for file in related if not missing[file]}
    ordered = []
    while ready:
        file = min(ready, key=lambda file: (distance[file], file))
        ready.discard(file)
        ordered.append(file)
        for importer in importers[file]:
            missing[importer] -= 1
            if not missing[importer]:
                ready.add(importer)
        _lower(distance, neighbours, file)
    return ordered


def _lower(distance: dict[int, int], neighbours: Mapping[int, set[int]], start: int) -> None:
    """Distances to the set of sorted files, after one more was sorted."""
    distance[start] = 0
    level = [start]
    while level:
        following = []
        for file in level:
            for other in neighbours[file]:
                if distance[other] > distance[file] + 1:
                    distance[other] = distance[file] + 1
                    following.append(other)
        level = following


def _beside_subject(path: str) -> tuple[str, bool, str]:
    stem = path.rpartition("/")[2].rpartition(".")[0]
    match = _TEST.match(stem)
    return (match[1] or match[2] if match else stem).lower(), match is not None, path
