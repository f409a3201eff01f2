"""The report of a small build: its figures are those of the sources, and the page is one that stands by itself."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.training.corpus import made_corpus
from training.corpus import charts, page, report
from training.corpus.job import Job
from training.corpus.ledger import Ledger, dropped
from training.corpus.measures import Measures
from training.corpus.steps import run_in_loop


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = made_corpus.job(tmp_path_factory.mktemp("made"))
    run_in_loop(job)
    return job


@pytest.fixture(scope="module")
def made(built: Job) -> dict:
    return report.make(built)


def test_every_stage_adds_up(made):
    for stage in made["stages"]:
        assert stage["files_in"] == stage["files_out"] + sum(item["files"] for item in stage["dropped"].values())
    assert [stage["files_in"] for stage in made["stages"]] == [26, 26, 24, 24, 23, 20, 19, 19]


def test_languages_and_tokens_are_those_of_the_corpus(made):
    assert made["languages"]["python"]["files"] == 18
    assert made["languages"]["text"]["files"] == 1
    assert made["languages"]["python"]["files_read"] == 24
    in_files = sum(item["tokens"] for item in made["languages"].values())
    corpus = made["corpus"]
    assert in_files < corpus["tokens"] < in_files + 3 * corpus["examples"] + 18  # <bos>, the end, separators
    assert corpus["packing_waste_rate"] == pytest.approx(1 - corpus["tokens"] / (corpus["rows"] * 512))


def test_shares_are_of_what_was_drawn(made):
    rates = made["rates"]
    assert rates["fim"]["infilled"]["count"] == sum(item["count"] for item in rates["layout"].values())
    for values in rates.values():
        assert not values or sum(item["share"] for item in values.values()) == pytest.approx(1)
    assert sum(made["histograms"]["example_tokens"].values()) == made["corpus"]["examples"]
    assert sum(made["histograms"]["middle_tokens"].values()) == rates["fim"]["infilled"]["count"]


def test_benchmarks_and_what_they_hit_are_named(made):
    assert made["benchmarks"]["files"] == {"benchmark.jsonl": {"rows": 1, "too_short": 0, "template_runs": 0}}
    (hit,) = made["benchmarks"]["hits"]
    assert (hit["path"], hit["hits"][0]["row"]) == ("solution.py", "T/0")
    assert made["redacted"] == {"key": 1}


def test_core_hours_follow_from_processor_time_and_tokens():
    ledger = Ledger()
    document = made_document(2_000_000)
    ledger.left("filter", document)
    found = report.speed(ledger, {"read": 1.0, "fitting": 3.0}, 1_000_000)
    assert found["whole"] == {"seconds": 4.0, "mb_per_second": 0.5}
    assert found["stages"]["read"]["mb_per_second"] == 2.0
    assert found["core_hours"]["1 trillion"] == pytest.approx(1e6 * 4 / 3600)


def made_document(size: int):
    from training.corpus.document import Document

    return Document(repository="r", path="a.py", revision="1", licence="MIT", language="python", text="x" * size)


def test_the_report_is_json_and_the_page_needs_nothing_else(made):
    assert json.loads(json.dumps(made))["corpus"] == made["corpus"]
    text = page.page(made)
    assert not re.search(r"(?:src|href)=|<script|@import|url\(", text)
    for name in ("benchmark-overlap", "near-duplicate", "T/0", "licence", "core-hours for 1 trillion tokens", "<svg"):
        assert name in text
    stack: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "rect"):
                stack.append(tag)

        def handle_endtag(self, tag):
            if tag == "rect":
                return
            assert stack.pop() == tag

    Tags().feed(text.replace("/>", "></rect>"))
    assert stack == []


def test_names_from_the_sources_cannot_write_the_page(made):
    hostile = "<script>alert(1)</script>"
    changed = json.loads(json.dumps(made))
    changed["benchmarks"]["hits"][0]["path"] = hostile
    changed["languages"][hostile] = changed["languages"]["python"]
    changed["recipe"]["name"] = hostile
    assert "<script>" not in page.page(changed)


def test_measures_add_up():
    one = Measures.from_json([{"layout": {"psm": 2}}, {"layout": {"psm": 1, "spm": 1}, "cut": {}}])
    assert one.as_json() == {"cut": {}, "layout": {"psm": 3, "spm": 1}}


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (999, "999"), (12345.6, "12\u2009346"), (0.12345, "0.123")])
def test_numbers_are_readable(value, text):
    assert charts.number(value) == text


def test_bars_are_in_proportion():
    svg = charts.bars({"a": 1.0, "b": 4.0, "c": 0.0}, title="t & u", unit=" files")
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height', svg)]
    assert widths[0] * 4 == pytest.approx(widths[1])
    assert widths[2] == 0
    assert "t &amp; u" in svg
    assert charts.bars({}, title="nothing").endswith("</svg>")


def test_an_unfinished_build_has_no_report(built, tmp_path):
    with pytest.raises(FileNotFoundError, match="A corpus folder must have a manifest"):
        report.make(replace(built, workdir=tmp_path))


def test_stages_without_files_are_listed():
    ledger = Ledger()
    document = made_document(3)
    ledger.entered("safety", document)
    ledger.left("safety", dropped(document, stage="safety", reason="secret"))
    found = {item["stage"]: item for item in report.stages(ledger)}
    assert found["safety"]["dropped"] == {"secret": {"files": 1, "bytes": 3}}
    assert found["read"]["files_in"] == 0
