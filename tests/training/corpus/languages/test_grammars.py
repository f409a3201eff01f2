"""Trees are kept from one use of a document to the next, as many as there is room for."""

import pytest

from tests.training.corpus.languages import made_repositories as made
from training.corpus.languages import grammars
from training.corpus.languages.grammars import parse


def documents(repository: str, count: int):
    return [made.document(f"{index}.py", f"a = {index}\n", repository=repository) for index in range(count)]


@pytest.fixture
def room_for_three(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grammars, "_KEPT_BYTES", 20)
    monkeypatch.setattr(grammars, "_trees", grammars._Trees())


def test_the_first_trees_of_a_repository_are_kept_and_the_latest(room_for_three: None):
    items = documents("one", 5)
    trees = [parse(item) for item in items]
    again = [parse(item) for item in reversed(items)]
    assert [tree is other for tree, other in zip(trees, reversed(again), strict=True)] == [True] * 3 + [False, True]


def test_trees_of_another_repository_take_their_place(room_for_three: None):
    one, other = documents("one", 2), documents("other", 3)
    old = [parse(item) for item in one]
    trees = [parse(item) for item in other]
    assert all(parse(item) is tree for item, tree in zip(other, trees, strict=True))
    assert all(parse(item) is not tree for item, tree in zip(one, old, strict=True))


def test_an_equal_document_has_a_tree_of_its_own(room_for_three: None):
    item, equal = documents("one", 1)[0], documents("one", 1)[0]
    assert parse(equal) is not parse(item)
