"""Generated code that is kept only when its tests pass, in real boxes."""

import json

import pytest

from keras_codegemma.evaluation.execution import Executor
from keras_codegemma.evaluation.sandbox import PlainProcesses
from tests.conftest import ON_CI
from training.data import read_chats
from training.instructions import code
from training.instructions.__main__ import main
from training.preference import read_preferences

PROMPT = "Write `double(x)`."
TESTS = "assert double(2) == 4\nassert double(-1) == -2\n"


def fenced(program: str) -> str:
    return f"Here it is:\n```python\n{program}\n```\nIt doubles."


ANSWERS = {
    "passed": fenced("def double(x):\n    return 2 * x"),
    "duplicate": fenced("# by addition? no\ndef double(x):\n    return (2 * x)"),
    "failed": fenced("def double(x):\n    return x * x"),
    "error": fenced("def double(x):\n    return y"),
    "timeout": fenced("def double(x):\n    while True: pass"),
    "no-program": "I cannot do that.",
}


def lines(*responses: str, tests: str = TESTS) -> list[dict[str, str]]:
    return [{"prompt": PROMPT, "response": response, "tests": tests} for response in responses]


def written(folder, items):
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


@pytest.fixture(scope="module")
def executor():
    # Every program here is ours.
    sandbox = PlainProcesses(accept_that_nothing_is_isolated=True)
    with Executor(sandbox, workers=2, allow_execution=True) as found:
        yield found


def build(path, folder, executor, **options):
    answers = code.read_answers(path)
    verdicts = code.judge(answers, executor, benchmarks=None, seconds=1, folder=folder, **options)
    return code.write_results(answers, verdicts, folder)


def test_what_passes_becomes_a_chat_and_with_what_does_not_a_preference(tmp_path, executor):
    report = build(written(tmp_path, lines(*ANSWERS.values())), tmp_path / "out", executor)
    assert report["verdicts"] == dict.fromkeys(sorted(ANSWERS), 1)
    assert report["chats"] == report["preferences"] == 1
    ((_, turn),) = read_chats(tmp_path / "out/chats.jsonl")
    assert turn["content"] == ANSWERS["passed"]
    (pair,) = read_preferences(tmp_path / "out/preferences.jsonl")
    assert (pair.messages[0]["content"], pair.chosen, pair.rejected) == (PROMPT, ANSWERS["passed"], ANSWERS["failed"])


def test_a_build_that_was_stopped_runs_only_what_is_left(tmp_path, executor):
    path = written(tmp_path, lines(*list(ANSWERS.values())[:3]))
    folder = tmp_path / "out"

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        build(path, folder, executor, progress=stop)
    ran = []
    report = build(path, folder, executor, progress=lambda done, total: ran.append((done, total)))
    assert ran == [(1, 1)]
    assert report["verdicts"] == {"duplicate": 1, "failed": 1, "passed": 1}
    assert build(path, folder, executor, progress=lambda done, total: ran.append((done, total))) == report
    assert ran == [(1, 1)]


@pytest.mark.parametrize(
    ("response", "tests", "verdict"),
    [
        (ANSWERS["passed"], "double", "no-test"),
        (ANSWERS["passed"], "'a text'", "no-test"),
        (ANSWERS["passed"], "assert double(", "no-test"),
        ("```bash\nls\n```", TESTS, "no-program"),
        ('"""Only words."""', TESTS, "no-program"),
        ("def double(x):\n    return x + x", TESTS, "passed"),
        ("```\ndef double(x):\n    return z(x)\n```\nand\n```py\ndef z(x):\n    return 2 * x\n```", TESTS, "passed"),
    ],
)
def test_programs_are_the_python_blocks_and_tests_must_be_able_to_fail(tmp_path, executor, response, tests, verdict):
    report = build(written(tmp_path, lines(response, tests=tests)), tmp_path / "out", executor)
    assert report["verdicts"] == {verdict: 1}


def test_pieces_of_benchmarks_are_neither_run_nor_kept(tmp_path, executor):
    from training.corpus.decontamination import Benchmarks

    known = (
        "def nearest_village(roads, lanterns, harbour, compass):\n    return sorted(roads, key=lanterns.index)[harbour]"
    )
    benchmark = tmp_path / "bench.jsonl"
    benchmark.write_text(json.dumps({"solution": known}) + "\n")
    (answer,) = code.read_answers(written(tmp_path, lines(fenced(known), tests="nearest()")))
    benchmarks = Benchmarks.from_files([benchmark])
    verdicts = code.judge([answer], executor, benchmarks=benchmarks, seconds=1, folder=tmp_path / "out")
    assert verdicts == {answer.name: "benchmark"}
    assert code.write_results([answer], verdicts, tmp_path / "out")["chats"] == 0


def test_the_command_wants_to_be_allowed_and_names_bad_lines(tmp_path, capsys):
    path = written(tmp_path, [{"prompt": "a", "response": "b"}])
    assert main(["code", str(path), "--to", str(tmp_path / "out")]) == 2
    assert "Pass --run-untrusted-programs" in capsys.readouterr().err
    assert main(["code", str(path), "--to", str(tmp_path / "out"), "--run-untrusted-programs"]) == 1
    assert "Line 1 of" in (error := capsys.readouterr().err)
    assert "must have the text 'tests'" in error
    path.write_text("\n")
    assert main(["code", str(path), "--to", str(tmp_path / "out"), "--run-untrusted-programs"]) == 1
    assert "must hold at least one" in capsys.readouterr().err


def test_the_command_runs_programs_in_boxes(tmp_path, capsys):
    path = written(tmp_path, lines(ANSWERS["passed"], ANSWERS["failed"]))
    result = main(["code", str(path), "--to", str(tmp_path / "out"), "--run-untrusted-programs"])
    output = capsys.readouterr()
    if result == 1 and "bubblewrap" in output.err and not ON_CI:
        pytest.skip(f"boxes need bubblewrap: {output.err.strip()}")
    assert json.loads(output.out)["verdicts"] == {"failed": 1, "passed": 1}
