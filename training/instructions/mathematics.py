"""Mathematics sets as chats: GSM8K, MATH and MathQA, in the files that their authors publish.

| set | fields of a line | learned are |
| --- | --- | --- |
| gsm8k (Cobbe et al., 2021) | question; answer, "#### 7" at its end | the steps alone; "The answer is 7." |
| math (Hendrycks et al., 2021) | problem; solution with a boxed result | the solution; "The answer is $7$." |
| mathqa (Amini et al., 2019) | Problem, Rationale, options, correct | the rationale; "The answer is c) 7." |

The last sentence is the form that the evaluation's few-shot prompts teach too, so that an answer can be read off.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.corpus.decontamination import Benchmarks
from training.instructions.chats import chat, is_clean, read_lines, text_of

_CALCULATION = re.compile(r"<<[^<>]*>>")
_OPTION = re.compile(r"\b([a-e])\s*\)\s*(.*?)\s*(?:,\s*(?=[a-e]\s*\))|$)", re.DOTALL)


@dataclass
class Counts:
    """What became of the lines: "kept", "benchmark", "duplicate", "no-answer"."""

    found: Counter[str] = field(default_factory=Counter)


def conversations(path: Path, kind: str, *, benchmarks: Benchmarks | None, counts: Counts) -> Iterator[dict[str, Any]]:
    """The chats of a file: no question twice, none of which a benchmark has a piece, none without a readable answer.

    Args:
        path: JSON lines.
        kind: one of `KINDS`.
        benchmarks: test questions; None for none.
        counts: is added to.

    Raises:
        FileNotFoundError, ValueError: no such file, or a line without the set's fields.
    """
    seen: set[str] = set()
    for number, item in read_lines(path):
        question, steps, answer = KINDS[kind](item, number, path)
        if answer is None:
            fate = "no-answer"
        elif question in seen:
            fate = "duplicate"
        elif not is_clean((question, steps), benchmarks):
            fate = "benchmark"
        else:
            fate = "kept"
            seen.add(question)
            yield chat(question, f"{steps}\nThe answer is {answer}.")
        counts.found[fate] += 1


def _gsm8k(item: Mapping[str, Any], number: int, path: Path) -> tuple[str, str, str | None]:
    question, whole = (text_of(item, name, number=number, path=path).strip() for name in ("question", "answer"))
    steps, mark, answer = whole.rpartition("####")
    return question, _CALCULATION.sub("", steps).strip(), answer.strip() if mark and answer.strip() else None


def _math(item: Mapping[str, Any], number: int, path: Path) -> tuple[str, str, str | None]:
    question, solution = (text_of(item, name, number=number, path=path).strip() for name in ("problem", "solution"))
    boxed = last_boxed(solution)
    return question, solution, None if boxed is None else f"${boxed}$"


def _mathqa(item: Mapping[str, Any], number: int, path: Path) -> tuple[str, str, str | None]:
    question, rationale, options, correct = (
        text_of(item, name, number=number, path=path).strip() for name in ("Problem", "Rationale", "options", "correct")
    )
    found = dict(_OPTION.findall(options))
    answer = found.get(correct.lower())
    choices = "\n".join(f"{letter}) {value}" for letter, value in found.items())
    steps = rationale.strip('" ')
    return f"{question}\n{choices}", steps, None if answer is None else f"{correct.lower()}) {answer}"


def last_boxed(solution: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, braces in it counted; None where there is none or it never ends."""
    start = solution.rfind("\\boxed{")
    if start < 0:
        return None
    begin, depth = start + len("\\boxed{"), 1
    for place in range(begin, len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[place], 0)
        if depth == 0:
            return solution[begin:place]
    return None


KINDS: Mapping[str, Callable[[Mapping[str, Any], int, Path], tuple[str, str, str | None]]] = {
    "gsm8k": _gsm8k,
    "math": _math,
    "mathqa": _mathqa,
}
"""Question, steps and answer of a line, by set; the answer is None where none can be read."""
