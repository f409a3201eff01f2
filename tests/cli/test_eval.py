"""`codegemma eval`: stages, the whole table, fetching and repositories, mostly with a model that knows the answers."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from keras_codegemma.cli import options
from keras_codegemma.cli.eval import SUBCOMMANDS, repo, stages, whole
from keras_codegemma.evaluation import records, runner
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.runner import Text
from keras_codegemma.evaluation.table import TASKS
from tests.evaluation.boxes import bubblewrap
from tests.evaluation.repository.made_repository import COMMAND, made

__all__ = ["bubblewrap", "made"]

ALLOWED = "--run-untrusted-programs"


class Knows:
    """Gives every reference, but an empty text for SPM."""

    device, versions = "a desk", {"jax": "0"}

    def complete(self, problems: Sequence[Problem], *, seed: int) -> list[Text]:
        return [Text("" if p.layout == "spm" else p.canonical_solution, "stop") for p in problems]


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stages, whole, repo):
        monkeypatch.setattr(module, "load", lambda *_: Knows())


@pytest.fixture
def data(shared_dir: Path) -> Path:
    return shared_dir / "eval_data"


def test_help_lists_the_subcommands(codegemma):
    result = codegemma("eval", "--help")
    assert all(f"  {name} " in result.stdout for name in SUBCOMMANDS)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_has_help(codegemma, name):
    result = codegemma("eval", name, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: codegemma eval {name} ")
    assert "--json" in result.stdout


def test_an_unknown_subcommand_is_wrong_use(codegemma):
    assert codegemma("eval", "chess").exit_code == 2


def test_toolchains_are_named_with_versions(codegemma):
    found = json.loads(codegemma("eval", "toolchains", "--json").stdout)
    assert found["Python"].startswith("Python 3.")
    lines = codegemma("eval", "toolchains").stdout.splitlines()
    assert len(lines) == len(found) == 8
    missing = [name for name, version in found.items() if version is None]
    assert [line.split(":")[0] for line in lines if ": toolchain not found; install " in line] == missing


# Stages


@pytest.mark.shared
def test_problems_are_made_of_all_tasks(codegemma, data, tmp_path):
    result = codegemma("eval", "problems", "--data", data, "--folder", tmp_path, "--limit", 2, "--json")
    document = json.loads(result.stdout)
    assert document == {"problems": dict.fromkeys(TASKS, 2), "left_out": {}}
    assert len(runner.read_problems(tmp_path / "problems.jsonl")) == 2 * len(TASKS)


@pytest.mark.shared
def test_a_task_may_be_named_by_its_first_part(codegemma, data, tmp_path):
    names = ["--task", "infilling-random-span", "--task", "humaneval"]
    result = codegemma("eval", "problems", "--data", data, "--folder", tmp_path, "--limit", 1, *names, "--json")
    assert list(json.loads(result.stdout)["problems"]) == [
        *(f"infilling-random-span{light}-{layout}" for light in ("", "-light") for layout in ("psm", "spm")),
        "humaneval",
    ]


def test_an_unknown_task_is_wrong_use(codegemma, tmp_path):
    result = codegemma("eval", "problems", "--data", tmp_path, "--folder", tmp_path, "--task", "human")
    assert result.exit_code == 2
    assert "got human. Correct the name." in result.stderr


def test_missing_files_are_a_reason_in_the_report_unless_the_task_was_asked_for(codegemma, tmp_path):
    given = ("eval", "problems", "--data", tmp_path, "--folder", tmp_path / "run")
    result = codegemma(*given, "--task", "humaneval")
    assert result.exit_code == 1
    assert "HumanEval.jsonl.gz must lie in the data folder" in result.stderr
    result = codegemma(*given)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'run/problems.jsonl'}: 0 problems of 0 tasks.\n")
    assert result.stderr.count("is left out") == len(TASKS)
    result = codegemma("eval", "report", "--folder", tmp_path / "run")
    assert "| HumanEval | 0 | not run (see below) |" in result.stdout
    assert json.loads((tmp_path / "run" / "report.json").read_text())["tasks"].keys() == TASKS.keys()


def test_scoring_must_be_allowed(codegemma, tmp_path):
    result = codegemma("eval", "score", "--folder", tmp_path)
    assert result.exit_code == 2
    assert "must be allowed; got no --run-untrusted-programs." in result.stderr


def test_processes_are_counted_from_0(codegemma, tmp_path):
    result = codegemma("eval", "sample", "--folder", tmp_path, "--process", 2, "--processes", 2)
    assert result.exit_code == 2
    assert "got 2 of 2. Count from 0." in result.stderr


def test_a_folder_without_a_run_has_no_report(codegemma, tmp_path):
    result = codegemma("eval", "report", "--folder", tmp_path)
    assert result.exit_code == 1
    assert "holds none. Run codegemma eval run first." in result.stderr


# The table


def _four_tasks(data: Path, folder: Path) -> list[str]:
    names = ("humaneval", "mbpp", "infilling-single-line")
    tasks = [part for name in names for part in ("--task", name)]
    given = ["--folder", str(folder), "--data", str(data), "--limit", "3", "--preset", "code_gemma_2b_en"]
    return ["eval", "run", *given, *tasks]


@pytest.mark.shared
@pytest.mark.usefixtures("bubblewrap", "knowing")
def test_one_command_makes_the_table(codegemma, data, tmp_path):
    result = codegemma(*_four_tasks(data, tmp_path), ALLOWED)
    assert result.exit_code == 0, result.stderr
    assert "| HumanEval | 3 | 100.00 | 29.24 to 100.00 | 100.00 |" in result.stdout  # 0.025 ** (1 / 3)
    assert "| MBPP, 3 shots | 3 | 100.00 |" in result.stdout
    assert "| HumanEval infilling, single line, PSM | 3 | 100.00 |" in result.stdout
    assert "| HumanEval infilling, single line, SPM | 3 | 0.00 |" in result.stdout
    assert (tmp_path / "report.html").exists()
    timed = json.loads((tmp_path / "timing.json").read_text())
    assert (timed["device"], timed["tasks"]["infilling-single-line-psm"]["timed"]) == ("a desk", 3)
    before = (tmp_path / "results.jsonl").read_bytes()
    again = codegemma(*_four_tasks(data, tmp_path), ALLOWED, "--json")
    assert json.loads(again.stdout)["tasks"]["humaneval"]["pass_at"] == {"1": 1.0}
    assert (tmp_path / "results.jsonl").read_bytes() == before


@pytest.mark.shared
@pytest.mark.usefixtures("knowing")
def test_without_leave_no_program_is_run_and_every_row_says_so(codegemma, data, tmp_path):
    result = codegemma(*_four_tasks(data, tmp_path))
    assert result.exit_code == 0
    assert result.stdout.count("| not run: programs are run only with --run-untrusted-programs |") == 4
    assert {line["verdict"] for line in records.read(tmp_path / "results.jsonl", records.RESULT).records} == {"not_run"}
    assert json.loads((tmp_path / "report.json").read_text())["tasks"]["humaneval"]["exact_match"] == 1.0


@pytest.mark.shared
@pytest.mark.usefixtures("knowing")
def test_samples_of_other_settings_are_not_mixed(codegemma, data, tmp_path):
    assert codegemma(*_four_tasks(data, tmp_path)).exit_code == 0
    result = codegemma(*_four_tasks(data, tmp_path), "--seed", 1)
    assert result.exit_code == 1
    assert "seed was 0 and is 1. Choose another folder, or delete this one." in result.stderr


def test_an_unknown_preset_is_wrong_use(codegemma, tmp_path):
    result = codegemma("eval", "run", "--data", tmp_path, "--preset", "none")
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())


# Fetching


@pytest.mark.shared
def test_files_of_a_folder_are_checked_and_laid_out(codegemma, data, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    content = gzip.decompress((data / "human_eval" / "HumanEval.jsonl.gz").read_bytes())
    (mine / "HumanEval.jsonl").write_bytes(content)
    to = tmp_path / "data"
    result = codegemma("eval", "fetch", "humaneval", "--to", to, "--from", mine)
    assert result.stdout == f"human_eval/HumanEval.jsonl.gz: from {mine}, 164 rows, MIT\n"
    (one,) = json.loads(codegemma("eval", "fetch", "humaneval", "--to", to, "--from", mine, "--json").stdout)
    assert one["how"] == "there already"
    assert (to / "human_eval" / "HumanEval.jsonl.gz").exists()
    (mine / "HumanEval.jsonl").write_bytes(content + b"{}\n")
    result = codegemma("eval", "fetch", "humaneval", "--to", tmp_path / "other", "--from", mine)
    assert result.exit_code == 1
    assert "must have the sha256 1d49078b" in result.stderr


def test_fetching_wrongly_is_said(codegemma, tmp_path):
    result = codegemma("eval", "fetch", "--to", tmp_path, "--from", tmp_path / "none")
    assert result.exit_code == 2
    assert "--from must be a folder or tfds;" in result.stderr
    result = codegemma("eval", "fetch", "babelcode-mbpp-go", "--to", tmp_path)
    assert result.exit_code == 1
    assert "can be had from nowhere: made by the benchmark's own scripts" in result.stderr
    assert codegemma("eval", "fetch", "chess", "--to", tmp_path).exit_code == 2


# The user's own repository


@pytest.mark.usefixtures("bubblewrap", "knowing")
def test_a_repositorys_own_tests_judge(codegemma, made, tmp_path):
    given = ("eval", "repo", made, "--folder", tmp_path / "run", "--limit", 2, "--tests", COMMAND)
    refused = codegemma(*given)
    assert refused.exit_code == 2
    assert "--tests runs code that a model wrote, and must be allowed" in refused.stderr
    result = codegemma(*given, ALLOWED, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert {name: row["problems"] for name, row in document["tasks"].items()} == {
        "repository-line": 2,
        "repository-block": 2,
        "repository-function": 1,
    }
    assert all(row["pass_at"] == {"1": 1.0} and row["exact_match"] == 1.0 for row in document["tasks"].values())
    assert document["repository"]["places"] == {"line": 12, "block": 2, "function": 2}
    assert document["repository"]["places_left_out_because_no_test_noticed"]["function"] == 1
    assert (tmp_path / "run" / "report.html").exists()
    (made / "shop.py").write_text("x = 12\n")
    (made / "tests" / "test_shop.py").write_text("")
    result = codegemma(*given, ALLOWED)
    assert result.exit_code == 1
    assert "All samples of a run must be made with the same settings" in result.stderr


def test_a_repository_without_tests_is_compared_by_text(codegemma, monkeypatch, tiny, made, tmp_path):
    monkeypatch.setattr(options, "load_model", lambda preset, dtype: tiny)
    given = ("eval", "repo", made, "--folder", tmp_path, "--limit", 1, "--kind", "line", "--timed", 0)
    given += ("--context-chars", 300)
    result = codegemma(*given)
    assert result.exit_code == 0, result.stderr
    assert "| repository, line | 1 | not run: no command for the tests was given |" in result.stdout
    rows = runner.read_problems(tmp_path / "problems.jsonl")
    samples = records.read(tmp_path / "samples.jsonl", records.SAMPLE).records
    direct = tiny.infill(rows[0].prefix, rows[0].suffix, path=rows[0].path, context_files=rows[0].context)
    assert samples[0]["completion"] == direct
    assert codegemma(*given).stdout.splitlines()[8:] == result.stdout.splitlines()[8:]
