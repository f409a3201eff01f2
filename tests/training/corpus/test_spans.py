"""Spans: each kind does what its name says, on any text."""

import ast
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.corpus.packed import TEXTS, library
from training.corpus.spans import KINDS, ChosenSpan, Range, SpanWeights, choose

NONE = SpanWeights(nodes=0, rest_of_line=0, lines=0, block=0, characters=1)
CODE = "import os\n\ndef f(a):\n    if a:\n        b()\n\n        c()\n    return a\n\nx = 1\n"


def only(kind: str) -> SpanWeights:
    return replace(NONE, **{"characters": 0, kind: 1})


def drawn(text: str, kind: str, *, count: int = 300, nodes: list[Range] | None = None, max_lines: int = 4) -> set[str]:
    """The middles of many draws, where this kind could be had."""
    found = set()
    for seed in range(count):
        span = choose(text, weights=only(kind), rng=Random(seed), nodes=lambda: nodes or [], max_lines=max_lines)
        if span.kind == kind:
            found.add(text[span.start : span.end])
    return found


@given(TEXTS.filter(len), st.sampled_from(KINDS), st.integers(0, 2**32))
def test_a_span_lies_in_the_text_and_is_not_empty(text: str, kind: str, seed: int):
    nodes = [(0, len(text)), (0, 1), (len(text) - 1, len(text)), (0, 0)]
    span = choose(text, weights=only(kind), rng=Random(seed), nodes=lambda: nodes, max_lines=3)
    assert 0 <= span.start < span.end <= len(text)
    assert span.kind in (kind, "characters")


def test_rest_of_line_ends_where_its_line_does():
    middles = drawn("ab = 1\r\n  cd\n", "rest_of_line")
    assert middles == {"ab = 1", "b = 1", " = 1", "= 1", " 1", "1", "cd", "d"}


def test_lines_are_whole_with_or_without_indentation_and_last_line_end():
    middles = drawn("a\n  b\nc", "lines", max_lines=2, count=1000)
    assert middles == {"a", "a\n", "a\n  b", "a\n  b\n", "  b", "b", "  b\n", "b\n", "  b\nc", "b\nc", "c"}


def test_lines_are_at_most_as_many_as_asked_for():
    text = "a\n" * 100
    counts = Counter(
        text[span.start : span.end].count("a")
        for span in (
            choose(text, weights=only("lines"), rng=Random(seed), nodes=list, max_lines=8) for seed in range(2000)
        )
    )
    assert set(counts) == set(range(1, 9))
    assert counts[1] > counts[4] > 0


def test_a_block_is_a_line_with_the_deeper_ones_or_what_is_left_of_its_own():
    assert drawn(CODE, "block", count=1000) == {
        "def f(a):\n    if a:\n        b()\n\n        c()\n    return a",
        "if a:\n        b()\n\n        c()",
        "b()\n\n        c()",
        "c()",
        "return a",
    }


def test_a_statement_is_a_whole_line_of_code_in_a_block_each_as_likely():
    code = 'def f(a):\n    """What f does."""\n    if a:\n        b(a)\n    return [\n        *a,\n    ]\nf(1)\n'
    firsts = ("def", '"""', "if", "b(a)", "a)\n ", "return", "*a", "f(1)")
    nodes = [(code.index(first), len(code) - 1) for first in firsts]
    counts = Counter(
        code[span.start : span.end]
        for span in (
            choose(code, weights=only("statement"), rng=Random(seed), nodes=lambda: nodes, max_lines=1)
            for seed in range(900)
        )
    )
    assert set(counts) == {"    if a:\n", "        b(a)\n", "    return [\n"}
    assert min(counts.values()) > 250
    assert drawn("f:\n  a b", "statement", nodes=[(0, 8), (5, 8)]) == {"  a b"}
    assert drawn("a b\n# c d\n", "statement", nodes=[(0, 3)]) == set()


def test_a_file_without_blocks_has_another_span():
    span = choose("a\nb\n", weights=only("block"), rng=Random(0), nodes=list, max_lines=1)
    assert span.kind == "characters"


def test_nodes_are_whole_and_followed_by_whole_ones():
    text = library(8)[7].text
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    tree = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    nodes = [
        (lines[node.lineno - 1] + node.col_offset, lines[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0))
        for node in tree
    ]
    starts, ends = {start for start, _ in nodes}, {end for _, end in nodes}
    sizes = Counter()
    several = 0
    for seed in range(500):
        span = choose(text, weights=only("nodes"), rng=Random(seed), nodes=lambda: nodes, max_lines=1)
        assert span.kind == "nodes"
        assert span.start in starts
        assert span.end in ends
        assert span.end - span.start <= len(text) // 2
        several += (span.start, span.end) not in nodes
        sizes[(span.end - span.start).bit_length()] += 1
    assert several > 50
    # Sizes are spread over powers of two, though most statements are short.
    assert len(sizes) > 6
    assert max(sizes.values()) < 250


def test_following_nodes_stop_at_what_is_no_node():
    text = "aa + bb\ncc\n" + "-" * 20
    assert drawn(text, "nodes", nodes=[(0, 2), (5, 7), (8, 10)]) == {"aa", "bb", "cc", "bb\ncc"}


def test_nodes_are_asked_for_only_when_drawn():
    def refuse() -> list[Range]:
        raise AssertionError("parsed for nothing")

    weights = replace(SpanWeights(), nodes=0)
    assert all(
        choose(CODE, weights=weights, rng=Random(seed), nodes=refuse, max_lines=4).kind != "nodes" for seed in range(50)
    )


def test_kinds_come_as_often_as_their_weights_say():
    weights = SpanWeights(nodes=4, rest_of_line=2, lines=2, block=1, characters=1)
    counts = Counter(
        choose(CODE, weights=weights, rng=Random(f"k{seed}"), nodes=lambda: [(0, 9)], max_lines=4).kind
        for seed in range(5000)
    )
    # `block` finds nothing in the lines without one (20 of 73 characters: two at level 0), and others take its part.
    assert counts["nodes"] / 5000 == pytest.approx(0.4, abs=0.03)
    assert counts["rest_of_line"] / 5000 == pytest.approx(0.2, abs=0.03)
    assert counts["lines"] / 5000 == pytest.approx(0.2, abs=0.03)
    assert counts["characters"] / 5000 == pytest.approx(0.1, abs=0.03)


def test_the_same_seed_gives_the_same_span():
    def draw() -> ChosenSpan:
        return choose(CODE, weights=SpanWeights(), rng=Random(5), nodes=lambda: [(0, 9)], max_lines=4)

    assert draw() == draw()


def test_blank_lines_have_no_lines_to_choose():
    assert choose("\n\n  \n", weights=only("lines"), rng=Random(0), nodes=list, max_lines=2).kind == "characters"


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match=r"at least one character; got an empty one\. Leave it as it is\."):
        choose("", weights=SpanWeights(), rng=Random(0), nodes=list, max_lines=1)


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_weights_must_be_numbers_from_0_up(weight: float):
    with pytest.raises(ValueError, match=f"must be 0 or more; got lines={weight}. Correct it."):
        SpanWeights(lines=weight)


def test_one_weight_must_be_above_0():
    with pytest.raises(ValueError, match=r"One kind of span must have a weight above 0; got none\. Give, for example"):
        replace(NONE, characters=0)
