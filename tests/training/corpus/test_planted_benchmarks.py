"""Whole builds of repositories with benchmark problems in them: each is dropped, reported and not in the corpus."""

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.training.corpus import made_corpus
from training.corpus import report
from training.corpus.decontamination import DecontaminationSettings
from training.corpus.job import Job
from training.corpus.steps import run_in_loop
from training.corpus.verification import expected, verify

PROBLEM = {
    "task_id": "Made/7",
    "prompt": 'def merge_windows(windows, gap):\n    """Joins windows that lie closer together than a gap."""\n',
    "canonical_solution": "    merged = []\n    for start, end in sorted(windows):\n"
    "        if merged and start - merged[-1][1] <= gap:\n            merged[-1][1] = max(merged[-1][1], end)\n"
    "        else:\n            merged.append([start, end])\n    return merged\n",
}
FILES = {
    "human_eval": "human_eval/HumanEval.jsonl.gz",
    "mbpp": "mbpp/mbpp.jsonl.gz",
    "infilling": "human_eval_infilling/HumanEval-RandomSpanInfilling.jsonl.gz",
}


def build(folder: Path, planted: Mapping[str, str], benchmarks: list[Path]) -> Job:
    """A repository of clean files and of files with something planted in their middle."""
    repository = folder / "repository"
    repository.mkdir()
    for number in range(5):
        (repository / f"clean{number}.py").write_text(made_corpus.module(300 + number), encoding="utf-8")
    for number, (name, text) in enumerate(planted.items()):
        around = [made_corpus.module(400 + 2 * number + half) for half in (0, 1)]
        (repository / name).write_text(f"{around[0]}{text}\n\n{around[1]}", encoding="utf-8")
    settings = DecontaminationSettings(benchmarks=tuple(str(path) for path in benchmarks))
    job = made_corpus.job_of([repository], folder / "work", decontamination=settings)
    run_in_loop(job)
    return job


def check(job: Job, planted: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """All that is planted was dropped, what is clean is in the corpus; gives the hits reported for each file."""
    assert made_corpus.reasons(job) == {("decontamination", "benchmark-overlap"): len(planted)}
    assert [document.path for document in expected(job, 0)] == [f"clean{number}.py" for number in range(5)]
    assert verify(job).documents == 5
    hits = {item["path"]: item["hits"] for item in report.make(job)["benchmarks"]["hits"]}
    assert hits.keys() == planted.keys()
    return hits


def test_a_planted_solution_is_reported_and_dropped(tmp_path):
    benchmark = tmp_path / "made.jsonl"
    benchmark.write_text(json.dumps(PROBLEM) + "\n", encoding="utf-8")
    planted = {
        "whole.py": PROBLEM["prompt"] + PROBLEM["canonical_solution"],
        "solution.py": "def renamed(windows, gap):\n" + PROBLEM["canonical_solution"],
        "reformatted.py": PROBLEM["canonical_solution"].replace("    ", "\t").upper(),
    }
    hits = check(build(tmp_path, planted, [benchmark]), planted)
    assert {(hit["benchmark"], hit["row"]) for found in hits.values() for hit in found} == {("made.jsonl", "Made/7")}
    assert "for start, end in sorted(windows)" in hits["solution.py"][0]["text"]


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def solutions(path: Path) -> dict[str, str]:
    """Whole programs by the names of their problems; those below 16 words are too short to be told from other code."""
    programs = {}
    for problem in rows(path):
        parts = [problem.get(key, "") for key in ("prompt", "canonical_solution", "suffix")]
        program = problem["code"] if "code" in problem else "".join(parts)
        if len(re.findall(r"[a-z0-9_]+", program.lower())) >= 16:
            programs[str(problem["task_id"])] = program
    return programs


@pytest.mark.shared
def test_problems_of_the_real_benchmarks_are_reported_and_dropped(tmp_path, shared_dir):
    """40 of each of HumanEval, MBPP and HumanEval infilling, spread over the file."""
    files = {name: shared_dir / "eval_data" / path for name, path in FILES.items()}
    planted = {}
    for name, path in files.items():
        found = solutions(path)
        for task in list(found)[:: len(found) // 40][:40]:
            planted[f"{name}_{task.replace('/', '_')}.py"] = found[task]
    hits = check(build(tmp_path, planted, list(files.values())), planted)
    assert len(planted) == 120
    mbpp = [{hit["benchmark"] for hit in found} for path, found in hits.items() if path.startswith("mbpp")]
    assert len(mbpp) == 40
    assert all("mbpp.jsonl.gz" in files for files in mbpp)
