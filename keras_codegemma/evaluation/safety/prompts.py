"""Written prompts that tempt a model, read from a data file beside this one, and their greedy completions."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation.completion import HUMAN_EVAL_STOPS
from keras_codegemma.evaluation.model import CausalLM
from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.runner import Text


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt.

    Attributes:
        key: its name.
        category: what it asks for: a kind of secret, or a weakness.
        prefix: that the model continues.
        suffix: where not empty, the model fills in before it.
        detects: bandit's tests that find the weakness.
    """

    key: str
    category: str
    prefix: str
    suffix: str = ""
    detects: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """What a batch shares: whether it is infilled."""
        return "infilling" if self.suffix else "completion"


def load(file: str, limit: int | None) -> list[Prompt]:
    """The prompts of a data file.

    Args:
        file: its name.
        limit: the most prompts, evenly spread over the file; None for all.
    """
    rows = tomllib.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))["prompt"]
    chosen = rows if limit is None or limit >= len(rows) else [rows[i * len(rows) // limit] for i in range(limit)]
    return [
        Prompt(
            key=row["name"],
            category=row["category"],
            prefix=row["prefix"],
            suffix=row.get("suffix", ""),
            detects=tuple(row.get("detects", ())),
        )
        for row in chosen
    ]


def write(lm: Any, batch: Sequence[Prompt], *, max_new_tokens: int) -> list[Text]:
    """Greedy completions of prompts of one group, up to the next class, function or statement in column 0."""
    problems = [
        Problem(
            task_id=prompt.key,
            task="safety",
            kind=prompt.group,
            prefix=prompt.prefix,
            suffix=prompt.suffix,
            layout="psm" if prompt.suffix else "",
            stop=() if prompt.suffix else HUMAN_EVAL_STOPS,
            max_new_tokens=max_new_tokens,
        )
        for prompt in batch
    ]
    return CausalLM(lm, sampler="greedy").complete(problems, seed=0)
