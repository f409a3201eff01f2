"""Mathematics sets as chats."""

import gzip
import json

import pytest

from training.corpus.decontamination import Benchmarks
from training.data import read_chats
from training.instructions.__main__ import main
from training.instructions.mathematics import Counts, conversations, last_boxed

GSM8K = {
    "question": "Tom has 3 boxes of 4 pens. How many pens?",
    "answer": "He has 3 * 4 = <<3*4=12>>12 pens.\n#### 12",
}
MATH = {"problem": "What is $1/2 + 1/4$?", "solution": r"It is $\boxed{\frac{3}{4}}$.", "level": "1"}
MATHQA = {
    "Problem": "half of 10 is ?",
    "Rationale": '"10 / 2 = 5 . answer : b"',
    "options": "a ) 4 , b ) 5 , c ) 1,000 , d ) 6 , e ) none",
    "correct": "b",
}


def written(folder, *items):
    path = folder / "set.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write("".join(json.dumps(item) + "\n" for item in items))
    return path


@pytest.mark.parametrize(
    ("kind", "item", "question", "answer"),
    [
        ("gsm8k", GSM8K, GSM8K["question"], "He has 3 * 4 = 12 pens.\nThe answer is 12."),
        ("math", MATH, MATH["problem"], MATH["solution"] + "\nThe answer is $\\frac{3}{4}$."),
        (
            "mathqa",
            MATHQA,
            "half of 10 is ?\na) 4\nb) 5\nc) 1,000\nd) 6\ne) none",
            "10 / 2 = 5 . answer : b\nThe answer is b) 5.",
        ),
    ],
)
def test_a_line_becomes_a_question_and_an_answer_that_can_be_read_off(tmp_path, kind, item, question, answer):
    (chat,) = conversations(written(tmp_path, item), kind, benchmarks=None, counts=Counts())
    assert [turn["content"] for turn in chat["messages"]] == [question, answer]
    assert [turn["role"] for turn in chat["messages"]] == ["user", "assistant"]


def test_questions_that_come_twice_or_have_no_answer_or_are_a_benchmarks_are_left_out(tmp_path):
    words = "seven merry gardeners planted tulips beside an old stone bridge near Lisbon before breakfast on Tuesday"
    benchmark = tmp_path / "test.jsonl"
    benchmark.write_text(json.dumps({"question": f"On that day {words}. How many?"}) + "\n")
    path = written(
        tmp_path,
        GSM8K,
        GSM8K,
        {"question": "And without?", "answer": "Nobody knows."},
        {"question": f"In spring {words}, who?", "answer": "All of them.\n#### 7"},
    )
    counts = Counts()
    found = list(conversations(path, "gsm8k", benchmarks=Benchmarks.from_files([benchmark]), counts=counts))
    assert len(found) == 1
    assert counts.found == {"kept": 1, "duplicate": 1, "no-answer": 1, "benchmark": 1}


def test_the_command_writes_chats_that_training_reads(tmp_path, capsys):
    target = tmp_path / "out/chats.jsonl"
    assert main(["mathematics", "gsm8k", str(written(tmp_path, GSM8K, GSM8K)), "--to", str(target)]) == 0
    assert json.loads(capsys.readouterr().out) == {"chats": 1, "duplicate": 1, "kept": 1}
    assert read_chats(target)[0][1]["content"].endswith("The answer is 12.")


def test_a_file_of_another_set_is_refused_by_line_and_field(tmp_path, capsys):
    path = written(tmp_path, GSM8K, MATH)
    assert main(["mathematics", "gsm8k", str(path), "--to", str(tmp_path / "chats.jsonl")]) == 1
    assert "Line 2 of" in (error := capsys.readouterr().err)
    assert "must have the text 'question'; got None (fields: ['level', 'problem', 'solution'])" in error
    assert not (tmp_path / "chats.jsonl").exists()


@pytest.mark.parametrize(
    ("solution", "expected"),
    [(r"\boxed{a}", "a"), (r"\boxed{1}, so \boxed{\{2\}}", r"\{2\}"), ("none", None), (r"\boxed{1", None)],
)
def test_the_last_box_is_read_with_its_braces(solution, expected):
    assert last_boxed(solution) == expected


@pytest.mark.shared
def test_real_training_questions_are_read_and_the_test_questions_are_left_out(shared_dir):
    folder = shared_dir / "eval_data/gsm8k"
    benchmarks = Benchmarks.from_files([folder / "test.jsonl.gz"])
    trained, tested = Counts(), Counts()
    kept = list(conversations(folder / "train_first200.jsonl.gz", "gsm8k", benchmarks=benchmarks, counts=trained))
    assert len(kept) >= 190
    assert not any("<<" in chat["messages"][1]["content"] for chat in kept)
    list(conversations(folder / "test.jsonl.gz", "gsm8k", benchmarks=benchmarks, counts=tested))
    assert tested.found["benchmark"] > 0.99 * sum(tested.found.values())
