"""Times `generate` beside KerasHub's Gemma on the same weights, in one run, and prints the ratios.

    python -m tests.benchmarks.generate_speed [--case tiny --case wide] [--runs 5] [--no-drafts] [--output FILE.json]

Needs the `hub` extra. Each case makes 128 tokens after a prompt, at KerasHub's default length of 1024. KerasHub
prefills and attends over all 1024 positions whatever the prompt's length, and stops early only at a stop id; so that
it makes exactly 128 tokens, its prompt is given 896 ids, which costs it the same as 128. Ours gets 128 ids.
The two take turns, A B A B, so the ratio of each pair holds on a machine whose speed drifts.

With one row, ours checks drafted tokens, which pays where text repeats itself, as these models' does: `--no-drafts`
shows the rest.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import argparse
import datetime
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import keras_codegemma as kcg
from keras_codegemma import generation
from keras_codegemma.config import CodeGemmaConfig

NEW_TOKENS = 128
PROMPT_TOKENS = 128
LENGTH = 1024
WIDE = CodeGemmaConfig(
    vocabulary_size=32_000,
    num_layers=4,
    num_query_heads=8,
    num_key_value_heads=1,
    hidden_dim=1024,
    feedforward_dim=3072,
    head_dim=128,
    context_length=1024,
)


def tiny(dtype: str) -> kcg.CodeGemmaBackbone:
    """The tiny preset."""
    return kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype=dtype).backbone


def wide(dtype: str) -> kcg.CodeGemmaBackbone:
    """Four random layers of width 1024, 80 million parameters."""
    return kcg.CodeGemmaBackbone(**WIDE.to_dict(), dtype=dtype)


CASES: dict[str, Callable[[str], kcg.CodeGemmaBackbone]] = {"tiny": tiny, "wide": wide}


def inputs(prompt_tokens: int, batch: int, length: int) -> dict[str, np.ndarray]:
    """Random ids, padded to `length`."""
    rng = np.random.default_rng(0)
    token_ids = np.zeros((batch, length), "int32")
    token_ids[:, :prompt_tokens] = rng.integers(300, 8000, (batch, prompt_tokens))
    return {"token_ids": token_ids, "padding_mask": token_ids > 0}


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(case: str, dtype: str, batch: int, runs: int) -> dict[str, Any]:
    """First calls, then `runs` pairs."""
    backbone = CASES[case](dtype)
    ours = kcg.CodeGemmaCausalLM(backbone)
    theirs = kcg.hub.to_keras_hub(ours)
    short, long = inputs(PROMPT_TOKENS, batch, LENGTH), inputs(LENGTH - NEW_TOKENS, batch, LENGTH)

    def run_ours() -> None:
        result = ours.generate(short, max_new_tokens=NEW_TOKENS, stop_token_ids=None)
        assert result["padding_mask"].sum() == batch * (PROMPT_TOKENS + NEW_TOKENS)

    def run_theirs() -> None:
        theirs.generate(dict(long), stop_token_ids=None)

    first = {"ours": seconds(run_ours), "kerashub": seconds(run_theirs)}
    pairs = [(seconds(run_ours), seconds(run_theirs)) for _ in range(runs)]
    return {
        "case": f"{case} {dtype} batch {batch}: {NEW_TOKENS} new tokens at length {LENGTH}",
        "first_call_seconds": first,
        "ours_seconds": summary([a for a, _ in pairs]),
        "kerashub_seconds": summary([b for _, b in pairs]),
        "speedup": summary([b / a for a, b in pairs]),
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median and spread."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def line(result: dict[str, Any]) -> str:
    """One result in words."""
    speedup, first = result["speedup"], result["first_call_seconds"]
    return (
        f"{result['case']}: {result['ours_seconds']['median']:.3f} s, KerasHub "
        f"{result['kerashub_seconds']['median']:.3f} s, {speedup['median']:.1f} times as fast ({speedup['min']:.1f} to "
        f"{speedup['max']:.1f}); first call {first['ours']:.1f} and {first['kerashub']:.1f} s"
    )


def environment() -> dict[str, Any]:
    """What the figures were measured with."""
    names = ("jax", "jaxlib", "keras", "keras-hub", "numpy")
    return {
        "date": datetime.date.today().isoformat(),
        "command": "python -m tests.benchmarks.generate_speed " + " ".join(sys.argv[1:]),
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }


def main() -> None:
    """Runs the chosen cases, prints one line each and writes them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--dtype", action="append", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", action="append", type=int)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-drafts", action="store_true", help="one token a pass, also for one row")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.no_drafts:
        generation.DRAFT_TOKENS = 0
    results = []
    for case in arguments.case or sorted(CASES):
        for dtype in arguments.dtype or ["float32", "bfloat16"]:
            for batch in arguments.batch or [1, 8]:
                result = measure(case, dtype, batch, arguments.runs)
                results.append(result)
                print(line(result), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({**environment(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
