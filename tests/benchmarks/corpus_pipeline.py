"""Builds corpora of two sizes, by Beam and by a plain loop over the same steps: overhead, speed and memory.

    python -m tests.benchmarks.corpus_pipeline SOURCE... [--tokenizer FILE.model] [--shares 0.25 1]
        [--runs 3] [--set NAME=VALUE] [--output FILE.json]

A share of 0.25 builds from the first quarter of the sources, by their bytes. Every build runs in a process of its own,
so that its memory is its own. Seconds are of the processor, from the first step to the manifest, imports left out;
"overhead" is Beam's seconds over the loop's, less 1, of the medians. Megabytes are 10^6 bytes of text after filters.
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from training import recipes
from training.corpus import report
from training.corpus.clock import peak_memory_bytes
from training.corpus.job import Job
from training.corpus.recipe import CorpusRecipe, Source
from training.settings import with_settings

TINY = Path(__file__).parents[2] / "presets/code_gemma_tiny/assets/tokenizer/vocabulary.spm"
ENGINES = ("loop", "beam")


def build(engine: str, sources: list[Path], workdir: Path, settings: list[str]) -> dict[str, Any]:
    """One build in this process."""
    from training.corpus import pipeline
    from training.corpus.steps import run_in_loop

    recipe = with_settings(recipes.find("own_repositories", CorpusRecipe), settings)
    recipe = replace(recipe, sources=tuple(Source(kind="path", name=str(path)) for path in sources))
    job = Job(recipe=recipe, workdir=workdir, sources=workdir)
    started = time.process_time()
    run_in_loop(job) if engine == "loop" else pipeline.run(job)
    seconds = time.process_time() - started
    made = report.make(job)
    return {
        "seconds": seconds,
        "peak_memory_bytes": peak_memory_bytes(),
        "megabytes": made["speed"]["source_megabytes"],
        "fingerprint": made["fingerprint"],
    }


def in_new_process(engine: str, sources: list[Path], settings: list[str]) -> dict[str, Any]:
    """As `build`, in a process and a folder that are gone afterwards."""
    with tempfile.TemporaryDirectory() as workdir:
        task = json.dumps([engine, [str(path) for path in sources], workdir, settings])
        call = [sys.executable, "-m", "tests.benchmarks.corpus_pipeline", "--one", task]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"A build must succeed; {engine} of {len(sources)} sources did not: {done.stderr[-2000:]}"
            )
        return json.loads(done.stdout.splitlines()[-1])


def first_of(sources: list[Path], share: float) -> list[Path]:
    """The first sources, until they have a share of all bytes."""
    total, taken = sum(path.stat().st_size for path in sources) * share, 0
    chosen = []
    for path in sources:
        if taken >= total:
            break
        chosen.append(path)
        taken += path.stat().st_size
    return chosen


def main() -> int:
    """Prints a line for each size and engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--tokenizer", default=str(TINY))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.25, 1.0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        engine, sources, workdir, settings = json.loads(options.one)
        print(json.dumps(build(engine, [Path(name) for name in sources], Path(workdir), settings)))
        return 0
    settings = [f"tokenizer={options.tokenizer}", *options.settings]
    cases = []
    for share in options.shares:
        sources = first_of(options.sources, share)
        # Engines take turns, so that what else the machine does falls on both.
        runs = [{engine: in_new_process(engine, sources, settings) for engine in ENGINES} for _ in range(options.runs)]
        if len({run[engine]["fingerprint"] for run in runs for engine in ENGINES}) != 1:
            raise RuntimeError("All builds of the same sources must be the same; these differ. Report it.")
        cases.append(_case(share, runs))
        print(_line(cases[-1]), flush=True)
    if options.output:
        about = {"command": " ".join(sys.argv), "date": datetime.date.today().isoformat()}
        machine = {"python": platform.python_version(), "processor": platform.processor() or platform.machine()}
        options.output.write_text(json.dumps({**about, **machine, "cases": cases}, indent=1) + "\n", encoding="utf-8")
    return 0


def _case(share: float, runs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    seconds = {engine: [run[engine]["seconds"] for run in runs] for engine in ENGINES}
    medians = {engine: statistics.median(values) for engine, values in seconds.items()}
    return {
        "share": share,
        "megabytes": runs[0]["loop"]["megabytes"],
        "seconds": seconds,
        "overhead": medians["beam"] / medians["loop"] - 1,
        "mb_per_second": {engine: runs[0]["loop"]["megabytes"] / medians[engine] for engine in ENGINES},
        "peak_memory_bytes": {engine: max(run[engine]["peak_memory_bytes"] for run in runs) for engine in ENGINES},
    }


def _line(case: dict[str, Any]) -> str:
    rates, memory = case["mb_per_second"], case["peak_memory_bytes"]
    return (
        f"{case['megabytes']:.1f} MB: loop {rates['loop']:.2f} MB/s, Beam {rates['beam']:.2f} MB/s, "
        f"overhead {case['overhead']:.1%}; most memory {memory['loop'] / 1e6:.0f} and {memory['beam'] / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
