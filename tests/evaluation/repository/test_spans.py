"""What is taken out of a file: whole lines, found by hand here, and always put together again."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma.evaluation.repository import spans
from keras_codegemma.evaluation.repository.spans import Span
from tests.evaluation.repository.made_repository import SHOP


def _numbers(found: list[Span]) -> list[tuple[int, int]]:
    return [(span.first, span.last) for span in found]


def test_lines_of_python_are_those_that_statements_begin_in() -> None:
    assert [span.first for span in spans.lines(SHOP, python=True)] == [4, 6, 7, 8, 9, 10, 11, 12, 15, 17, 18]


def test_lines_of_other_languages_have_a_word_and_are_no_comment() -> None:
    text = "// comment\nint ab = 1;\n}\n/* more\n * more */\n\n  return ab;\n-- sql\nlast"
    assert [span.first for span in spans.lines(text, python=False)] == [2, 7]


def test_blocks_are_bodies_inside_functions_of_two_lines_and_more() -> None:
    assert _numbers(spans.blocks(SHOP)) == [(8, 11), (9, 10)]
    text = textwrap.dedent(
        """\
        if True:
            a = 1
            b = 2


        def f(x):
            if x: return 1
            try:
                y = (
                    x)
            except ValueError:
                y = 1
                z = 2
            elif_is_no_body = 1
            if x:
                pass
            elif y:
                z = 3
                z = 4
            else:
                z = 5
                z = 6
            with x as y: a = 1; b = [
                2]
        """
    )
    assert _numbers(spans.blocks(text)) == [(9, 10), (12, 13), (18, 19), (21, 22)]


def test_functions_lose_their_bodies_but_not_their_docstrings() -> None:
    assert _numbers(spans.functions(SHOP)) == [(6, 12), (17, 18)]
    text = "class C:\n    def one(self): return 1\n\n    async def two(self):\n        @d\n        def three(): pass\n"
    assert _numbers(spans.functions(text)) == [(5, 6)]
    long = "def f():\n" + "    x = 1\n" * (spans.LONGEST_FUNCTION_LINES + 1)
    assert spans.functions(long) == []


@pytest.mark.parametrize("text", ["def (:\n", "x = '\x00'\n", "("])
def test_what_python_does_not_read_has_no_spans(text: str) -> None:
    assert spans.lines(text, python=True) == spans.blocks(text) == spans.functions(text) == []


def test_a_last_line_without_its_break_is_left_alone() -> None:
    assert spans.functions("def f():\n    return 1") == []
    assert _numbers(spans.lines("aa = 1\nbb = 2", python=True)) == [(1, 1)]


@given(st.lists(st.sampled_from(["aa = 1", "", "if aa:", "    bb = aa\x0c", "é = 'x\u2028y'", "    cc = 2"])))
def test_the_three_parts_are_the_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    for python in (True, False):
        for span in spans.lines(text, python=python):
            before, middle, after = span.split(text)
            assert before + middle + after == text
            assert middle.endswith("\n")
            assert middle.count("\n") == span.last - span.first + 1
            assert not before or before.endswith("\n")
