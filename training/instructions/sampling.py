"""Answers written by a preset: what `code` judges.

A line of prompts is `{"prompt": "...", "tests": "..."}`. An instruction-tuned model is asked in a chat; any other goes
on with the prompt as the beginning of a program, and prompt and continuation together are the answer, fenced. Answers
are appended as they come, a prompt's together, so sampling that was stopped goes on where it was, with the answers that
it would have had; more `samples` add to those that are there.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

import keras_codegemma as kcg
from keras_codegemma.evaluation import records
from training.instructions.chats import read_distinct

ANSWER = {"prompt": records.TEXT, "response": records.TEXT, "tests": records.TEXT}
"""Fields of a line of answers."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked, and the tests of the answers."""

    prompt: str
    tests: str


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How answers are drawn.

    Attributes:
        samples: answers of each prompt.
        form: "chat", or "code" for a program's beginning.
        max_new_tokens: the most of an answer.
        temperature: of the draw.
        top_p: likewise.
        seed: of the first prompt; each has its own.
    """

    samples: int = 4
    form: Literal["chat", "code"] = "chat"
    max_new_tokens: int = 512
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.max_new_tokens < 1:
            raise ValueError(
                f"samples and max_new_tokens must be at least 1; got {self.samples} and {self.max_new_tokens}."
            )


def read_tasks(path: Path) -> list[Task]:
    """All lines; the same line twice counts once.

    Raises:
        FileNotFoundError, ValueError: no such file, none in it, or a line without a prompt or tests.
    """
    return read_distinct(path, Task, ("prompt", "tests"), what="prompts")


def sample(
    lm: kcg.CodeGemmaCausalLM,
    tasks: Sequence[Task],
    path: Path,
    *,
    settings: SamplingSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Appends the answers that are not in the file yet.

    Args:
        lm: that answers.
        tasks: all.
        path: of the answers, made if missing.
        settings: how.
        progress: is told how many of all prompts have their answers.

    Returns:
        How many answers were drawn.

    Raises:
        ValueError: a prompt that leaves no room in the context for an answer; those before it keep theirs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = 0
    with records.Appender(path, ANSWER) as appender:
        have = Counter((item["prompt"], item["tests"]) for item in records.read(path, ANSWER).records)
        for number, task in enumerate(tasks):
            known = have[task.prompt, task.tests]
            if known < settings.samples:
                responses = _responses(lm, task.prompt, settings, seed=settings.seed + number)[known:]
                appender.add(
                    {"prompt": task.prompt, "response": response, "tests": task.tests} for response in responses
                )
                drawn += len(responses)
            progress(number + 1, len(tasks))
    return drawn


def _responses(lm: kcg.CodeGemmaCausalLM, prompt: str, settings: SamplingSettings, *, seed: int) -> list[str]:
    sampler = kcg.samplers.TopPSampler(p=settings.top_p, temperature=settings.temperature)
    options = {"max_new_tokens": settings.max_new_tokens, "sampler": sampler, "seed": seed, "strip_prompt": True}
    if settings.form == "code":
        return [f"```python\n{prompt}{rest}\n```" for rest in lm.generate([prompt] * settings.samples, **options)]
    tokenizer = lm.preprocessor.tokenizer
    row = lm.preprocessor.encode_chat([{"role": "user", "content": prompt}])
    inputs = {
        "token_ids": np.tile(np.asarray(row, np.int32), (settings.samples, 1)),
        "padding_mask": np.ones((settings.samples, len(row)), bool),
    }
    stops = tokenizer.chat_stop_ids
    found = lm.generate(inputs, stop_token_ids=stops, **options)
    rows = (ids[mask] for ids, mask in zip(found["token_ids"], found["padding_mask"], strict=True))
    return [tokenizer.decode(ids[~np.isin(ids, stops)]) for ids in rows]
