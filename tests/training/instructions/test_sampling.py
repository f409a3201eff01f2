"""Answers drawn from a preset, which `code` can read, and that go on where they were stopped."""

import json
import re

import pytest

import keras_codegemma as kcg
from training.instructions import code
from training.instructions.__main__ import main
from training.instructions.sampling import SamplingSettings, Task, read_tasks, sample

TASKS = [
    Task(prompt="def double(x):\n    return", tests="assert double(2) == 4"),
    Task(prompt="def negated(x):\n    return", tests="assert negated(2) == -2"),
]


@pytest.fixture(scope="module")
def lm() -> kcg.CodeGemmaCausalLM:
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")


def written(folder, items):
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


@pytest.mark.parametrize("form", ["chat", "code"])
def test_each_prompt_has_its_answers_which_differ(lm, tmp_path, form):
    path = tmp_path / "answers.jsonl"
    settings = SamplingSettings(samples=3, form=form, max_new_tokens=12, temperature=1.0, top_p=1.0)
    assert sample(lm, TASKS, path, settings=settings) == 6
    items = [json.loads(line) for line in path.read_text().splitlines()]
    assert [item["prompt"] for item in items] == [TASKS[0].prompt] * 3 + [TASKS[1].prompt] * 3
    assert [item["tests"] for item in items[::3]] == [task.tests for task in TASKS]
    assert len({item["response"] for item in items}) == 6
    assert not any("<end_of_turn>" in item["response"] for item in items)
    if form == "code":
        answers = code.read_answers(path)
        assert all(answer.program.startswith(answer.prompt) for answer in answers)


def test_sampling_goes_on_where_it_was_stopped(lm, tmp_path):
    path = tmp_path / "answers.jsonl"
    few = SamplingSettings(samples=2, form="code", max_new_tokens=4)
    assert sample(lm, TASKS, path, settings=few) == 4
    before = path.read_text()
    path.write_text(before + '{"prompt": "cut o')
    more = SamplingSettings(samples=3, form="code", max_new_tokens=4)
    told = []
    assert sample(lm, TASKS, path, settings=more, progress=lambda *numbers: told.append(numbers)) == 2
    assert path.read_text().startswith(before)
    assert len(path.read_text().splitlines()) == 6
    assert told == [(1, 2), (2, 2)]
    assert sample(lm, TASKS, path, settings=more) == 0
    # What was added is what would have been drawn at once.
    assert sample(lm, TASKS, tmp_path / "whole.jsonl", settings=more) == 6
    assert sorted((tmp_path / "whole.jsonl").read_text().splitlines()) == sorted(path.read_text().splitlines())


def test_the_command_writes_what_code_reads(tmp_path, capsys):
    prompts = written(tmp_path, [{"prompt": task.prompt, "tests": task.tests} for task in TASKS])
    answers = tmp_path / "answers.jsonl"
    arguments = ["sample", str(prompts), "--preset", "code_gemma_tiny", "--to", str(answers)]
    assert main([*arguments, "--form", "code", "--samples", "2", "--max-new-tokens", "4"]) == 0
    assert json.loads(capsys.readouterr().out) == {"prompts": 2, "drawn": 4}
    assert len(code.read_answers(answers)) >= 2


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ([{"prompt": "Double?"}], [], "Line 1 of .* must have the text 'tests'"),
        ([], [], "must hold at least one"),
        ([{"prompt": "Double?", "tests": "assert 1"}], ["--samples", "0"], "must be at least 1; got 0 and 512"),
        ([{"prompt": "x " * 2000, "tests": "assert 1"}], [], "tokens"),
    ],
)
def test_bad_prompts_are_refused(tmp_path, capsys, items, options, message):
    prompts = written(tmp_path, items)
    arguments = ["sample", str(prompts), "--preset", "code_gemma_tiny", "--to", str(tmp_path / "answers.jsonl")]
    assert main([*arguments, *options]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_the_same_line_twice_counts_once(tmp_path):
    line = {"prompt": "Double?", "tests": "assert 1"}
    assert len(read_tasks(written(tmp_path, [line, line]))) == 1
