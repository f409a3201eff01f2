"""A whole run of the safety figures: files, resuming after kills, and settings that may not change."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keras_codegemma.evaluation import records, safety
from keras_codegemma.evaluation.safety import insecure, leaks, memorisation
from tests.evaluation.safety.parrots import Parrot
from tests.evaluation.safety.test_memorisation import KNOWN, UNKNOWN

FILES = ("memorisation.jsonl", "secrets.jsonl", "insecure.jsonl", "summary.json")


def _corpus(folder: Path) -> Path:
    for name, texts in (("corpus", KNOWN), ("control", UNKNOWN)):
        (folder / name).mkdir(parents=True)
        for number, text in enumerate(texts):
            (folder / name / f"{number}.py").write_text(text)
    return folder


def _run(place: Path, folder: Path, *, lm: Parrot | None = None, **options: Any) -> dict[str, Any]:
    lm = lm or Parrot(KNOWN)
    options = {"limit": 4, "seed": 0, "corpus": place / "corpus", "control": place / "control"} | options
    return safety.run(lm, folder=folder, batch_size=3, **options)


def test_a_run_writes_its_files_and_the_summary(tmp_path: Path) -> None:
    summary = _run(_corpus(tmp_path / "c"), tmp_path / "run")
    assert safety.read(tmp_path / "run") == summary
    assert summary["memorisation"]["corpus"]["continuation"]["exact"] == 4
    assert summary["memorisation"]["control"]["continuation"]["exact"] == 0
    assert summary["secrets"]["prompts"] == summary["insecure"]["prompts"] == 4
    # The parrot knows none of the prompts and adds nothing.
    assert summary["insecure"]["empty"] + summary["insecure"]["unparsed"] == 4
    assert summary["settings"]["tools"].keys() == {"bandit", "detect-secrets"}
    for name, schema in (("memorisation", memorisation), ("secrets", leaks), ("insecure", insecure)):
        lines = records.read(tmp_path / "run" / "safety" / f"{name}.jsonl", schema.SCHEMA)
        assert lines.damaged == []
        assert len(lines.records) == {"memorisation": 24, "secrets": 4, "insecure": 4}[name]


def test_no_summary_is_none(tmp_path: Path) -> None:
    assert safety.read(tmp_path) is None


def test_memorisation_is_left_out_without_a_corpus(tmp_path: Path) -> None:
    summary = _run(tmp_path, tmp_path / "run", corpus=None, control=None)
    assert summary["memorisation"] is None
    assert summary["secrets"]["prompts"] == 4


def test_what_is_made_is_not_made_again(tmp_path: Path) -> None:
    corpus, lm = _corpus(tmp_path / "c"), Parrot(KNOWN)
    first = _run(corpus, tmp_path / "run", lm=lm)
    calls = lm.calls
    assert _run(corpus, tmp_path / "run", lm=lm) == first
    assert lm.calls == calls > 0


def test_a_damaged_line_is_named_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = _corpus(tmp_path / "c")
    _run(corpus, tmp_path / "run")
    path = tmp_path / "run" / "safety" / "memorisation.jsonl"
    before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:6], lines[6][:20] + b"\n", *lines[7:]]))
    lm = Parrot(KNOWN)
    _run(corpus, tmp_path / "run", lm=lm)
    assert "memorisation.jsonl, line 7 is left out" in caplog.text
    assert path.read_bytes() == before
    assert lm.calls == 1


def test_a_kill_at_any_moment_changes_nothing(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c")
    _run(corpus, tmp_path / "whole")
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "import json, time\nfrom pathlib import Path\nfrom keras_codegemma.evaluation import safety\n"
        "from keras_codegemma.evaluation.safety import session\nfrom tests.evaluation.safety.parrots import Parrot\n"
        "def slow(self, prompt, count, inner=Parrot._after):\n"
        "    time.sleep(0.005)\n    return inner(self, prompt, count)\n"
        "Parrot._after = slow\nprint('up', flush=True)\nplace, folder = map(Path, sys.argv[1:3])\n"
        "known = json.loads(sys.argv[3])\n"
        "safety.run(Parrot(known), folder=folder, batch_size=3, limit=4, seed=0, corpus=place / 'corpus',\n"
        "           control=place / 'control')\n"
    )
    rng, kills = random.Random(5), 0
    folder = tmp_path / "killed"
    while True:
        command = [sys.executable, "-c", script, str(corpus), str(folder), json.dumps(KNOWN)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        try:
            process.wait(timeout=rng.uniform(0.0, 0.5) if kills < 6 else 60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        said = process.communicate()[1]
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
    assert kills >= 3
    for name in FILES:
        assert (folder / "safety" / name).read_bytes() == (tmp_path / "whole" / "safety" / name).read_bytes(), name


def test_one_folder_holds_one_kind_of_figures(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c")
    _run(corpus, tmp_path / "run")
    with pytest.raises(ValueError, match=r"begun with other seed: seed was 0, is 1\. Use another folder"):
        _run(corpus, tmp_path / "run", seed=1)
    with pytest.raises(ValueError, match=r"begun with other model: model was .*'fixed_text_nats'"):
        _run(corpus, tmp_path / "run", lm=Parrot(KNOWN, wrong=1))
    settings = json.loads((tmp_path / "run" / "safety" / "settings.json").read_text())
    assert settings["limit"] == 4


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"limit must be at least 1, or None for all; got 0\. Raise it"):
        _run(tmp_path, tmp_path / "run", limit=0)
    with pytest.raises(ValueError, match=r"control group needs a corpus .*got control=.*control alone\. Pass"):
        _run(tmp_path, tmp_path / "run", corpus=None)
    assert not (tmp_path / "run").exists()
