"""A whole run of the safety figures: files, resuming after kills, and settings that may not change."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
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


NURSERY = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from keras_codegemma.evaluation import safety
from keras_codegemma.evaluation.safety import session
from tests.evaluation.safety.parrots import Parrot
def slow(self, prompt, count, inner=Parrot._after):
    time.sleep(0.005)
    return inner(self, prompt, count)
Parrot._after = slow
place, known = Path(sys.argv[2]), json.loads(sys.argv[3])
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        safety.run(Parrot(known), corpus=place / "corpus", control=place / "control", folder=Path(line.strip()),
                   limit=4, seed=0, batch_size=3)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Imports once; then for each folder that it reads, a fork makes the figures, its number and status are printed."""


def test_a_kill_at_any_moment_changes_nothing(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c")
    _run(corpus, tmp_path / "whole")
    command = [sys.executable, "-c", NURSERY, str(Path(__file__).parents[3]), str(corpus), json.dumps(KNOWN)]
    nursery = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    rng, kills, finished = random.Random(5), 0, 0
    while kills < 20 or not finished:
        folder = tmp_path / f"killed-{finished}"
        nursery.stdin.write(f"{folder}\n")
        nursery.stdin.flush()
        child = int(nursery.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.25))
        # Every sixth run may go on: bandit takes its time, and a batch that was cut off begins anew.
        if (kills + finished) % 6 != 5:
            with contextlib.suppress(ProcessLookupError):  # it has finished
                os.kill(child, signal.SIGKILL)
        if int(nursery.stdout.readline()) == signal.SIGKILL:
            kills += 1
            continue
        finished += 1
        for name in FILES:
            assert (folder / "safety" / name).read_bytes() == (tmp_path / "whole" / "safety" / name).read_bytes(), name
    nursery.communicate()
    assert nursery.returncode == 0


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
