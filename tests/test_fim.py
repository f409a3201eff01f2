"""FIM layouts: what `format` writes, and that `parse` and `split` lose nothing."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma import fim
from keras_codegemma.fim import Infill, Sentinel

PREFIX, MIDDLE, SUFFIX = Sentinel.FIM_PREFIX, Sentinel.FIM_MIDDLE, Sentinel.FIM_SUFFIX
SEPARATOR = Sentinel.FILE_SEPARATOR

# Any Unicode text (lone surrogates too), with sentinels, halves of sentinels and line ends made likely.
any_text = st.lists(
    st.one_of(
        st.text(st.characters(codec=None), max_size=8),
        st.sampled_from([*fim.CONTROL_PIECES, "<|fim_", "prefix|>", "<", "\n", "\r\n", "\x00"]),
    ),
    max_size=6,
).map("".join)
any_path = any_text.map(lambda text: text.replace("\n", "")).filter(bool)
any_infill = st.builds(
    Infill,
    prefix=any_text,
    suffix=any_text,
    middle=st.none() | any_text,
    path=st.none() | any_path,
    context_files=st.lists(st.tuples(any_path, any_text), max_size=3).map(tuple),
    layout=st.sampled_from(fim.LAYOUTS),
)
tame_text = any_text.filter(lambda text: not any(piece in text for piece in fim.CONTROL_PIECES))
tame_path = tame_text.map(lambda text: text.replace("\n", "|")).filter(bool)
tame_infill = st.builds(
    Infill,
    prefix=tame_text,
    suffix=tame_text,
    middle=st.none() | tame_text.filter(bool),
    path=st.none() | tame_path,
    context_files=st.lists(st.tuples(tame_path, tame_text), max_size=2).map(tuple),
    layout=st.sampled_from(fim.LAYOUTS),
)


def parts_of(infill: Infill) -> tuple[fim.Part, ...]:
    return fim.format(
        infill.prefix,
        infill.suffix,
        layout=infill.layout,
        middle=infill.middle,
        path=infill.path,
        context_files=infill.context_files,
    )


def test_psm_is_prefix_suffix_middle():
    assert fim.format("a", "b") == (PREFIX, "a", SUFFIX, "b", MIDDLE)


def test_spm_is_suffix_prefix_middle():
    assert fim.format("a", "b", layout="spm") == (SUFFIX, "b", PREFIX, "a", MIDDLE)


def test_a_given_middle_comes_last_in_both_layouts():
    assert fim.format("a", "b", middle="m")[-2:] == (MIDDLE, "m")
    assert fim.format("a", "b", middle="m", layout="spm")[-2:] == (MIDDLE, "m")
    assert fim.format("a", "b", middle="")[-2:] == (MIDDLE, "")


def test_path_line_stands_before_the_first_sentinel():
    assert fim.format("a", "b", path="src/x.py")[:2] == ("src/x.py\n", PREFIX)
    assert fim.format("a", "b", path="src/x.py", layout="spm")[:2] == ("src/x.py\n", SUFFIX)


def test_context_files_come_first_each_closed_by_a_separator():
    parts = fim.format("a", "b", path="z.py", context_files=[("x.py", "import y"), ("y.py", "")])
    assert parts[:4] == ("x.py\nimport y", SEPARATOR, "y.py\n", SEPARATOR)
    assert parts[4:] == fim.format("a", "b", path="z.py")


def test_rendered_prompt_is_the_published_text():
    parts = fim.format("def f():\n    ", "\n", path="f.py", context_files=[("g.py", "x = 1\n")])
    assert fim.render(parts) == (
        "g.py\nx = 1\n<|file_separator|>f.py\n<|fim_prefix|>def f():\n    <|fim_suffix|>\n<|fim_middle|>"
    )


@given(any_infill)
def test_parse_returns_what_was_formatted_for_any_text(infill):
    assert fim.parse(parts_of(infill)) == infill


@given(any_infill)
def test_text_that_spells_a_sentinel_stays_a_plain_part(infill):
    sentinels = [part for part in parts_of(infill) if isinstance(part, Sentinel)]
    assert len(sentinels) == 3 + len(infill.context_files)


@given(tame_infill)
def test_rendered_text_parses_back_where_no_part_spells_a_sentinel(infill):
    assert fim.parse(fim.render(parts_of(infill))) == infill


def test_rendered_empty_middle_reads_as_a_prompt():
    assert fim.parse(fim.render(fim.format("a", "b", middle=""))).middle is None


def test_separator_after_the_middle_is_the_end_and_is_left_out():
    assert fim.parse((*fim.format("a", "b", middle="m"), SEPARATOR)).middle == "m"
    assert fim.parse((*fim.format("a", "b"), SEPARATOR)).middle == ""


def test_neighbouring_text_parts_read_as_one():
    assert fim.parse((PREFIX, "a", "b", SUFFIX, MIDDLE)) == Infill(prefix="ab", suffix="")


@given(any_text, st.integers())
def test_split_is_exact_and_never_empty_in_the_middle(text, seed):
    span = fim.split(text, rng=Random(seed))
    assert span.prefix + span.middle + span.suffix == text
    assert bool(span.middle) == bool(text)


def test_split_depends_on_the_seed_alone():
    text = "def add(a, b):\n    return a + b\n"
    assert fim.split(text, rng=Random(7)) == fim.split(text, rng=Random(7))
    assert len({fim.split(text, rng=Random(seed)) for seed in range(50)}) > 40


def test_split_picks_every_span_equally_often():
    spans = [fim.split("abc", rng=Random(seed)).middle for seed in range(6000)]
    counts = {middle: spans.count(middle) for middle in set(spans)}
    assert set(counts) == {"a", "b", "c", "ab", "bc", "abc"}
    assert all(850 < count < 1150 for count in counts.values())


def test_unknown_layout_is_refused():
    message = r"A FIM layout must be \"psm\" or \"spm\"; got 'PSM'\. Give one of the two\."
    with pytest.raises(ValueError, match=message):
        fim.format("a", "b", layout="PSM")


@pytest.mark.parametrize("name", ["prefix", "suffix", "middle", "path"])
@pytest.mark.parametrize("value", [b"bytes", 3, PREFIX])
def test_what_is_not_plain_text_is_refused_by_name(name, value):
    arguments = {"prefix": "a", "suffix": "b", name: value}
    message = rf"The {name} must be plain text \(str\); got .*\. Pass the text itself"
    with pytest.raises(TypeError, match=message):
        fim.format(**arguments)


@pytest.mark.parametrize("path", ["", "a\nb.py", "a.py\n"])
def test_path_that_is_not_one_line_is_refused(path):
    message = r"A path must be one line of text, not empty; got .*\. Give the path without line feeds"
    with pytest.raises(ValueError, match=message):
        fim.format("a", "b", path=path)
    with pytest.raises(ValueError, match=message):
        fim.format("a", "b", context_files=[(path, "text")])


@pytest.mark.parametrize("item", ["a.py", ("a.py",), {"path": "a.py", "text": ""}])
def test_context_file_that_is_not_a_pair_is_refused(item):
    message = r"A context file must be a pair \(path, text\); got .*\. Give context_files as a list"
    with pytest.raises(TypeError, match=message):
        fim.format("a", "b", context_files=[item])


@pytest.mark.parametrize("piece", fim.CONTROL_PIECES)
def test_render_refuses_text_that_spells_a_control_piece(piece):
    message = r"must not spell a control piece; got .* at character 2 of a text\. Keep the parts apart"
    with pytest.raises(ValueError, match=message):
        fim.render(fim.format("x " + piece, "b"))


def test_render_refuses_a_sentinel_spelled_across_two_parts():
    with pytest.raises(ValueError, match="must not spell a control piece"):
        fim.render(("<|fim_", "prefix|>"))


@pytest.mark.parametrize(
    "text",
    [
        "def f():",
        "<|file_separator|>",
        "<|fim_prefix|>a<|fim_middle|>",
        "<|fim_prefix|>a<|fim_middle|>b<|fim_suffix|>c",
        "<|fim_prefix|><|fim_suffix|>b<|fim_prefix|>a<|fim_middle|>",
    ],
)
def test_parse_refuses_sentinels_in_no_known_order(text):
    message = r"A FIM prompt must have the sentinels .*; got .*\. Build the prompt with fim\.format"
    with pytest.raises(ValueError, match=message):
        fim.parse(text)


def test_parse_refuses_text_after_the_end():
    with pytest.raises(ValueError, match=r"got .*<\|fim_middle\|> <\|file_separator\|>\. Build"):
        fim.parse(fim.render(fim.format("a", "b", middle="m")) + "<|file_separator|>next.py\n")


@pytest.mark.parametrize("head", ["<bos>", "no newline", "two\nlines\n", "\n"])
def test_parse_refuses_text_before_the_sentinels_that_is_no_path_line(head):
    with pytest.raises(ValueError, match="Text before the first FIM sentinel must be one path and a newline"):
        fim.parse(head + "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>")


def test_parse_refuses_a_context_file_without_its_path_line():
    with pytest.raises(ValueError, match=r"Text before <\|file_separator\|> must be a path, a newline"):
        fim.parse("x = 1<|file_separator|><|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>")
