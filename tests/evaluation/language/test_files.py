"""What can be wrong with a benchmark file, and what is said of it; results and answers as files."""

import gzip
import json
import re
from pathlib import Path

import pytest

from keras_codegemma.evaluation import language
from keras_codegemma.evaluation.datasets import sources
from keras_codegemma.evaluation.language import TASKS, files, results
from keras_codegemma.evaluation.language.answers import Answers
from tests.evaluation.language import made_data
from tests.fresh_process import ROOT, run_python


def load(folder: Path, content: bytes) -> files.Data:
    path = folder / "boolq/val.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(content)
    return files.load(TASKS["boolq"], folder, allow_other_data=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "boolq/val.jsonl.gz must be gzipped JSON Lines; it cannot be read (Not a gzipped file"),
        (gzip.compress(b'{"question": 1}\n')[:-12], "it cannot be read (Compressed file ended before"),
        (gzip.compress(b"{half"), "boolq/val.jsonl.gz must be gzipped JSON Lines; it cannot be read (Expecting"),
        (gzip.compress(b""), "boolq/val.jsonl.gz must hold at least one problem; got none. Fetch the original."),
        (gzip.compress(b'{"question": "q"}\n'), "must have its benchmark's own fields; got KeyError('label'). Correct"),
        (gzip.compress(b"[1]\n"), "must have its benchmark's own fields; got TypeError("),
        (gzip.compress(b'{"label": "maybe"}\n'), "must have its benchmark's own fields; got KeyError('maybe')"),
    ],
    # Compressed bytes carry the time; parallel test workers must agree on the names of tests.
    ids=["no gzip", "cut off", "no json", "empty", "no label", "a list", "no such label"],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, content, message):
    with pytest.raises(files.UnusableDataError, match=re.escape(message)):
        load(tmp_path, content)


def test_line_separators_within_a_text_do_not_end_a_line(tmp_path):
    row = {"question": "a\u2028b", "passage": "c\x0bd", "idx": 0, "label": "true"}
    line = json.dumps(row, ensure_ascii=False).replace("\\u000b", "\x0b")
    loaded = load(tmp_path, gzip.compress(line.replace("\x0b", " ").encode()))
    assert loaded.parts[0].problems[0]["question"] == "a\u2028b"


def test_triviaqa_of_five_rows_has_shots_but_no_problem(tmp_path):
    name = "triviaqa/test_sample1000.jsonl.gz"
    folder = made_data.write(tmp_path, {name: made_data.ROWS[name][:5]})
    with pytest.raises(files.UnusableDataError, match="must hold at least one problem; got none"):
        files.load(TASKS["triviaqa"], folder, allow_other_data=True)


@pytest.mark.shared
def test_another_compression_of_the_same_rows_is_the_same_file(tmp_path, shared_dir):
    name = "winogrande/dev.jsonl.gz"
    content = gzip.decompress((shared_dir / "eval_data" / name).read_bytes())
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(gzip.compress(content, 1))
    loaded = files.load(TASKS["winogrande"], tmp_path, allow_other_data=False)
    assert (loaded.available, loaded.other) == (1267, False)
    assert loaded.hashes == files.hashes(TASKS["winogrande"], shared_dir / "eval_data")


def test_every_task_states_its_files_metrics_and_deviation():
    for name, task in TASKS.items():
        assert task.name == name
        assert task.metrics
        assert task.deviation.startswith("The harness' ")
        assert set(task.files) <= sources().keys()
    assert {name for name, task in TASKS.items() if task.published} == {"gsm8k", "math"}
    assert [TASKS[name].shots for name in ("mmlu", "triviaqa", "gsm8k", "math")] == [5, 5, 5, 4]


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "language").mkdir()
    path = tmp_path / "language/boolq.json"
    for text in ("{", "[]", '{"task": "boolq", "title": "BoolQ", "figures": {}, "surprise": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"boolq\.json must be a result of `language\.run`; it cannot be read .*"):
            language.read(tmp_path)


def test_a_result_survives_writing_and_reading(tmp_path):
    result = results.Result(
        task="piqa",
        title="PIQA",
        figures={"acc": results.Figure(value=0.5, standard_error=None)},
        problems=1,
        limit=1,
        published={"code_gemma_7b_en": 1.5},
    )
    (tmp_path / "language").mkdir()
    results.write(tmp_path, result)
    assert language.read(tmp_path) == {"piqa": result}
    assert language.read(tmp_path / "nothing here") == {}


def test_answers_survive_a_cut_within_a_line_and_are_asked_for_once(tmp_path):
    path = tmp_path / "answers.jsonl"
    with Answers(path) as first:
        assert first.of(["a"], lambda: [[-1.25, True]]) == [[-1.25, True]]
        assert first.of(["b"], lambda: ["text\n"]) == ["text\n"]
        with pytest.raises(ZeroDivisionError):
            first.of(["c"], lambda: [1 / 0])
    path.write_bytes(path.read_bytes()[:-9])
    with Answers(path) as second:
        assert second.of(["a"], lambda: pytest.fail("known")) == [[-1.25, True]]
        assert second.of(["b"], lambda: ["again"]) == ["again"]
        second.delete()
    assert not path.exists()


def test_the_package_of_tasks_needs_neither_keras_nor_the_harness():
    code = (
        "import sys\nfrom keras_codegemma.evaluation import language\n"
        "language.TASKS, language.read('.'), language.run\n"
        "print(sorted({'keras', 'jax', 'lm_eval', 'datasets', 'pandas'} & set(sys.modules)))"
    )
    result = run_python("-c", code)
    assert result.stdout.decode().strip() == "[]", result.stderr.decode()
    assert (ROOT / "keras_codegemma/evaluation/language/__init__.py").exists()
