"""Topological order of files: all of them, imports first, cycles of any size cut."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import dependencies
from training.corpus.languages.facts import Edge

LINKS = st.sets(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=60)


def name(number: int) -> str:
    return f"{number:05d}.py"


@given(LINKS, st.integers(1, 16))
def test_every_path_comes_once_and_imports_outside_cycles_come_first(links, count):
    paths = [name(number) for number in range(count)]
    edges = [Edge(name(a), name(b)) for a, b in links if a < count and b < count]
    found = dependencies.order(paths, edges)
    assert sorted(found) == paths
    reachable = {path: {path} for path in paths}
    for _ in range(count):
        for edge in edges:
            reachable[edge.importer] |= reachable[edge.imported]
    for edge in edges:
        if edge.importer not in reachable[edge.imported]:
            assert found.index(edge.imported) < found.index(edge.importer)


@given(LINKS)
def test_the_order_of_edges_does_not_matter(links):
    paths = [name(number) for number in range(16)]
    edges = [Edge(name(a), name(b)) for a, b in sorted(links)]
    assert dependencies.order(paths, edges) == dependencies.order(paths[::-1], edges[::-1])


def test_weak_imports_give_way_first():
    edges = [Edge("a", "b", 0.1), Edge("b", "a", 1.0)]
    assert dependencies.order(["a", "b"], edges) == ["a", "b"]
    edges = [Edge("a", "b", 1.0), Edge("b", "a", 0.1)]
    assert dependencies.order(["a", "b"], edges) == ["b", "a"]


def test_related_files_stand_side_by_side():
    chains = [[f"{letter}{number}" for number in range(4)] for letter in "xyz"]
    edges = [Edge(after, before) for chain in chains for before, after in itertools.pairwise(chain)]
    paths = [path for chain in chains for path in chain]
    assert dependencies.order(sorted(paths, key=lambda path: path[1]), edges) == paths


def test_a_cycle_of_thousands_of_files_is_cut_in_one_place_within_seconds():
    count = 5000
    paths = [name(number) for number in range(count)]
    edges = [Edge(name(number), name((number + 1) % count)) for number in range(count)]
    started = time.process_time()
    found = dependencies.order(paths, edges)
    assert time.process_time() - started < 10
    place = {path: index for index, path in enumerate(found)}
    assert sum(place[edge.imported] > place[edge.importer] for edge in edges) == 1


def test_a_path_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match=r"Paths must be different from each other; got 'a' twice. Order revisions"):
        dependencies.order(["a", "b", "a"], [])


def test_an_edge_to_an_unknown_path_is_refused():
    with pytest.raises(ValueError, match=r"Edges must be between the paths; got Edge.*'c'.*Leave out edges"):
        dependencies.order(["a", "b"], [Edge("a", "c")])
