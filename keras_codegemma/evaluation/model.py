"""The model as sampling uses it: `CodeGemmaCausalLM` behind `runner.Model`. The only file here that loads Keras."""

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.runner import Text


class CausalLM:
    """Completes problems with a model of this package.

    Args:
        lm: a `CodeGemmaCausalLM` with its preprocessor.
        sampler: of `keras_codegemma.samplers`; None for greedy.
    """

    def __init__(self, lm: Any, *, sampler: Any = None):
        self.lm = lm
        self._sampler = sampler

    @property
    def device(self) -> str:
        """What it runs on."""
        import jax

        kind = jax.devices()[0].device_kind
        # JAX calls every processor "cpu".
        return f"{jax.default_backend()}, {_processor() if kind == 'cpu' else kind}, {os.cpu_count()} cores"

    @property
    def versions(self) -> dict[str, str]:
        """Of what a timing depends on."""
        return {name: metadata.version(name) for name in ("jax", "keras")}

    @classmethod
    def from_preset(cls, preset: str | os.PathLike[str], *, dtype: str | None = None, temperature: float = 0.0):
        """Loads a preset.

        Args:
            preset: as `CodeGemmaCausalLM.from_preset` takes it.
            dtype: of the weights; None as stored.
            temperature: 0 for greedy, else of top-p sampling with p = 0.95.
        """
        import keras_codegemma as kcg

        sampler = kcg.samplers.TopPSampler(p=0.95, temperature=temperature) if temperature else None
        return cls(kcg.CodeGemmaCausalLM.from_preset(preset, dtype=dtype), sampler=sampler)

    def complete(self, problems: Sequence[Problem], *, seed: int) -> list[Text]:
        """As `runner.Model.complete`."""
        first = problems[0]
        options: dict[str, Any] = {"sampler": self._sampler, "seed": seed}
        if first.kind == "infilling":
            completions = self.lm.infill(
                [problem.prefix for problem in problems],
                [problem.suffix for problem in problems],
                path=first.path or None,
                context_files=first.context,
                layout=first.layout or None,
                max_new_tokens=first.max_new_tokens,
                details=True,
                **options,
            )
            return [Text(completion.text, completion.finish_reason) for completion in completions]
        return self._continue(problems, options)

    def _continue(self, problems: Sequence[Problem], options: dict[str, Any]) -> list[Text]:
        """Continues prompts, each with the budget that the context leaves it.

        A stop that belongs to the completion is not passed on: the model's own cut would lose it.
        """
        encode, context = self.lm.preprocessor.encode_prompt, self.lm.backbone.config.context_length
        first = problems[0]
        texts = [Text("", "prompt_too_long")] * len(problems)
        by_budget: dict[int, list[int]] = {}
        for place, problem in enumerate(problems):
            room = context - len(encode(problem.prefix))
            if room >= 1:
                by_budget.setdefault(min(first.max_new_tokens, room), []).append(place)
        for budget, places in by_budget.items():
            written = self.lm.generate(
                [problems[place].prefix for place in places],
                max_new_tokens=budget,
                stop_at=list(first.stop) if first.stop and not first.keep_stop else None,
                strip_prompt=True,
                **options,
            )
            for place, text in zip(places, written, strict=True):
                # `generate` gives texts alone: one that fills the budget was cut. Encoded again (with one more id,
                # for the start) it may be a token shorter.
                full = len(encode(text)) - 1 >= budget - 1
                texts[place] = Text(text, "length" if full else "stop")
        return texts


def _processor() -> str:
    """What the system calls its processor, or the architecture where it does not say."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text("utf-8").splitlines() if about.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
