"""Text stops: where they cut, and that a stream never shows what is taken back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma.stopping import TextStop


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "kept"),
    [
        ("x = ", "\n", "1\ny = 2\n", "1"),
        ("def f():\n", "    return x\n", "    x = 1\n    y = 2", "    x = 1\n"),
        ("", "", "import os\nimport re\n", "import os\n"),
        ("def f():\n", "\n", "    x = 1\n    y = 2", "    x = 1"),
        ("foo(", ")\n", "a,\n    b", "a,"),
        ("def f():", "", "\n    return 1\n\n", "\n    return 1"),
        ("x = ", "", "1", None),
    ],
)
def test_line_keeps_the_first_line_that_is_not_blank(prefix, suffix, text, kept):
    cut = TextStop(stop_at="line", prefix=prefix, suffix=suffix).cut(text)
    assert (cut.text, cut.done) == ((text, False) if kept is None else (kept, True))


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "kept"),
    [
        ("def f():\n", "\ndef g():\n", "    x = 1\n    return x\n\n\ndef h():", "    x = 1\n    return x"),
        ("def f():\n    ", "", "x = 1\n    if x:\n        y()\nz", "x = 1\n    if x:\n        y()"),
        ("def f():\n", "x = f()\n", "    return 1\nx", "    return 1\n"),
        ("if a:\n        ", "", "b()\n    c()", "b()"),
        ("", "", "def f():\n    return 1\n\ndef g():", "def f():\n    return 1\n"),
        ("", "", "import os\nimport re\nx", None),
        ("def f():\n", "", "    x = 1\n\n    y = 2\n", None),
        ("class A {\n    void f() {\n", "", "        g();\n    }\n", "        g();\n"),
    ],
)
def test_block_ends_where_the_indentation_falls_below_its_first_line(prefix, suffix, text, kept):
    cut = TextStop(stop_at="block", prefix=prefix, suffix=suffix).cut(text)
    assert (cut.text, cut.done) == ((text, False) if kept is None else (kept, True))


def test_strings_end_the_text_before_the_first_of_them():
    stop = TextStop(stop_at=["\n\n", "###"])
    assert stop.cut("a ### b\n\n").text == "a "
    assert stop.cut("a\n\n###").text == "a"
    assert not stop.cut("a\n##").done


def test_nothing_is_cut_without_a_rule():
    cut = TextStop().cut("a\n\nb")
    assert (cut.text, cut.safe_chars, cut.done) == ("a\n\nb", 4, False)


@given(
    text=st.text(alphabet="ab \n\t#", max_size=30),
    pieces=st.lists(st.integers(1, 5), max_size=30),
    rule=st.sampled_from(["line", "block", ("\n\n", "#b#"), ("ab",), None]),
    prefix=st.sampled_from(["", "x\n", "    y", "f(\n  "]),
    suffix=st.sampled_from(["", "\n", "z"]),
)
def test_what_is_safe_to_show_is_never_taken_back(text, pieces, rule, prefix, suffix):
    stop = TextStop(stop_at=rule, prefix=prefix, suffix=suffix)
    final = stop.cut(text).text
    seen = 0
    for size in [*pieces, len(text)]:
        seen = min(len(text), seen + size)
        cut = stop.cut(text[:seen])
        assert cut.safe_chars <= len(cut.text)
        assert final.startswith(cut.text[: cut.safe_chars])
        if cut.done:
            assert cut.text == final
            break


@pytest.mark.parametrize(
    ("stop_at", "error", "message"),
    [
        ("word", ValueError, "got 'word'. To stop at this text, pass ['word']."),
        ([], ValueError, "stop_at must hold at least one string, none empty; got []."),
        (["a", ""], ValueError, "none empty; got ['a', '']."),
        ([1], TypeError, "Each entry of stop_at must be a string; got [1]. Convert them."),
    ],
)
def test_bad_rules_are_refused(stop_at, error, message):
    with pytest.raises(error, match=re.escape(message)):
        TextStop(stop_at=stop_at)
