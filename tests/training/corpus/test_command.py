"""The command as a person uses it: what it prints, and its exit codes."""

from pathlib import Path

import pytest

from tests.training.corpus import made_corpus
from training.corpus import store
from training.corpus.__main__ import main


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a build of the made-up sources."""
    folder = tmp_path_factory.mktemp("made")
    sources = ",".join(str(path) for path in made_corpus.write(folder / "sources"))
    settings = [
        f"sources={sources}",
        f"tokenizer={made_corpus.TOKENIZER}",
        "shard_bytes=12000",
        "fitting.sequence_length=512",
    ]
    return ["own_repositories", "--workdir", str(folder / "work"), *(item for s in settings for item in ("--set", s))]


@pytest.fixture(scope="module")
def built(arguments: list[str]) -> Path:
    assert main(["build", *arguments]) == 0
    return Path(arguments[2])


def test_a_build_makes_a_corpus_and_its_report(built):
    assert (built / "corpus" / "manifest.json").is_file()
    assert store.read_json(built / "report.json")["corpus"]["shards"] >= 3
    assert (built / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_finished_build_is_said_again_without_work(built, arguments, capsys):
    assert main(["build", *arguments]) == 0
    out = capsys.readouterr().out
    assert "padding, in" in out
    assert "MB of source a second and core" in out


def test_verify_counts_what_came_back(built, arguments, capsys):
    assert main(["verify", *arguments]) == 0
    assert "20 documents of 0.0 MB came back exactly from" in capsys.readouterr().out


def test_inspect_is_plain_text_in_a_pipe(built, arguments, capsys):
    assert main(["inspect", *arguments, "--examples", "4"]) == 0
    out = capsys.readouterr().out
    assert out.count("── shard ") == 4
    assert "<bos>" in out
    assert "<|fim_middle|>" in out
    assert "\x1b[" not in out
    assert main(["inspect", *arguments, "--row", "0", "--shard", "1"]) == 0
    assert "shard 1, row 0, example 0" in capsys.readouterr().out


def test_inspect_shows_colours_to_a_person(built, arguments, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["inspect", *arguments, "--examples", "1"]) == 0
    assert "m<bos>\x1b[0m" in capsys.readouterr().out


def test_report_is_written_anew(built, arguments):
    (built / "report.html").unlink()
    assert main(["report", *arguments]) == 0
    assert (built / "report.html").exists()


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["build", "unheard", "--workdir", "x"], 2, "A recipe is one of"),
        (["build", "pypi_python", "--workdir", "x", "--set", "seed=x"], 2, "seed is a whole number"),
        (["verify", "pypi_python", "--workdir", "x", "--", "--runner=X"], 2, "Flags after -- are Beam's"),
    ],
)
def test_wrong_use_is_2(given, code, message, capsys):
    assert main(given) == code
    assert message in capsys.readouterr().err


def test_a_missing_argument_is_2(capsys):
    with pytest.raises(SystemExit) as error:
        main(["build", "pypi_python"])
    assert error.value.code == 2
    assert "--workdir" in capsys.readouterr().err


def test_failures_are_1_and_say_why(built, arguments, tmp_path, capsys):
    assert main(["build", *arguments, "--set", "seed=5"]) == 1
    assert "begun with other values of recipe.seed" in capsys.readouterr().err
    assert main(["inspect", *arguments, "--row", "9999"]) == 1
    assert "The shards have" in capsys.readouterr().err
    assert (
        main(["build", "pypi_python", "--workdir", str(tmp_path), "--set", f"tokenizer={made_corpus.TOKENIZER}"]) == 1
    )
    assert "Packages must be fetched before a build" in capsys.readouterr().err
