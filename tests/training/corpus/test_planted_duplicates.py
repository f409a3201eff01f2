"""The measurement of near duplicates: edits are as large as they are called, and the report has its lines."""

from random import Random

import pytest

from tests.training.corpus import made_corpus
from training.corpus import planted_duplicates
from training.corpus.planted_duplicates import edited, jaccard
from training.corpus.words import words


def test_renamed_words_are_as_many_as_asked_for():
    text = " ".join(f"w{number}" for number in range(200))
    changed = edited(text, kind="words", rate=0.1, others=[""], rng=Random(1))
    assert sum(a != b for a, b in zip(text.split(), changed.split(), strict=True)) == 20


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_edited_lines_are_about_as_many_as_asked_for(rate):
    text = "".join(f"line {number}\n" for number in range(1000))
    changed = edited(text, kind="lines", rate=rate, others=["other\n"], rng=Random(1))
    kept = len(set(text.splitlines()) & set(changed.splitlines())) / 1000
    assert 1 - rate < kept < 1 - rate / 2  # lines that moved are still there


def test_jaccard_is_that_of_sets_of_runs():
    assert jaccard(words("a b c d"), words("a b c e"), 2) == pytest.approx(2 / 4)
    assert jaccard(words("a"), words("a"), 2) == 0


def test_copies_with_few_edits_are_found(tmp_path, capsys):
    folder = tmp_path / "real"
    folder.mkdir()
    for seed in range(12):
        (folder / f"{seed}.py").write_text(made_corpus.module(seed, functions=20), encoding="utf-8")
    assert planted_duplicates.main([str(folder), "--copies", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "12 files and 64 planted copies; threshold 0.7"
    found = {tuple(line.split()[:2]): float(line.split()[3]) for line in lines[2:10]}
    assert found["lines", "5%"] == 1.0
    assert set(found) == {(kind, f"{rate:.0%}") for kind in ("lines", "words") for rate in (0.05, 0.1, 0.15, 0.2)}
    assert lines[10].startswith("precision: ")


def test_nothing_to_plant_among_is_said(tmp_path, capsys):
    (tmp_path / "short.py").write_text("x = 1\n", encoding="utf-8")
    assert planted_duplicates.main([str(tmp_path)]) == 1
    assert "Copies are planted among files of at least 20 lines; got none" in capsys.readouterr().err
