"""Compares our verdicts with those of the original human-eval and human-eval-infilling scorers, on 500 mixed samples.

    python -m tests.evaluation.original_scorers DATA HUMAN_EVAL INFILLING

DATA is the folder of benchmark files, the others are checkouts of openai/human-eval (6d43fb9) and
openai/human-eval-infilling (88062ff). Samples are the benchmarks' own answers, whole or spoilt in ways that a seed
draws; none was written by a model, because the original scorers have no sandbox. Ends with status 1 where a verdict
differs.
"""

import importlib.util
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from keras_codegemma.evaluation import completion, infilling, runner
from keras_codegemma.evaluation.datasets import read_rows
from keras_codegemma.evaluation.execution import Executor, PythonJob
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.sandbox import Bubblewrap

COUNT = 250
"""Samples of each of the two scorers."""
SECONDS = 3.0
"""The original scorers' limit, on the clock."""
SWAPS = (("+", "-"), ("<", ">"), ("True", "False"), ("0", "1"), ("==", "!="), ("and", "or"), ("1", "2"))


class Sample(NamedTuple):
    """A completion with its problem, in our form and the original's."""

    problem: Problem
    row: dict
    kind: str
    completion: str


def _swapped(answer: str, rng: random.Random) -> str:
    there = [pair for pair in SWAPS if pair[0] in answer]
    if not there:
        return answer + "("
    old, new = rng.choice(there)
    place = rng.choice([found.start() for found in re.finditer(re.escape(old), answer)])
    return answer[:place] + new + answer[place + len(old) :]


SPOILT: dict[str, Callable[[str, random.Random], str]] = {
    "whole": lambda answer, _: answer,
    "whole with more after it": lambda answer, _: answer + "\n",
    "empty": lambda *_: "",
    "without its last character": lambda answer, _: answer[:-1],
    "without its last line": lambda answer, _: "".join(answer.splitlines(keepends=True)[:-1]),
    "swapped": _swapped,
    "early": lambda answer, _: "    return None\n" + answer,
}
"""How an answer becomes a sample; "whole" is drawn half of the time."""


def samples(data: Path, rng: random.Random) -> tuple[list[Sample], list[Sample]]:
    """The samples of the first and of the second scorer."""
    rows = read_rows(data, completion.HUMAN_EVAL_FILE)
    first = list(zip(completion.load_human_eval(data), rows, strict=True))
    second = []
    for split in ("single-line", "multi-line", "random-span"):
        rows = read_rows(data, infilling.FILES[split])
        second += rng.sample(list(zip(infilling.load(data, split=split, layout="psm"), rows, strict=True)), 200)
    return _drawn(first, rng), _drawn(second, rng)


def _drawn(pairs: list[tuple[Problem, dict]], rng: random.Random) -> list[Sample]:
    drawn = []
    for problem, row in rng.choices(pairs, k=COUNT):
        kind = rng.choice(["whole", rng.choice(list(SPOILT))])
        text = SPOILT[kind](problem.canonical_solution, rng)
        # What a stop would cut is no difference of scorers.
        drawn.append(Sample(problem, row, kind, problem.cut(text)))
    return drawn


def scorer(path: Path) -> ModuleType:
    """The original's `execution.py`, with its line that runs the program restored where it is commented out."""
    text = re.sub(r"^# +exec\(", " " * 20 + "exec(", path.read_text("utf-8"), flags=re.MULTILINE)
    restored = Path(tempfile.mkdtemp(prefix="codegemma-scorer-"), "execution.py")
    restored.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"original_{path.parent.name}", restored)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def theirs(module: ModuleType, drawn: list[Sample]) -> list[bool]:
    """The original's verdicts, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda one: module.check_correctness(one.row, one.completion, SECONDS), drawn)
        return [result["passed"] for result in found]


def ours(executor: Executor, drawn: list[Sample]) -> list[bool]:
    """Our verdicts, in the sandbox."""
    jobs = [runner.job_for(one.problem, one.completion) for one in drawn]
    return [outcome.passed for outcome in executor.run([job for job in jobs if isinstance(job, PythonJob)])]


def main(arguments: list[str]) -> int:
    """Compares, prints how many samples of each kind passed, and names each difference."""
    data, human_eval, human_eval_infilling = map(Path, arguments)
    drawn = samples(data, random.Random(0))
    checkouts = (
        human_eval / "human_eval" / "execution.py",
        human_eval_infilling / "human_eval_infilling" / "execution.py",
    )
    box, differing = Bubblewrap(), 0
    with Executor(box, workers=2, allow_execution=True) as executor:
        for path, some in zip(checkouts, drawn, strict=True):
            mine, original = ours(executor, some), theirs(scorer(path), some)
            kinds = Counter(one.kind for one in some)
            passed = Counter(one.kind for one, right in zip(some, original, strict=True) if right)
            print(f"{path.parent.name}: {len(some)} samples, {sum(original)} passed there, {sum(mine)} passed here")
            print("  " + ", ".join(f"{kind} {passed[kind]}/{kinds[kind]}" for kind in SPOILT))
            for one, here, there in zip(some, mine, original, strict=True):
                if here != there:
                    differing += 1
                    print(f"  {one.problem.task_id} ({one.kind}): {here} here, {there} there: {one.completion!r}")
    box.close()
    print(f"{differing} of {2 * COUNT} verdicts differ")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
