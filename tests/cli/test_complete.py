"""`codegemma complete`: what it prints and writes, and what it says to bad input."""

# ruff: noqa: E501 (messages are written out whole)

import json
import stat
from pathlib import Path

import pytest

from keras_codegemma.completion import Completion

EXCERPT = """\
 6 |         self.items = []
 7 |
 8 |     def push(self, item):
 9 |         self.items.append(item)
10 |
11 |     def size(self):
12 +         return len(self.items)
13 |
14 |     def pop(self):
15 |         return self.items.pop()
16 |
"""


def test_a_pipe_gets_the_lines_around_the_completion_without_colours(codegemma, stack):
    result = codegemma("complete", f"{stack}:12")
    assert (result.exit_code, result.stdout, result.stderr) == (0, EXCERPT, "")


def test_a_terminal_gets_the_completion_in_colour(codegemma, stack):
    result = codegemma("complete", f"{stack}:12", env={"FORCE_COLOR": "1"}, color=True)
    assert result.exit_code == 0
    assert "        return len\x1b[1;32m(self.items)\x1b[0m\n" in result.stdout


def test_no_colour_where_the_user_wants_none(codegemma, stack):
    result = codegemma("complete", f"{stack}:12", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}, color=True)
    assert result.stdout == EXCERPT


def test_raw_prints_the_completion_exactly(codegemma, stack):
    assert codegemma("complete", f"{stack}:12", "--raw").stdout == "(self.items)"


def test_json_says_what_was_done(codegemma, stack):
    document = json.loads(codegemma("complete", f"{stack}:12:19", "--json").stdout)
    assert document.pop("seconds") > 0
    assert document.pop("logprob") < 0
    assert document == {
        "file": str(stack),
        "line": 12,
        "column": 19,
        "preset": "code_gemma_tiny",
        "text": "(self.items)",
        "finish_reason": "stop",
        "new_tokens": 5,
        "trimmed_chars": {"prefix": 0, "suffix": 0, "context": 0},
        "context_files": [],
        "written": False,
    }


def test_write_inserts_the_completion_and_the_file_then_works(codegemma, stack):
    before = stack.read_text()
    stack.chmod(0o750)
    result = codegemma("complete", f"{stack}:12", "--write")
    assert result.stderr == f"codegemma: wrote {stack}.\n"
    assert stack.read_text() == before.replace("return len\n", "return len(self.items)\n")
    assert stat.S_IMODE(stack.stat().st_mode) == 0o750
    assert [path.name for path in stack.parent.iterdir()] == ["stack.py"]
    namespace = {"__name__": "stack"}
    exec(stack.read_text(), namespace)
    items = namespace["Stack"]()
    items.push("a")
    assert (items.size(), items.pop(), items.size()) == (1, "a", 0)


def test_without_write_the_file_stays(codegemma, stack):
    before = stack.stat().st_mtime_ns
    codegemma("complete", f"{stack}:12")
    assert stack.stat().st_mtime_ns == before


def test_the_columns_cursor_is_before_its_character(codegemma, stack):
    line = stack.read_text().split("\n")[11]
    for column in (1, len(line), len(line) + 1):
        document = json.loads(codegemma("complete", f"{stack}:12:{column}", "--json").stdout)
        assert document["column"] == column


def test_the_text_stops_budget_and_layout_arrive(codegemma, stack):
    line = codegemma("complete", f"{stack}:14", "--stop-at", "line", "--raw").stdout
    assert "\n" not in line.strip("\n")
    short = codegemma("complete", f"{stack}:14", "--max-new-tokens", 2, "--json").stdout
    assert json.loads(short)["new_tokens"] <= 2
    spm = codegemma("complete", f"{stack}:14", "--layout", "spm", "--raw").stdout
    assert spm == codegemma("complete", f"{stack}:14", "--raw").stdout != ""
    assert codegemma("complete", f"{stack}:14", "--layout", "psm", "--raw").stdout != spm


def test_a_seed_repeats_a_random_completion(codegemma, stack):
    options = ("--temperature", 1.5, "--top-k", 50, "--top-p", 0.99, "--raw", "--max-new-tokens", 16)
    seeds = [codegemma("complete", f"{stack}:14", *options, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_context_shows_the_model_other_files_and_says_which(codegemma, stack):
    (stack.parent / "queue.py").write_text("class Queue:\n    pass\n")
    (stack.parent / "deep").mkdir()
    (stack.parent / "deep" / "tree.py").write_text("class Tree:\n    pass\n")
    document = json.loads(codegemma("complete", f"{stack}:12", "--context", "--json").stdout)
    assert document["context_files"] == ["deep/tree.py", "queue.py"]


def test_what_did_not_fit_is_remarked(codegemma, stack):
    stack.write_text("x = 1\n" * 3000 + "y =")
    result = codegemma("complete", f"{stack}:3001", "--raw")
    assert result.exit_code == 0
    assert "codegemma: the model's context is full; characters left out: " in result.stderr
    assert " before the cursor." in result.stderr


def test_an_empty_completion_is_remarked(codegemma, stack, tiny, monkeypatch):
    nothing = Completion(text="", token_ids=[], logprob=0.0, finish_reason="stop")
    monkeypatch.setattr(type(tiny), "infill", lambda *_, **__: nothing)
    result = codegemma("complete", f"{stack}:12", "--write")
    assert result.stderr == "codegemma: the model would insert nothing here.\n"


# Bad input: exit code 2, one line, no traceback.


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ("{stack}", "The place to complete must be FILE:LINE or FILE:LINE:COLUMN, as in shop.py:14 or shop.py:14:9; got '{stack}'. Add the line that the cursor is in."),
        ("{stack}:x", "The place to complete must be FILE:LINE or FILE:LINE:COLUMN, as in shop.py:14 or shop.py:14:9; got '{stack}:x'. Add the line that the cursor is in."),
        ("{stack}:0", "The cursor must be in a line from 1 to 26 of {stack}; got line 0. Name one of these."),
        ("{stack}:27", "The cursor must be in a line from 1 to 26 of {stack}; got line 27. Name one of these."),
        ("{stack}:12:0", "The cursor must be in a column from 1 to 19 of line 12 of {stack}, which has 18 characters; got column 0. Leave the column out for the end of the line."),
        ("{stack}:12:20", "The cursor must be in a column from 1 to 19 of line 12 of {stack}, which has 18 characters; got column 20. Leave the column out for the end of the line."),
        ("{folder}:1", "The place to complete must be in a file; {folder} is a directory. Name a file in it."),
        ("{folder}/none.py:1", "The file to complete must exist; there is no {folder}/none.py in {cwd}. Check the path."),
        ("{folder}/empty.py:1", "The file to complete must have some text for the model to go by; {folder}/empty.py is empty. Write its first line, or give a description to `codegemma generate`."),
        ("{folder}/binary.py:1", "The file to complete must be text; {folder}/binary.py has a NUL byte at offset 1, as binary files (and UTF-16) have. Name a text file, in UTF-8."),
        ("{folder}/latin.py:2", "The file to complete must be UTF-8; {folder}/latin.py has the byte 0xe9 in line 2, which is not. Save it as UTF-8."),
    ],
)  # fmt: skip
def test_bad_places_are_wrong_use(codegemma, stack, position, message):
    folder = stack.parent
    (folder / "empty.py").write_bytes(b"")
    (folder / "binary.py").write_bytes(b"a\0b")
    (folder / "latin.py").write_bytes(b"a = 1\nb = '\xe9'\n")
    names = {"stack": stack, "folder": folder, "cwd": Path.cwd()}
    result = codegemma("complete", position.format(**names))
    assert result.stderr == f"codegemma complete: {message.format(**names)}\n"
    assert (result.exit_code, result.stdout) == (2, "")


def test_an_unreadable_file_is_a_failure(codegemma, stack, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)  # permissions do not stop the root user of a container
    result = codegemma("complete", f"{stack}:12")
    assert result.stderr == (
        f"codegemma: The file to complete must be readable; {stack} is not (Permission denied). Check its permissions.\n"
    )
    assert result.exit_code == 1


def test_an_unknown_preset_is_wrong_use_and_the_nearest_names_are_given(codegemma, stack):
    result = codegemma("complete", f"{stack}:12", "--preset", "code_gema_tiny")
    assert result.stderr.startswith("codegemma complete: A preset must be a built-in name (code_gemma_tiny, ")
    assert "got 'code_gema_tiny', which is none of these. Did you mean code_gemma_tiny" in result.stderr
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--raw", "--json"), "--raw and --json each print the completion in another form. Give one of them."),
        (("--layout", "mps"), "Invalid value for '--layout': 'mps' is not one of 'psm', 'spm'."),
        (("--max-new-tokens", "0"), "Invalid value for '--max-new-tokens': 0 is not in the range x>=1."),
        (("--temperature", "-1"), "Invalid value for '--temperature': -1.0 is not in the range x>=0."),
        (("--top-p", "0"), "Invalid value for '--top-p': 0.0 is not in the range 0<x<=1."),
        (("--no-such",), "No such option"),
    ],
)
def test_bad_options_are_wrong_use(codegemma, stack, options, message):
    result = codegemma("complete", f"{stack}:12", *options)
    assert result.stderr.startswith(f"codegemma complete: {message}")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_a_budget_beyond_the_context_is_a_failure(codegemma, stack):
    result = codegemma("complete", f"{stack}:12", "--max-new-tokens", 1024)
    assert result.stderr == (
        "codegemma: max_new_tokens must leave room for a prompt in the context of 1024 tokens; got 1024. Lower it.\n"
    )
    assert result.exit_code == 1


def test_a_file_that_changed_meanwhile_is_left_alone(codegemma, stack, tiny, monkeypatch):
    infill = type(tiny).infill

    def edit_and_infill(*arguments, **options):
        stack.write_text("something else\n")
        return infill(*arguments, **options)

    monkeypatch.setattr(type(tiny), "infill", edit_and_infill)
    result = codegemma("complete", f"{stack}:12", "--write")
    assert result.stderr == (
        f"codegemma: {stack} must stay as it was while its completion is made; it has changed, so nothing was written. "
        "Run the command again.\n"
    )
    assert result.exit_code == 1
    assert stack.read_text() == "something else\n"
    assert [path.name for path in stack.parent.iterdir()] == ["stack.py"]
