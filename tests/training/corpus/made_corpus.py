"""A small made-up set of repositories with something for every stage to drop, and builds of it."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from training import recipes
from training.corpus.decontamination import DecontaminationSettings
from training.corpus.fitting import FittingSettings
from training.corpus.job import Job
from training.corpus.ledger import STAGES, Ledger
from training.corpus.manifest import read_manifest
from training.corpus.recipe import CorpusRecipe, Source

TOKENIZER = Path(__file__).parents[3] / "presets" / "code_gemma_tiny" / "assets" / "tokenizer" / "vocabulary.spm"
SOLUTION = (
    "def interleave_longest(first, second):\n    taken = [pair for couple in zip(first, second) for pair in couple]\n"
)
SECRET = "AKIA" + "J5Q3ZK7XW2MN6VTB"
"""In the form of an access key."""


def module(seed: int, *, functions: int = 6) -> str:
    """A Python file of random names."""
    rng = Random(seed)
    parts = [f'"""Module {seed} about {rng.randrange(10**6)}."""\n\n']
    for _ in range(functions):
        name, values = f"work_{rng.randrange(10**6)}", [f"item_{rng.randrange(10**6)}" for _ in range(4)]
        parts.append(f"def {name}({', '.join(values)}):\n")
        parts += [f"    {value} = {value} + {rng.randrange(100)}  # then {rng.randrange(10**6)}\n" for value in values]
        parts.append(f"    return {values[0]}\n\n\n")
    return "".join(parts)


def write(folder: Path) -> tuple[Path, ...]:
    """Makes the sources: two folders that share files, and a table of three repositories in mixed order."""
    first, second = folder / "first", folder / "second"
    for name, text in {
        "first/pack/one.py": "import pack.two\n" + module(1),
        "first/pack/two.py": module(2),
        "first/pack/long.py": module(3, functions=60),
        "first/tests/test_one.py": "from pack import one\n" + module(4),
        "first/empty.py": "",
        "first/picture.bin": "\x00\x01",
        "first/bars.py": module(5) + "# ▁\n",
        "first/LICENSE.txt": "Nothing that is known.\n",
        "second/copy.py": module(2),
        "second/nearly.py": module(3, functions=60).replace("Module 3", "Module three"),
        "second/leak.py": module(6) + f'key = "{SECRET}"\n',
        "second/solution.py": module(7) + SOLUTION,
        "second/own.py": module(8),
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    rows = [
        {"repository": f"table/{number % 3}", "path": f"file{number}.py", "text": module(100 + number)}
        for number in range(12)
    ]
    rows.append(rows[0] | {"text": module(99)})  # a name for the second time
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "benchmark.jsonl").write_text(json.dumps({"task_id": "T/0", "code": SOLUTION}) + "\n", encoding="utf-8")
    return first, second, table


def recipe(folder: Path) -> CorpusRecipe:
    """Of those sources: short rows, three shards or so."""
    return replace(
        recipes.find("own_repositories", CorpusRecipe),
        sources=tuple(Source(kind="path", name=str(path)) for path in write(folder)),
        tokenizer=str(TOKENIZER),
        shard_bytes=12_000,
        fitting=FittingSettings(sequence_length=512),
        decontamination=DecontaminationSettings(benchmarks=(str(folder / "benchmark.jsonl"),)),
    )


def job(folder: Path, *, workdir: Path | None = None) -> Job:
    """A build of them that has not begun."""
    sources = folder / "sources"
    return Job(recipe=recipe(sources), workdir=workdir or folder / "work", sources=sources)


def job_of(paths: Iterable[Path], workdir: Path, **changes: Any) -> Job:
    """A build of other sources, with short rows, that has not begun."""
    made = replace(
        recipes.find("own_repositories", CorpusRecipe),
        sources=tuple(Source(kind="path", name=str(path)) for path in paths),
        tokenizer=str(TOKENIZER),
        fitting=FittingSettings(sequence_length=512),
        **changes,
    )
    return Job(recipe=made, workdir=workdir, sources=workdir)


def reasons(built: Job) -> dict[tuple[str, str], int]:
    """How many files a finished build dropped, by stage and reason; its counts add up."""
    counts = Ledger.from_json(read_manifest(built.corpus).counts["files"])
    counts.check()
    return {(stage, name): files for stage in STAGES for name, (files, _) in counts.reasons(stage).items()}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
