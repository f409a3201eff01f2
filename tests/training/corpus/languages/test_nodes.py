"""Whole pieces of syntax: what a middle may cover, where a long file may be cut."""

import ast
import random

import pytest

from tests.training.corpus.languages import made_repositories as made
from training.corpus.languages import middle_nodes, split_points
from training.corpus.languages.grammars import parse
from training.corpus.languages.nodes import _with_children

SOURCE = '''"""Prices."""
import os
import sys


# What a kilogram costs.
def of(units: int) -> int:
    if units > 3:
        return units * 900
    return units * 1000


class Basket:
    """Things."""

    size = 1

    def total(self):
        names = [n for n in os.environ if "é" in n]
        return len(names) + of(self.size)
'''


def pieces(text: str, path: str = "a.py") -> set[str]:
    return {text[start:end] for start, end in middle_nodes(made.document(path, text))}


def test_statements_blocks_expressions_and_functions_can_be_middles():
    found = pieces(SOURCE)
    assert "return units * 1000" in found
    assert "units > 3" in found
    assert "of(self.size)" in found
    assert "if units > 3:\n        return units * 900" in found
    assert any(piece.startswith("def total(self):") and piece.endswith("of(self.size)") for piece in found)


def test_python_statements_are_found_as_pythons_own_parser_sees_them():
    lines = SOURCE.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]

    def offset(line: int, byte: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:byte].decode())

    wanted = {
        SOURCE[offset(node.lineno, node.col_offset) : offset(node.end_lineno or 0, node.end_col_offset or 0)]
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, (ast.Return, ast.If, ast.FunctionDef, ast.ClassDef, ast.Assign))
    }
    assert len(wanted) == 9
    assert wanted <= pieces(SOURCE)


def test_imports_comments_and_the_whole_file_are_no_middles():
    found = pieces(SOURCE)
    assert not any(piece.startswith(("import", "#")) for piece in found)
    assert SOURCE.strip() not in found


def test_what_holds_a_syntax_error_is_no_middle():
    found = pieces("def good():\n    return 1 + 2\n\ndef bad(:\n    return ((3\n")
    assert "return 1 + 2" in found
    assert not any("((3" in piece for piece in found)


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_middles_and_cuts_lie_within_any_truncation_of_a_file(language):
    rng = random.Random()
    for path, text in made.FILES[language].items():
        for _ in range(5):
            start, end = sorted(rng.choices(range(len(text) + 1), k=2))
            part = text[start:end] + rng.choice(["", "é", "\n", "😀"])
            ranges = middle_nodes(made.document(path, part))
            assert list(ranges) == sorted(set(ranges))
            for first, last in ranges:
                assert 0 <= first < last <= len(part)
                assert part[first:last].strip() == part[first:last]
            points = split_points(made.document(path, part))
            assert len(points) == len(set(points))
            assert all(0 < point < len(part) for point in points)


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_each_language_has_middles_and_cuts(language):
    found = [(middle_nodes(item), split_points(item)) for item in made.documents(language)]
    assert any(nodes for nodes, _ in found)
    assert any(points for _, points in found)


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_a_walk_finds_the_nodes_that_a_query_finds(language):
    for item in made.documents(language):
        tree = parse(item)
        if tree is not None:
            walked = [node.byte_range for node in _with_children(tree.root) if node.is_named and node.named_child_count]
            queried = [node.byte_range for node in tree.captures("(_ . (_)) @node").get("node", ())]
            assert sorted(walked) == sorted(queried)


def test_cuts_are_first_those_of_top_level_nodes_then_those_of_members():
    points = list(split_points(made.document("a.py", SOURCE)))
    beginnings = [SOURCE[point:].partition("\n")[0] for point in points]
    top = beginnings.index("class Basket:") + 1
    assert "# What a kilogram costs." in beginnings[:top]  # the comment stays with its function
    assert "def of(units: int) -> int:" not in beginnings
    assert "    def total(self):".strip() in [line.strip() for line in beginnings[top:]]
    assert "import sys" not in beginnings  # imports stay together


def test_a_file_without_a_grammar_has_neither():
    item = made.document("notes.md", "# Title\n\ntext\n")
    assert list(middle_nodes(item)) == []
    assert list(split_points(item)) == []
