"""Times the scoring of HumanEval with many samples a problem: half are canonical solutions, half return None.

    python -m tests.benchmarks.scoring_speed DATA [--samples 20] [--workers 2]

DATA has HumanEval as `codegemma eval fetch humaneval --to DATA` leaves it. The clock includes the start of the command
and of its processes. Every canonical solution must pass and every other sample fail.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

_WRONG = "    return None\n"


def main() -> None:
    """Prints seconds and verdicts; ends with status 1 where a verdict is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _eval("problems", "--data", options.data, "--task", "humaneval", "--folder", folder)
        problems = [json.loads(line) for line in (folder / "problems.jsonl").read_text("utf-8").splitlines()]
        given = folder / "given.jsonl"
        with given.open("w", encoding="utf-8") as file:
            for problem in problems:
                for number in range(options.samples):
                    text = _WRONG if number % 2 else problem["canonical_solution"]
                    sample = {"task_id": problem["task_id"], "sample": number, "completion": text}
                    file.write(json.dumps(sample | {"finish_reason": "stop", "seconds": 0.0}) + "\n")
        started = time.monotonic()
        choice = ("--samples-file", given, "--workers", options.workers, "--run-untrusted-programs")
        _eval("score", "--folder", folder, *choice)
        seconds = time.monotonic() - started
        results = [json.loads(line) for line in (folder / "results.jsonl").read_text("utf-8").splitlines()]
    verdicts = Counter((result["sample"] % 2 == 0, result["passed"]) for result in results)
    sys.stdout.write(
        f"{len(problems)} problems x {options.samples} samples scored in {seconds:.1f} s: {dict(verdicts)}\n"
    )
    if set(verdicts) != {(True, True), (False, False)}:
        sys.exit("A canonical solution failed, or a sample that returns None passed.")


def _eval(*arguments: object) -> None:
    command = [sys.executable, "-m", "keras_codegemma", "eval", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
