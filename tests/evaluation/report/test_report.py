"""The three reports of a made run: figures by hand, published figures beside them, and a page that holds."""

import base64
import dataclasses
import hashlib
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from keras_codegemma.evaluation import records, report, settings
from keras_codegemma.evaluation.report import figures, page, plots
from keras_codegemma.evaluation.report.tables import Bar, tables
from tests.evaluation.report.pages import HOSTILE, Page, write_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def _row(folder: Path, title: str) -> dict[str, str]:
    """Cells of a row of report.md, by column."""
    head: list[str] = []
    for line in (folder / "report.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].strip() in ("task", "prompts", "documents"):
            head = cells
        if cells[0] == title:
            assert len(cells) == len(head)
            return dict(zip(head, cells, strict=True))
    raise AssertionError(title)


def test_figures_stand_beside_the_published_ones(folder: Path) -> None:
    made = report.write(folder, toolchains={"Rust": "rustc 1"})
    line = made["tasks"]["infilling-single-line-psm"]
    assert (line["pass_at"], line["passed"], line["pass_at_1_interval"]["clusters"]) == ({"1": 0.75}, 3, 2)
    row = _row(folder, "HumanEval infilling, single line, PSM")
    assert (row["problems"], row["pass@1"], row["pass@1 95%"]) == ("4", "75.00", "50.00 to 100.00")
    assert row["exact 95%"] == "0.00 to 84.19"  # none of 2 clusters: 1 - 0.025 ** (1 / 2)
    assert (row["exact"], row["edit"], row["stopped"], row["sampling s"]) == ("0.00", "25.00", "100.00", "2.0")
    # 543 seconds for 1,033 tasks: Table 2 of the report.
    assert (row["s/infill (timed)"], row["published s/infill"], row["published 2b"]) == ("0.500 (2)", "0.526", "78.41")
    assert _row(folder, "HumanEval")["published 2b"] == "31.10"
    text = (folder / "report.md").read_text()
    assert "- Rust: rustc 1\n" in text
    assert "- preset: code_gemma_2b_en, seed: 0\n" in text
    assert json.loads((folder / "report.json").read_text()) == made


def test_every_row_has_a_figure_or_the_reason_why_not(folder: Path) -> None:
    report.write(folder)
    assert _row(folder, "MBPP, 3 shots")["pass@1"] == "not run: the file is missing"
    boolq = _row(folder, "BoolQ")
    assert (boolq["figure"], boolq["published 2b"]) == ("not run (see below)", "bar chart only")
    assert "- BoolQ: not run: lm-eval is missing\n" in (folder / "report.md").read_text()
    gsm8k = _row(folder, "GSM8K")
    assert (gsm8k["problems"], gsm8k["figure"], gsm8k["figure 95%"]) == ("25 of 1319", "40.00", "20.40 to 59.60")
    assert "published 2b" in gsm8k
    assert gsm8k["published 2b"] == ""
    assert "ceiling" not in _row(folder, "HumanEval")  # of this table's rows none has one


def test_safety_that_could_not_be_measured_says_why(folder: Path) -> None:
    records.write_json(folder / settings.LEFT_OUT, {"safety": "bandit is missing"})
    report.write(folder)
    assert _row(folder, "not run: bandit is missing") == {"prompts": "not run: bandit is missing"}


def test_unfinished_stages_are_said(folder: Path) -> None:
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (folder / "results.jsonl").write_text("".join(lines[1:4]) + "{broken\n" + lines[5])
    made = report.write(folder)
    assert made["tasks"]["humaneval"]["error"] == "1 of 2 problems have no result yet"
    assert made["damaged_lines"][0]["line"] == 4
    assert "results.jsonl, damaged line 4: no JSON" in (folder / "report.md").read_text()


def test_without_leave_to_run_programs_texts_are_still_compared(tmp_path: Path) -> None:
    write_run(tmp_path, judged=False)
    report.write(tmp_path)
    row = _row(tmp_path, "HumanEval")
    assert row["pass@1"] == "not run: programs are run only with --run-untrusted-programs"
    assert row["exact"] == "50.00"


def test_a_model_without_published_figures_is_shown_all_of_them(tmp_path: Path) -> None:
    write_run(tmp_path, preset="code_gemma_tiny")
    report.write(tmp_path)
    row = _row(tmp_path, "HumanEval")
    names = ("2b", "1.1_2b", "7b", "instruct_7b", "1.1_instruct_7b")
    assert [row[f"published {name}"] for name in names] == ["31.10", "37.80", "44.50", "56.10", "60.40"]
    assert _row(tmp_path, "GSM8K")["published 7b"] == "44.20"


def test_the_tables_have_a_cell_for_every_column(folder: Path) -> None:
    run = figures.read(folder)
    own = [dataclasses.replace(problem, task="repository-line") for problem in run.problems]
    summary = {
        "memorisation": None,
        "secrets": {"prompts": 4, "with_finding": 1, "categories": {"keys": {"prompts": 4, "with_finding": 1}}},
        "insecure": {"prompts": 4, "parsed": 2, "secure": 1, "cwes": {"CWE-78": {"parsed": 2, "secure": 1}}},
    }
    for given in (run, dataclasses.replace(run, problems=own, safety=summary)):
        for table in tables(figures.make(given)):
            assert {len(row) for row in table.rows} == {len(table.columns)}, table.title
    names = [table.title for table in tables(figures.make(dataclasses.replace(run, problems=own, safety=summary)))]
    assert names[-3:] == ["Language and mathematics (published: Figure 3, Table 5)", "Memorisation", "Safety"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"must hold problems or results; .* holds none\. Run codegemma eval run"
    ):
        report.write(tmp_path)


# The page


def test_what_models_wrote_is_never_markup(folder: Path) -> None:
    report.write(folder)
    source = (folder / "report.html").read_text(encoding="utf-8")
    read = Page(source)
    assert [kind for kind, _ in read.scripts] == ["application/json", ""]
    assert "img" not in read.seen
    assert not any(name.startswith("on") for _, name, _ in read.attributes)
    shown = json.loads(read.scripts[0][1])
    assert [one["completion"] for one in shown][3] == HOSTILE
    assert shown[3]["detail"] == f"AssertionError {HOSTILE}"
    assert not re.search("[<>&]", read.scripts[0][1])


def test_the_page_needs_nothing_from_elsewhere(folder: Path) -> None:
    report.write(folder)
    read = Page((folder / "report.html").read_text(encoding="utf-8"))
    values = {(name, value) for _, name, value in read.attributes if name in ("src", "href", "xmlns")}
    assert values == {("xmlns", "http://www.w3.org/2000/svg")}
    policy = next(value for element, name, value in read.attributes if (element, name) == ("meta", "content"))
    digest = base64.b64encode(hashlib.sha256(read.scripts[1][1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_the_page_shows_every_sample_with_its_verdict_and_what_was_cut(folder: Path) -> None:
    report.write(folder)
    shown = json.loads(Page((folder / "report.html").read_text(encoding="utf-8")).scripts[0][1])
    assert [(one["id"], one["verdict"]) for one in shown] == [
        *((f"infilling-single-line-psm/{number}", "passed") for number in range(3)),
        ("infilling-single-line-psm/3", "failed"),
        *((f"humaneval/{number}", "failed") for number in (4, 5)),
    ]
    assert (shown[4]["completion"], shown[4]["cut"]) == ("    return 1\n", "\ndef other(): pass")
    assert shown[0]["prefix"].startswith(f"[{len('def f0():') + 1 + 14000 - page.PROMPT_CHARS} characters before]\n")
    assert shown[1]["suffix"] == "\nafter"


def test_tables_and_plots_are_on_the_page(folder: Path) -> None:
    report.write(folder)
    source = (folder / "report.html").read_text(encoding="utf-8")
    read = Page(source)
    assert read.seen.count("svg") == 3
    assert "75.00" in read.text
    for drawn in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        ElementTree.fromstring(drawn)


def test_bars_whiskers_and_marks_stand_where_the_figures_are() -> None:
    drawn = plots.chart([Bar(title="a <b>", value=50.0, low=25.0, high=100.0, published={"some & any": 75.0})])
    tree = ElementTree.fromstring(drawn[: drawn.index("</svg>") + len("</svg>")])
    space = "{http://www.w3.org/2000/svg}"
    room = plots.WIDTH - plots.LABELS - plots.FIGURES
    (bar,) = tree.findall(f"{space}rect")
    assert (float(bar.get("x", "")), float(bar.get("width", ""))) == (plots.LABELS, room / 2)
    whisker = next(line for line in tree.findall(f"{space}line") if line.get("class") == "whisker")
    assert [float(whisker.get(end, "")) for end in ("x1", "x2")] == [plots.LABELS + room / 4, plots.LABELS + room]
    (mark,) = tree.findall(f"{space}path")
    assert mark.get("d", "").startswith(f"M{plots.LABELS + 0.75 * room} {plots.ROW // 2 - 6}l")
    assert "published, some &amp; any" in drawn
    assert tree.findall(f"{space}text")[-2].text == "a <b>"


def test_results_of_unknown_problems_are_not_shown(folder: Path) -> None:
    run = figures.read(folder)
    assert len(page.samples(run)) == 6
    assert len(page.samples(dataclasses.replace(run, problems=run.problems[:2]))) == 2
    records.write(folder / "samples.jsonl", [], records.SAMPLE)
    assert page.samples(figures.read(folder)) == []
