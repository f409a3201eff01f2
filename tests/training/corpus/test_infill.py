"""Infilling: the formats of the package, the rates of the recipe, chance from ids alone, and the exact text back."""

import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keras_codegemma import fim
from keras_codegemma.preprocessor import CodeGemmaCausalLMPreprocessor
from tests.training.corpus.packed import TEXTS, document, library, tiny_encoder
from training.corpus.examples import Example, Fragment, whole
from training.corpus.fitting import CUTS
from training.corpus.infill import InfillSettings, Turns, can_be_infilled, transform, undo
from training.corpus.spans import SpanWeights
from training.corpus.tokenising import encode

ALWAYS = InfillSettings(fim_rate=1, context_rate=0)


def transformed(
    texts: list[str], *, settings: InfillSettings = ALWAYS, seed: int = 0, epoch: int = 0, **options
) -> Example:
    fragments = [whole(document(text, path=f"f{index}.py")) for index, text in enumerate(texts)]
    return transform(fragments, settings=settings, seed=seed, epoch=epoch, **options)


@example(["", "\n", "\r\n", "a\n<|fim_middle|>b<|file_separator|>"], 0.5, 0)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 99))
def test_the_exact_text_of_every_document_comes_back(texts: list[str], rate: float, seed: int):
    settings = InfillSettings(fim_rate=0.8, spm_rate=0.5, context_rate=rate)
    made = transformed(texts, settings=settings, seed=seed, middle_nodes=lambda _: [(0, 1)])
    assert undo(made) == tuple((f"f{index}.py", text) for index, text in enumerate(texts))


@pytest.mark.parametrize("layout", ["psm", "spm"])
def test_an_infilled_file_is_written_as_the_prompt_of_the_package_and_its_middle(layout: str):
    settings = replace(ALWAYS, spm_rate=float(layout == "spm"))
    file = library(1)[0]
    made = transform([whole(file)], settings=settings, seed=3, epoch=0)
    prefix, middle, suffix = (
        next(piece.text for piece in made.files[0].pieces if piece.kind == kind)
        for kind in ("prefix", "middle", "suffix")
    )
    assert prefix + middle + suffix == file.text
    tokenizer = tiny_encoder().tokenizer
    ids = encode(made, encoder=tiny_encoder()).token_ids.tolist()
    preprocessor = CodeGemmaCausalLMPreprocessor(tokenizer, sequence_length=64)
    prompt = preprocessor.encode_infill(prefix, suffix, path=file.path, layout=layout, max_prompt_tokens=10**6)
    assert ids == [*prompt.token_ids, *tokenizer.encode(middle), tokenizer.file_separator_id]


def test_an_example_without_its_path_is_what_fit_makes_of_a_triple():
    made = transformed([library(1)[0].text], settings=replace(ALWAYS, spm_rate=0))
    texts = {piece.kind: piece.text for piece in made.files[0].pieces}
    tokenizer = tiny_encoder().tokenizer
    preprocessor = CodeGemmaCausalLMPreprocessor(tokenizer, sequence_length=64, spm_rate=0.0)
    expected, _ = preprocessor.encode_example((texts["prefix"], texts["suffix"], texts["middle"]), rng=Random(0))
    path = tokenizer.encode("f0.py\n")
    ids = encode(made, encoder=tiny_encoder()).token_ids.tolist()
    assert ids[1 : 1 + len(path)] == path
    assert ids[:1] + ids[1 + len(path) :] == expected


def test_context_files_are_written_as_in_the_prompt_of_the_package():
    settings = InfillSettings(fim_rate=1, spm_rate=0, context_rate=1)
    files = library(3)
    made = transform([whole(file) for file in files], settings=settings, seed=0, epoch=0)
    assert made.shape == "context"
    assert [file.role for file in made.files] == ["context", "context", "target"]
    texts = {piece.kind: piece.text for piece in made.files[2].pieces}
    tokenizer = tiny_encoder().tokenizer
    parts = fim.format(
        texts["prefix"],
        texts["suffix"],
        middle=texts["middle"],
        path=files[2].path,
        context_files=[(file.path, file.text) for file in files[:2]],
    )
    expected = [tokenizer.start_token_id, *tokenizer.encode_parts(parts), tokenizer.file_separator_id]
    assert encode(made, encoder=tiny_encoder()).token_ids.tolist() == expected


def test_a_separator_stands_between_files_and_a_whole_file_at_the_end_ends_with_eos():
    made = transformed(["a\n", "b\n"], settings=InfillSettings(fim_rate=0, context_rate=0))
    written = "".join(piece.text for piece in made.pieces())
    assert written == "<bos>f0.py\na\n<|file_separator|>f1.py\nb\n<eos>"
    assert made.shape == "files"
    assert {file.role for file in made.files} == {"target"}


def test_a_middle_at_the_end_ends_with_the_separator():
    pieces = list(transformed(["a\n"]).pieces())
    assert pieces[-2].kind == "middle"
    assert (pieces[-1].kind, pieces[-1].text) == ("control", "<|file_separator|>")


def test_layouts_and_shapes_come_at_their_rates():
    settings = InfillSettings(fim_rate=0.8, spm_rate=0.3, context_rate=0.6)
    layouts: Counter[str | None] = Counter()
    shapes: Counter[str] = Counter()
    for number in range(4000):
        fragments = [whole(document("a = 1\n", path=f"{number}/{index}")) for index in range(2)]
        made = transform(fragments, settings=settings, seed=1, epoch=0, turns=Turns(shapes=number, layouts=2 * number))
        shapes[made.shape] += 1
        layouts.update(file.layout for file in made.files if file.role == "target")
    targets = sum(layouts.values())
    assert shapes["context"] == pytest.approx(2400, abs=1)  # they take turns
    # Three standard deviations of about 5600 draws.
    assert 1 - layouts[None] / targets == pytest.approx(0.8, abs=0.016)
    assert layouts["spm"] / (layouts["spm"] + layouts["psm"]) == pytest.approx(0.3, abs=0.021)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
def test_shapes_take_turns_in_an_order_that_the_repository_draws(rate: float):
    settings = InfillSettings(context_rate=rate)
    firsts, orders = 0, set()
    for number in range(1000):
        files = [whole(document("a = 1\n", path=name, repository=f"folder:{number}")) for name in "ab"]
        turns = [Turns(shapes=turn) for turn in range(16 if number < 50 else 1)]
        shapes = [transform(files, settings=settings, seed=2, epoch=0, turns=turn).shape for turn in turns]
        firsts += shapes[0] == "context"
        if number < 50:
            assert shapes.count("context") == 16 * rate
            orders.add(tuple(shapes))
    # Three standard deviations of 1000 draws, so that repositories of one example keep the rate too.
    assert firsts / 1000 == pytest.approx(rate, abs=0.047 if 0 < rate < 1 else 0)
    assert len(orders) > 45 if 0 < rate < 1 else len(orders) == 1


def test_layouts_take_turns_among_infilled_files():
    texts = [f"a = {number}\n" for number in range(320)]
    made = transformed(texts, settings=InfillSettings(fim_rate=0.8, spm_rate=0.5, context_rate=0))
    layouts = [file.layout for file in made.files if file.layout]
    assert 230 < len(layouts) < 280
    for start in range(0, len(layouts) - 15, 16):
        assert layouts[start : start + 16].count("spm") == 8


def test_context_files_are_never_infilled():
    settings = InfillSettings(fim_rate=1, context_rate=1)
    made = transformed(["a\n"] * 5, settings=settings)
    assert [file.layout is None for file in made.files] == [True] * 4 + [False]


def test_chance_depends_on_seed_document_epoch_and_turn_alone():
    settings = InfillSettings(fim_rate=0.5, context_rate=0)
    texts = [file.text for file in library(12)]
    together = transformed(texts, settings=settings, seed=7)
    for index, file in enumerate(together.files):
        turns = Turns(layouts=sum(before.layout is not None for before in together.files[:index]))
        alone = transform([whole(file.fragment.document)], settings=settings, seed=7, epoch=0, turns=turns)
        assert alone.files == (file,), index
    assert transformed(texts, settings=settings, seed=7) == together
    assert transformed(texts, settings=settings, seed=8).files != together.files
    assert transformed(texts, settings=settings, seed=7, epoch=1).files != together.files


def test_another_rate_leaves_the_spans_of_what_is_infilled_as_they_were():
    texts = [file.text for file in library(12)]
    some = transformed(texts, settings=replace(ALWAYS, fim_rate=0.5, spm_rate=0.9))
    assert {file.layout is None for file in some.files} == {True, False}
    for few, many in zip(some.files, transformed(texts).files, strict=True):
        middles = [[piece.text for piece in file.pieces if piece.kind == "middle"] for file in (few, many)]
        assert middles[0] in ([], middles[1])


def test_fragments_are_infilled_each_by_its_own_chance_within_its_own_characters():
    file = library(1)[0]
    cut = file.text.index("\n") + 1
    fragments = [
        Fragment(document=file, start=0, end=cut, cut=CUTS[0]),
        Fragment(document=file, start=cut, end=len(file.text)),
    ]
    settings = replace(ALWAYS, span_weights=SpanWeights(nodes=1, rest_of_line=0, lines=0, block=0, characters=0))
    nodes = [(0, len(file.text)), (cut - 5, cut + 5), (cut + 10, cut + 20)]
    made = transform(fragments, settings=settings, seed=0, epoch=0, middle_nodes=lambda _: nodes)
    assert undo(made) == ((file.path, file.text[:cut]), (file.path, file.text[cut:]))
    # The first fragment holds no node, the second just one.
    assert [written.span_kind for written in made.files] == ["characters", "nodes"]
    middle = next(piece.text for piece in made.files[1].pieces if piece.kind == "middle")
    assert middle == file.text[cut + 10 : cut + 20]


@pytest.mark.parametrize("text", ["", "\n", " \t\r\n"])
def test_files_without_anything_visible_are_left_whole(text: str):
    assert not can_be_infilled(text)
    assert transformed([text]).files[0].layout is None


def test_no_documents_are_refused():
    with pytest.raises(ValueError, match=r"at least one document; got none\. Leave empty groups out\."):
        transform([], settings=ALWAYS, seed=0, epoch=0)


def test_a_path_of_two_lines_is_refused():
    with pytest.raises(ValueError, match="A path must be one line of text"):
        transform([whole(document("a", path="a\nb"))], settings=ALWAYS, seed=0, epoch=0)


@pytest.mark.parametrize("name", ["fim_rate", "spm_rate", "context_rate"])
def test_rates_lie_between_0_and_1(name: str):
    message = f"{name} must lie in [0, 1]; got 1.5. Give a chance such as 0.5."
    with pytest.raises(ValueError, match=re.escape(message)):
        InfillSettings(**{name: 1.5})


def test_lines_of_a_span_are_at_least_one():
    with pytest.raises(ValueError, match=r"max_lines must be at least 1; got 0\. Give a number of lines\."):
        InfillSettings(max_lines=0)


def test_characters_of_a_span_are_at_least_one():
    with pytest.raises(ValueError, match=r"max_characters must be at least 1; got 0\. Give a number, or None\."):
        InfillSettings(max_characters=0)


def test_middles_of_characters_have_no_more_than_the_settings_say():
    characters = SpanWeights(nodes=0, rest_of_line=0, lines=0, block=0, characters=1)
    made = [
        transformed(["some text to fill in\n" * 3], settings=replace(ALWAYS, span_weights=characters, max_characters=5),
                    seed=seed)
        for seed in range(200)
    ]  # fmt: skip
    middles = [piece.text for example in made for piece in example.pieces() if piece.kind == "middle"]
    assert {len(middle) for middle in middles} == {1, 2, 3, 4, 5}
