"""Times reading, filtering and scrubbing of real sources in one process, and prints megabytes a second by stage.

    python -m tests.benchmarks.corpus_reading SOURCE... [--runs 3] [--output FILE.json]

SOURCE is whatever the readers take: folders, git repositories, archives, tables. Seconds are of the processor, so that
other programs on the machine matter less. A stage is timed by the bytes that go into it; "whole" is the bytes that
passed every stage by the seconds of all, and "whole in" the bytes that were read. `--profile` shows where a run goes.
"""

import argparse
import cProfile
import datetime
import json
import platform
import pstats
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from training.corpus import reading
from training.corpus.document import Document, RawFile
from training.corpus.filters import FileFilter, FilterSettings
from training.corpus.secrets import Scrubber


def measure(sources: list[Path]) -> dict[str, Any]:
    """One run over all sources, one after another: nothing but one source's files is held."""
    seconds: Counter[str] = Counter()
    size: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    redacted: Counter[str] = Counter()
    file_filter, scrubber = FileFilter(FilterSettings(licences=None)), Scrubber()
    for source in sources:
        started = time.process_time()
        items = list(reading.read(source))
        seconds["read"] += time.process_time() - started
        raws = [item for item in items if isinstance(item, RawFile)]
        dropped.update(item.reason for item in items if not isinstance(item, RawFile))
        size["read"] += sum(len(raw.data) for raw in raws)

        started = time.process_time()
        filtered = [file_filter(raw) for raw in raws]
        seconds["filter"] += time.process_time() - started
        documents = [item for item in filtered if isinstance(item, Document)]
        dropped.update(item.reason for item in filtered if not isinstance(item, Document))
        size["filter"] += sum(document.size_bytes for document in documents)

        started = time.process_time()
        scrubbed = [scrubber.scrub(document) for document in documents]
        seconds["scrub"] += time.process_time() - started
        for result in scrubbed:
            redacted.update(result.redacted)
            if isinstance(result.result, Document):
                size["scrub"] += result.result.size_bytes
            else:
                dropped[result.result.reason] += 1
    return {"seconds": seconds, "out_bytes": size, "dropped": dropped, "redacted": redacted}


def rates(run: dict[str, Any]) -> dict[str, float]:
    """Megabytes a second of each stage, by what goes into it, and of the whole."""
    seconds, size = run["seconds"], run["out_bytes"]
    into = {"read": size["read"], "filter": size["read"], "scrub": size["filter"]}
    stages = {stage: into[stage] / 1e6 / max(seconds[stage], 1e-9) for stage in into}
    total = max(sum(seconds.values()), 1e-9)
    return {**stages, "whole": size["scrub"] / 1e6 / total, "whole in": size["read"] / 1e6 / total}


def main() -> int:
    """Prints the table; 0 for success."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.profile:
        with cProfile.Profile() as profile:
            measure(options.sources)
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)
        return 0
    runs = [measure(options.sources) for _ in range(options.runs)]
    by_stage = [rates(run) for run in runs]
    sys.stdout.write(f"{'stage':10} {'MB/s':>8} {'lowest':>8} {'highest':>8}\n")
    for stage in by_stage[0]:
        values = [rate[stage] for rate in by_stage]
        sys.stdout.write(f"{stage:10} {statistics.median(values):8.1f} {min(values):8.1f} {max(values):8.1f}\n")
    facts = {key: dict(runs[0][key]) for key in ("out_bytes", "dropped", "redacted")}
    sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    if options.output:
        where = {"machine": platform.machine(), "python": platform.python_version(), "date": f"{datetime.date.today()}"}
        options.output.write_text(json.dumps({**where, **facts, "mb_per_second": by_stage}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
