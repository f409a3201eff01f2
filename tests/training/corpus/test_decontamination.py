"""Benchmarks in documents: found whatever their case and layout, and what says nothing is not looked for."""

import gzip
import json
import re

import pytest

from training.corpus.decontamination import Benchmarks, DecontaminationSettings, Hit

PROBLEM = "Return the largest even number below limit that no other entry of values divides without remainder"
SETTINGS = DecontaminationSettings(run_words=6, least_different_words=4)


def benchmark(tmp_path, rows, *, name="set.jsonl", settings=SETTINGS) -> Benchmarks:
    path = tmp_path / name
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return Benchmarks.from_files([path], settings)


@pytest.mark.parametrize("name", ["set.jsonl", "set.jsonl.gz"])
def test_a_piece_is_found_whatever_its_case_and_layout(tmp_path, name):
    found = benchmark(tmp_path, [{"task_id": "T/1", "prompt": PROBLEM}], name=name)
    text = "x = 1\n# the LARGEST even\n#   number, below limit (that)\ny = 2"
    assert found.hits(text) == (
        Hit(benchmark=name, row="T/1", text="the LARGEST even\n#   number, below limit", runs=2),
    )


def test_a_piece_one_word_too_short_is_not(tmp_path):
    found = benchmark(tmp_path, [{"task_id": "T/1", "prompt": PROBLEM}])
    assert found.hits("largest even number below limit") == ()
    assert found.hits("largest even number below limit that") != ()
    assert found.hits("") == ()


def test_every_string_of_a_row_counts_and_strings_are_not_joined(tmp_path):
    rows = [{"id": 7, "deep": [{"a": "one two three four five six"}, "seven eight nine ten eleven twelve"]}]
    found = benchmark(tmp_path, rows)
    assert [hit.row for hit in found.hits("seven eight nine ten eleven twelve")] == ["7"]
    assert found.hits("four five six seven eight nine") == ()


@pytest.mark.parametrize(
    "text", ["1, 2, 3, 4, 5, 6, 7, 8", "a b c d e f g h i j", "print(x) print(x) print(x) print(x)", "x1 1 y1 2 z1 3 4"]
)
def test_runs_that_say_nothing_are_not_looked_for(tmp_path, text):
    found = benchmark(tmp_path, [{"prompt": text}])
    assert len(found) == 0
    assert found.too_short == {"set.jsonl": 1}


def test_templates_are_not_looked_for(tmp_path):
    template = "import everything from the standard library of values"
    names = ["alpha", "beta", "gamma", "delta"]
    rows = [
        {"prompt": f"{template}; {' '.join(f'{name}{number}' for name in names)} differs every time"}
        for number in range(20)
    ]
    found = benchmark(tmp_path, rows)
    assert found.hits(template) == ()
    assert [hit.row for hit in found.hits(rows[3]["prompt"])] == ["3"]
    assert found.templates["set.jsonl"] == 3
    few = benchmark(tmp_path, rows[:19])
    assert [hit.row for hit in few.hits(template)] == ["0"]


def test_files_of_other_kinds_are_one_text_and_folders_are_searched(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jsonl").write_text(json.dumps({"q": PROBLEM}) + "\n\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("nobody reads this file of the folder", encoding="utf-8")
    assert list(Benchmarks.from_files([tmp_path], SETTINGS).rows.items()) == [("a.jsonl", 1)]
    single = Benchmarks.from_files([tmp_path / "notes.md"], SETTINGS)
    assert [hit.row for hit in single.hits("Nobody reads this file of the folder?")] == ["text"]


def test_no_benchmarks_hit_nothing():
    assert Benchmarks.from_files([]).hits(PROBLEM) == ()


def test_what_was_saved_finds_the_same(tmp_path):
    found = benchmark(tmp_path, [{"prompt": PROBLEM}, {"prompt": "short"}])
    found.save(tmp_path / "benchmarks.npz")
    loaded = Benchmarks.load(tmp_path / "benchmarks.npz")
    assert loaded.hits(PROBLEM) == found.hits(PROBLEM) != ()
    assert (loaded.rows, loaded.too_short, loaded.templates) == (found.rows, found.too_short, found.templates)
    assert loaded.settings == found.settings


def test_broken_benchmarks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Benchmark files must be there; got .*nowhere. Correct the path"):
        Benchmarks.from_files([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match=r"A folder of benchmarks has .jsonl .* without. Name the files"):
        Benchmarks.from_files([tmp_path])
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a"', encoding="utf-8")
    with pytest.raises(ValueError, match=r"one JSON object a line; got .* in line 2 of .*x\.jsonl. Repair the file"):
        Benchmarks.from_files([tmp_path])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"run_words": 0}, "Runs have at least one word; got run_words=0"),
        ({"long_run_words": 0}, "Runs have at least one word; got long_run_words=0"),
        ({"run_words": 3}, "A run of 3 words cannot have 6 different ones. Lower the number of different words or"),
        ({"least_different_long": 17}, "A run of 16 words cannot have 17 different ones. Lower the number of"),
        ({"most_row_rate": 0.0}, r"A rate lies in \(0, 1\]; got most_row_rate=0.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DecontaminationSettings(**fields)


def test_long_runs_may_have_fewer_different_words(tmp_path):
    text = "def power(x, n): p = 1; while n > 0: p = p * x; n = n - 1; return p"  # 20 words, 4 of them of two letters
    rows = [{"code": text}]
    assert [hit.row for hit in benchmark(tmp_path, rows, settings=DecontaminationSettings()).hits(text)] == ["0"]
    alike = DecontaminationSettings(least_different_long=5)
    assert benchmark(tmp_path, rows, settings=alike).hits(text) == ()


@pytest.mark.shared
def test_most_solutions_of_mbpp_are_found_on_their_own(shared_dir):
    path = shared_dir / "eval_data" / "mbpp" / "mbpp.jsonl.gz"
    found = Benchmarks.from_files([path])
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        solutions = [json.loads(line)["code"] for line in lines]
    long = [code for code in solutions if len(re.findall(r"[a-z0-9_]+", code.lower())) >= 16]
    assert (len(solutions), len(long)) == (974, 682)
    assert sum(bool(found.hits(code)) for code in solutions) >= 846
    assert sum(bool(found.hits(code)) for code in long) >= 679


@pytest.mark.shared
def test_solutions_of_humaneval_are_found_on_their_own(shared_dir):
    path = shared_dir / "eval_data" / "human_eval" / "HumanEval.jsonl.gz"
    found = Benchmarks.from_files([path])
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    prompts = [bool(found.hits("# x\n" + row["prompt"])) for row in rows]
    solutions = [bool(found.hits(row["canonical_solution"])) for row in rows]
    assert sum(prompts) >= 163  # the prompt of one problem has no ten words that tell
    assert sum(solutions) >= 114  # the others are shorter
