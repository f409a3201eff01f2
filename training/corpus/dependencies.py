"""The order of a repository's files: what is imported before what imports it, and related files side by side.

1. Cycles are found as strongly connected components (Tarjan 1972) and put in an order that goes against few imports,
   weak ones first (`_cut`); imports against it are left out, so that no cycle remains.
2. Files follow each other topologically. Of those whose imports have all been placed, the next is the one most lately
   related to what was placed: an importer of the latest file, or of the one before it, and so on; a file that a
   common importer waits for counts as `_ASIDE` files further away; ties go by path (`_nearest_first`).

CodeGemma's report (arXiv 2406.11409, section 2.3) names the same aims: unimportant edges are dropped to break cycles,
the next file is the nearest to those sorted, ties by name. It does not say which edges are unimportant or what nearest
means; here the one is the order of step 1, which Eades, Lin and Smyth (1993) show to leave few edges out, the other is
recency. `report_order.py` has the report's order as text matching gives it, to compare with.

Both steps take time in proportion to edges and a logarithm, and recur nowhere: a cycle of 10,000 files is nothing
special.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from training.corpus.languages.facts import Edge

_ASIDE = 20
_MANY = 32
"""A file with more imports or importers than this relates too much to say what belongs together."""

_Links = list[dict[int, int]]


def order(paths: Sequence[str], edges: Iterable[Edge]) -> list[str]:
    """All paths, each once, in an order that depends on nothing but paths and edges.

    Args:
        paths: different from each other.
        edges: between them; several of one file to another count as the strongest, those to itself not at all.

    Raises:
        ValueError: a path that comes twice, or an edge of a path that is not there.
    """
    names = sorted(paths)
    number = {path: index for index, path in enumerate(names)}
    if len(number) != len(names):
        twice = next(path for path, after in pairwise(names) if path == after)
        raise ValueError(f"Paths must be different from each other; got {twice!r} twice. Order revisions one by one.")
    imports: _Links = [{} for _ in names]
    for edge in edges:
        if edge.importer not in number or edge.imported not in number:
            raise ValueError(f"Edges must be between the paths; got {edge}. Leave out edges to other files.")
        importer, imported = number[edge.importer], number[edge.imported]
        if importer != imported:
            # Whole numbers add and subtract exactly.
            weight = max(1, round(edge.weight * 1000))
            imports[importer][imported] = max(weight, imports[importer].get(imported, 0))
    for component in components(imports):
        if len(component) > 1:
            _cut(component, imports)
    return [names[index] for index in _nearest_first(imports)]


def components(imports: Sequence[Iterable[int]]) -> Iterator[list[int]]:
    """The strongly connected components, imported ones before those that import them: Tarjan's, without recursion.

    Args:
        imports: of each file, the numbers of those it imports.
    """
    index = [-1] * len(imports)
    low = [0] * len(imports)
    is_open = [False] * len(imports)
    stack: list[int] = []
    count = 0
    for root in range(len(imports)):
        work = [(root, iter(imports[root]))] if index[root] < 0 else []
        while work:
            file, rest = work[-1]
            if index[file] < 0:
                index[file] = low[file] = count
                count += 1
                stack.append(file)
                is_open[file] = True
            following = next((other for other in rest if index[other] < 0 or is_open[other]), None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[file])
                if low[file] == index[file]:
                    component = []
                    while is_open[file]:
                        component.append(stack.pop())
                        is_open[component[-1]] = False
                    yield component
            elif index[following] < 0:
                work.append((following, iter(imports[following])))
            else:
                low[file] = min(low[file], index[following])


def _cut(component: list[int], imports: _Links) -> None:
    """Takes the imports out of a cycle that go against the order in which its files are best read.

    First come files with no imports left in the cycle; where there is none, the one whose imports weigh least against
    what it is imported by; ties by path.
    """
    inside = set(component)
    out = {file: {other: weight for other, weight in imports[file].items() if other in inside} for file in component}
    into: dict[int, dict[int, int]] = {file: {} for file in component}
    for file, targets in out.items():
        for other, weight in targets.items():
            into[other][file] = weight
    missing = {file: sum(targets.values()) for file, targets in out.items()}
    wanted = {file: sum(sources.values()) for file, sources in into.items()}

    def key(file: int) -> tuple[bool, int, int]:
        return missing[file] > 0, missing[file] - wanted[file], file

    heap = [key(file) for file in component]
    heapq.heapify(heap)
    placed: set[int] = set()
    while heap:
        entry = heapq.heappop(heap)
        file = entry[2]
        if file in placed or entry != key(file):
            continue
        placed.add(file)
        for other in out[file].keys() - placed:
            del imports[file][other]
            wanted[other] -= out[file][other]
            heapq.heappush(heap, key(other))
        for other in into[file].keys() - placed:
            missing[other] -= into[file][other]
            heapq.heappush(heap, key(other))


def _nearest_first(imports: _Links) -> Iterator[int]:
    """Topological order of a graph without cycles, by recency."""
    importers: list[list[int]] = [[] for _ in imports]
    for file, targets in enumerate(imports):
        for other in targets:
            importers[other].append(file)
    waiting_for = [len(targets) for targets in imports]
    related = [0] * len(imports)
    """The latest place, counted from 1, that a file is related to."""
    heap = [(0, file) for file, count in enumerate(waiting_for) if not count]
    placed = [False] * len(imports)
    place = 0
    while heap:
        latest, file = heapq.heappop(heap)
        if placed[file] or -latest != related[file]:
            continue
        yield file
        placed[file] = True
        place += 1
        for importer in importers[file]:
            waiting_for[importer] -= 1
            related[importer] = place
            if not waiting_for[importer]:
                heapq.heappush(heap, (-place, importer))
        for other in _awaited_too(file, imports, importers, waiting_for):
            if not placed[other] and related[other] < place - _ASIDE:
                related[other] = place - _ASIDE
                if not waiting_for[other]:
                    heapq.heappush(heap, (-related[other], other))


def _awaited_too(file: int, imports: _Links, importers: list[list[int]], waiting_for: list[int]) -> Iterator[int]:
    """What else the importers of a file wait for."""
    if len(importers[file]) <= _MANY:
        for importer in importers[file]:
            if waiting_for[importer] and len(imports[importer]) <= _MANY:
                yield from imports[importer]
