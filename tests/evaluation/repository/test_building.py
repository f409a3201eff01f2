"""Problems from a repository: the same for the same code, whatever else comes and goes."""

import dataclasses
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.repository import Built, build, read
from tests.evaluation.repository.made_repository import SHOP, made

__all__ = ["made"]


def _build(folder: Path, **options: object) -> Built:
    given = {"limit": 100, "seed": 0, "context_chars": 0, **options}
    return build(read(folder), **given)


def _names(built: Built) -> list[str]:
    return [problem.task_id for problem in built.problems]


def test_sources_are_read_but_tests_hidden_files_and_other_files_are_not(made: Path) -> None:
    assert sorted(read(made).texts) == ["broken.py", "double.js", "shop.py"]


def test_every_place_becomes_a_problem_that_its_own_text_solves(made: Path) -> None:
    built = _build(made)
    assert built.candidates == {"line": 12, "block": 2, "function": 2}
    assert len(set(_names(built))) == 16
    for problem in built.problems:
        assert problem.program(problem.canonical_solution) == (made / problem.path).read_text()
        assert (problem.cluster, problem.kind, problem.stop) == (problem.path, "infilling", ())
    function = next(p for p in built.problems if p.task_id == "repository-function/shop.py/L6-12")
    assert function.prefix == SHOP[: SHOP.index("    result = 0.0")]
    assert function.max_new_tokens == 512


def test_the_draw_depends_on_the_seed_and_the_code_alone(made: Path) -> None:
    drawn = _build(made, limit=3, kinds=["line"])
    assert _names(drawn) == _names(_build(made, limit=3, kinds=["line"]))
    assert _names(_build(made, limit=12, kinds=["line"]))[:3] == _names(drawn)
    others = {tuple(_names(_build(made, limit=3, seed=seed, kinds=["line"]))) for seed in range(5)}
    assert len(others) > 1
    (made / "another.py").write_text("value = 12\nother = 13\n")
    more = [name for name in _names(_build(made, kinds=["line"])) if "another" not in name]
    assert more == _names(_build(made, kinds=["line"])) or more[:3] == _names(drawn)


def test_the_model_is_shown_other_files_as_with_complete(made: Path) -> None:
    (made / "prices.py").write_text("LIST = [1, 2]\n")
    problem = next(p for p in _build(made, context_chars=1000).problems if p.path == "prices.py")
    assert dict(problem.context).keys() == {"shop.py", "double.js", "broken.py", "tests/test_shop.py"}
    assert sum(len(text) for _, text in problem.context) <= 1000
    assert all(p.context == () for p in _build(made).problems)


def test_a_folder_inside_a_repository_is_asked_alone_but_sees_all(made: Path) -> None:
    subprocess.run(["git", "init", "-q", str(made)], check=True)
    (made / "part").mkdir()
    (made / "part" / "own.py").write_text("value = 12\n")
    sources = read(made / "part")
    assert (sources.root, list(sources.texts)) == (made, ["part/own.py"])
    (problem,) = build(sources, limit=5, seed=0, context_chars=9999).problems
    assert (problem.path, "shop.py" in dict(problem.context)) == ("part/own.py", True)


def test_only_places_that_the_tests_notice_are_kept_and_the_others_counted(made: Path) -> None:
    asked: list[str] = []

    def check(problems: Sequence[Problem]) -> list[bool]:
        asked.extend(problem.task_id for problem in problems)
        return ["L17" not in problem.task_id and problem.path == "shop.py" for problem in problems]

    told: list[tuple[int, int]] = []
    built = _build(made, limit=9, check=check, progress=lambda *counts: told.append(counts))
    assert all(problem.path == "shop.py" for problem in built.problems)
    assert {name for name in _names(built) if name.startswith("repository-function")} == {
        "repository-function/shop.py/L6-12"
    }
    assert built.unnoticed["function"] == 1
    assert len([name for name in _names(built) if name.startswith("repository-line")]) == 9
    assert told[-1] == (12, 27)


def test_nothing_to_take_out_and_nothing_noticed_are_errors(made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"must hold source files, .*empty has nothing to take out \(line, block"):
        _build(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"of 16 places in .*made they noticed none\. Give the command"):
        _build(made, check=lambda problems: [False] * len(problems))


def test_the_layout_is_the_presets_unless_one_is_named(made: Path) -> None:
    assert {problem.layout for problem in _build(made).problems} == {""}
    assert {problem.layout for problem in _build(made, layout="psm").problems} == {"psm"}
    assert dataclasses.asdict(_build(made).problems[0])["language"] == "Python"
