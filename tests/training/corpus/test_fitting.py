"""Fitting: nothing longer than a row, nothing lost, cuts at syntax, and the documents back from rows."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_codegemma.tokenizer import CodeGemmaTokenizer
from tests.training.corpus.packed import PIECES, TEXTS, document, library, real_encoder, tiny_encoder
from training.corpus.document import Document, Dropped
from training.corpus.fitting import Fitter, FittingSettings
from training.corpus.infill import InfillSettings
from training.corpus.packing import PackingReport, pack
from training.corpus.rows import from_bytes, to_bytes
from training.corpus.text_encoder import TextEncoder
from training.corpus.tokenising import Encoded, LossSettings, decode

MIXED = InfillSettings(fim_rate=0.8, context_rate=0.5)


def fitter(length: int, *, encoder: TextEncoder | None = None, infilling: InfillSettings = MIXED, **options) -> Fitter:
    return Fitter(
        encoder or tiny_encoder(),
        settings=options.pop("fitting", None) or FittingSettings(sequence_length=length),
        infilling=infilling,
        loss=LossSettings(),
        seed=options.pop("seed", 0),
        **options,
    )


def encoded_only(results: Iterable[Encoded | Dropped]) -> list[Encoded]:
    found = []
    for result in results:
        assert isinstance(result, Encoded), result
        found.append(result)
    return found


def rejoined(examples: Iterable[Encoded], tokenizer: CodeGemmaTokenizer) -> dict[str, tuple[str, str]]:
    """(path, text) by document id, put together from what the ids decode to; refuses gaps and overlaps."""
    parts = defaultdict(list)
    for encoded in examples:
        for file, (path, text) in zip(encoded.files, decode(encoded.token_ids, tokenizer=tokenizer), strict=True):
            assert len(text) == file.end - file.start
            parts[file.document_id].append((file.start, file.end, path, text))
    documents = {}
    for document_id, found in parts.items():
        found.sort()
        assert [start for start, *_ in found] == [0, *(end for _, end, *_ in found[:-1])]
        assert len({path for _, _, path, _ in found}) == 1
        documents[document_id] = (found[0][2], "".join(text for *_, text in found))
    return documents


def assert_all_there(examples: Iterable[Encoded], documents: Sequence[Document], tokenizer: CodeGemmaTokenizer):
    assert rejoined(examples, tokenizer) == {file.id: (file.path, file.text) for file in documents}


@settings(max_examples=60)
@example(["".join(PIECES)] * 2, 0)
@example(["", "\n", "x" * 500, "\r\n" * 90, "日本" * 99, "", "a\n" * 200], 1)
@given(st.lists(TEXTS.map(lambda text: text * 3), min_size=1, max_size=5), st.integers(0, 99))
def test_every_document_comes_back_from_the_records_of_packed_rows(texts: list[str], seed: int):
    documents = [document(text, path=f"f{index}") for index, text in enumerate(texts)]
    examples = encoded_only(fitter(64, seed=seed).fit(documents))
    assert all(len(encoded) <= 64 for encoded in examples)
    rows = [from_bytes(to_bytes(row)) for row in pack(examples, sequence_length=64)]
    assert_all_there((encoded for row in rows for encoded in row.examples), documents, tiny_encoder().tokenizer)


@pytest.mark.parametrize("length", [1024, 8192])
def test_real_files_come_back_and_waste_is_below_2_percent(length: int):
    files = library(40)
    examples = encoded_only(fitter(length).fit(files))
    report = PackingReport()
    rows = list(pack(examples, sequence_length=length, report=report))
    assert_all_there((encoded for row in rows for encoded in row.examples), files, tiny_encoder().tokenizer)
    assert report.waste_rate < 0.02


@pytest.mark.shared
@pytest.mark.parametrize("length", [1024, 8192])
def test_waste_is_below_2_percent_with_256k_pieces(length: int):
    files = library(120)
    report = PackingReport()
    examples = encoded_only(fitter(length, encoder=real_encoder()).fit(files))
    assert all(row for row in pack(examples, sequence_length=length, report=report))
    assert report.examples == len(examples)
    assert report.waste_rate < 0.02


def test_files_keep_their_order():
    files = library(12)
    examples = encoded_only(fitter(2048).fit(files))
    order = [(files.index(next(f for f in files if f.id == file.document_id)), file.start)
             for encoded in examples for file in encoded.files]  # fmt: skip
    assert order == sorted(order)


@pytest.mark.parametrize("rate", [0.3, 0.5])
def test_shapes_of_a_repository_come_at_their_rate(rate: float):
    examples = encoded_only(fitter(1024, infilling=InfillSettings(context_rate=rate)).fit(library(120)))
    several = [encoded for encoded in examples if len(encoded.files) > 1]
    with_context = sum(encoded.files[0].role == "context" for encoded in several)
    assert len(several) > 100
    assert with_context == pytest.approx(rate * len(several), abs=1)


def test_files_that_fit_stay_whole():
    files = [document(f"x = {index}\n" * 10, path=f"f{index}") for index in range(30)]
    examples = encoded_only(fitter(512).fit(files))
    assert all(file.cut is None and file.start == 0 for encoded in examples for file in encoded.files)
    assert len(examples) < 10


def test_a_short_file_that_does_not_fit_in_begins_the_next_example_and_a_long_one_fills_the_first():
    half = document("a = 1\n" * 75, path="a")  # 375 tokens
    short, long = document("b = 2\n" * 60, path="b"), document("b = 2\n" * 90, path="b")
    fitting = FittingSettings(sequence_length=512, split_above=0.7)
    assert [len(encoded.files) for encoded in encoded_only(fitter(512, fitting=fitting).fit([half, short]))] == [1, 1]
    first, second = encoded_only(fitter(512, fitting=fitting).fit([half, long]))
    assert [file.cut for file in first.files] == [None, "line"]
    assert first.files[1].end == second.files[0].start
    assert len(first) > 490


def functions(count: int) -> tuple[str, list[int]]:
    text, begins = "", []
    for index in range(count):
        begins.append(len(text))
        text += f"def f{index}(a):\n    b = a + {index}\n    return b\n\n"
    return text, begins


def test_cuts_are_at_split_points_where_one_is_near():
    text, begins = functions(60)
    fitting = FittingSettings(sequence_length=256, slack=0.3)
    examples = encoded_only(fitter(256, fitting=fitting, split_points=lambda _: begins).fit([document(text)]))
    cuts = [file for encoded in examples for file in encoded.files if file.cut]
    assert len(cuts) > 3
    assert {file.cut for file in cuts} == {"syntax"}
    assert {file.end for file in cuts} <= set(begins)


def test_cuts_are_at_statements_where_no_split_point_is_near():
    text, begins = functions(60)
    nodes = [(found.start(), found.end()) for found in re.finditer(r"return b", text)]
    fitting = FittingSettings(sequence_length=256, slack=0.3)
    cut = fitter(256, fitting=fitting, split_points=lambda _: begins[:1], middle_nodes=lambda _: nodes)
    examples = encoded_only(cut.fit([document(text)]))
    cuts = [file for encoded in examples for file in encoded.files if file.cut]
    assert {file.cut for file in cuts} == {"statement"}
    assert all(text[file.end :].startswith("    return b") for file in cuts)


def test_cuts_are_between_lines_without_syntax_and_inside_them_only_where_a_line_is_too_long():
    text, _ = functions(60)
    cuts = Counter(
        file.cut
        for encoded in encoded_only(fitter(256).fit([document(text), document("long " * 900, path="b")]))
        for file in encoded.files
    )
    assert cuts["line"] > 3
    assert cuts["character"] > 2
    assert set(cuts) == {"line", "character", None}


def test_a_cut_never_parts_the_two_characters_of_a_line_end():
    text = "\r\n" * 4000
    examples = encoded_only(fitter(64).fit([document(text)]))
    assert len(examples) > 10
    assert all(file.end % 2 == 0 for encoded in examples for file in encoded.files)


def test_examples_that_come_out_longer_than_measured_are_made_again_with_less():
    # Middles of one character inside long words cost more tokens than the reserve has.
    text = "internationalization_of_configuration\n" * 400
    infilling = InfillSettings(fim_rate=1, context_rate=0)
    files = [document(text, path="a"), *(document("configuration " * 9, path=f"b{index}") for index in range(40))]
    examples = encoded_only(fitter(256, infilling=infilling).fit(files))
    assert max(map(len, examples)) <= 256
    assert_all_there(examples, files, tiny_encoder().tokenizer)


def test_a_document_is_parsed_once_however_many_fragments_it_has():
    text, begins = functions(200)
    parsed = []

    def nodes(file: Document) -> list[tuple[int, int]]:
        parsed.append(file.path)
        return [(begin, begin + 10) for begin in begins]

    files = [document(text, path="a"), document(text, path="b")]
    examples = encoded_only(fitter(256, middle_nodes=nodes).fit(files))
    assert len(examples) > 20
    assert parsed == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"path": "a\nb"}, "not-writable"),
        ({"path": ""}, "not-writable"),
        ({"path": "a\udcff"}, "not-writable"),
        ({"text": "a\udcff"}, "not-writable"),
        ({"path": "a/" * 200}, "path-too-long"),
    ],
)
def test_what_cannot_be_written_is_dropped_with_its_reason(changes: dict[str, str], reason: str):
    values = {"text": "x = 1\n", "path": "a.py", **changes}
    bad, good = document(**values), document("y = 2\n", path="b.py")
    dropped, encoded = fitter(128).fit([bad, good])
    assert isinstance(dropped, Dropped)
    assert (dropped.document_id, dropped.stage, dropped.reason) == (bad.id, "fitting", reason)
    assert isinstance(encoded, Encoded)
    assert [file.document_id for file in encoded.files] == [good.id]


def test_no_documents_give_no_examples():
    assert list(fitter(128).fit([])) == []


def test_examples_are_no_longer_than_the_length_drawn_for_them_and_nothing_is_lost():
    files = library(40)
    fitting = FittingSettings(sequence_length=1024, example_lengths=(128, 256, 1024))
    examples = encoded_only(fitter(1024, fitting=fitting).fit(files))
    assert_all_there(examples, files, tiny_encoder().tokenizer)
    # Files are long, so most examples are nearly as long as they may be.
    near = Counter(least for least in (128, 256, 1024) for one in examples if 0.8 * least < len(one) <= least)
    assert min(near.values()) > 0.15 * len(examples)
    assert sum(near.values()) > 0.7 * len(examples)
    rows = list(pack(examples, sequence_length=1024))
    assert max(len(row.examples) for row in rows) > 4


def test_without_example_lengths_nothing_is_drawn():
    files = library(10)
    one = FittingSettings(sequence_length=512, example_lengths=(512,))
    texts = [
        [encoded.token_ids.tolist() for encoded in encoded_only(fitter(512, fitting=fitting).fit(files))]
        for fitting in (one, FittingSettings(sequence_length=512))
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("lengths", [(63,), (128, 1025)])
def test_example_lengths_lie_between_the_least_and_a_row(lengths: tuple[int, ...]):
    message = re.escape(f"example_lengths must lie in [64, sequence_length=1024]; got {lengths[-1]}. Leave it out")
    with pytest.raises(ValueError, match=message):
        FittingSettings(sequence_length=1024, example_lengths=lengths)


def test_a_row_must_have_room():
    with pytest.raises(ValueError, match="sequence_length must be at least 64, room for a path and sentinels; got 63"):
        FittingSettings(sequence_length=63)


@pytest.mark.parametrize("name", ["split_above", "slack", "least"])
def test_shares_lie_between_0_and_1(name: str):
    with pytest.raises(ValueError, match=re.escape(f"{name} must lie in [0, 1]; got -0.1. Give a share of a row.")):
        FittingSettings(**{name: -0.1})


@given(st.text(alphabet="ab \t\n", min_size=1, max_size=60), st.data())
def test_a_cut_at_a_statement_is_at_the_last_line_that_begins_with_a_node(text: str, data: st.DataObject):
    places = st.integers(0, len(text) - 1)
    starts = sorted(data.draw(st.sets(places)))
    first, last = sorted((data.draw(places), data.draw(places)))
    measure = fitter(64, middle_nodes=lambda _: [(start, start + 1) for start in starts])._measure(document(text))

    lines = {text.rfind("\n", 0, start) + 1 for start in starts if not text[:start].rpartition("\n")[2].strip()}
    assert measure.last_node_line(first, last) == max((at for at in lines if first < at <= last), default=None)
