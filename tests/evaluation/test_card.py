"""The tiny preset's infilling, all 2994 completions by the one command, against the passes in its model card.

`pytest -m slow tests/evaluation/test_card.py -s` prints the rows: passed, pass rate, exact, stopped by itself.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

SETS = {
    "MultiLineInfilling": "multi-line-300",
    "RandomSpanInfillingLight": "random-span-light",
    "SingleLineInfilling": "single-line",
}
"""Name in the card -> split of ours."""
LARGEST_DIFFERENCE = 3
"""Problems a row: on another processor sums are made in another order, and near ties fall either way."""
LONGEST_SECONDS = 600
"""On two cores that do nothing else."""


def card_rows(text: str) -> dict[tuple[str, str], tuple[int, int]]:
    """(set, layout) -> (problems, passed) of each row of a model card's infilling table."""
    found = re.findall(r"^\| (\w+) \| (PSM|SPM) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    return {(name, layout): (int(problems), int(passed)) for name, layout, problems, passed in found}


CARD = Path(__file__).parents[2] / "presets" / "code_gemma_tiny" / "MODEL_CARD.md"


def test_the_card_has_every_set_in_both_layouts() -> None:
    rows = card_rows(CARD.read_text("utf-8"))
    assert rows.keys() == {(name, layout) for name in SETS for layout in ("PSM", "SPM")}
    assert sum(problems for problems, _ in rows.values()) == 2994
    assert all(0 <= passed < problems / 4 for problems, passed in rows.values())


@pytest.mark.shared
@pytest.mark.slow
def test_one_command_gives_the_passes_of_the_card(shared_dir: Path, tmp_path: Path) -> None:
    expected = card_rows(CARD.read_text("utf-8"))
    command = [sys.executable, "-m", "keras_codegemma", "eval", "run", "--run-untrusted-programs"]
    for split in SETS.values():
        command += ["--task", f"infilling-{split}"]
    started = time.monotonic()
    subprocess.run([*command, "--data", str(shared_dir / "eval_data"), "--folder", str(tmp_path)], check=True)
    seconds = time.monotonic() - started
    tasks = json.loads((tmp_path / "report.json").read_text("utf-8"))["tasks"]
    differences = {}
    for (name, layout), (problems, passed) in expected.items():
        row = tasks[f"infilling-{SETS[name]}-{layout.lower()}"]
        assert row["problems"] == row["samples"] == problems
        rates = (row["pass_at"]["1"], row["exact_match"], row["stopped_rate"])
        shown = " | ".join(f"{100 * rate:.2f}" for rate in rates)
        print(f"| {name} | {layout} | {problems} | {row['passed']} | {shown} |", flush=True)
        differences[name, layout] = abs(row["passed"] - passed)
    print(f"{seconds:.0f} s", flush=True)
    assert max(differences.values()) <= LARGEST_DIFFERENCE, differences
    assert seconds < LONGEST_SECONDS
