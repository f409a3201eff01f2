"""Training of a small model through `fit`, beside KerasHub's Gemma and plain PyTorch, on the CPU, in one run.

    python -m tests.benchmarks.fit_speed [--dtype float32 --dtype mixed_bfloat16] [--side ours --side keras_hub
        --side torch] [--rounds 3] [--steps 12] [--output FILE.json]

KerasHub needs the `hub` extra; PyTorch must be installed. Each side is a process of its own that trains a shape like
the preset's (4.7 million parameters, random weights) with AdamW on the same random rows, 8 x 1024 tokens a step; sides
take turns, and the ratio is of medians over all their steps but the first six of each process, which compile and
settle. Memory is the process's peak. The native kernels are used where they are built, as `codegemma doctor` says.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import argparse
import contextlib
import datetime
import io
import itertools
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROWS, LENGTH = 8, 1024
VOCABULARY, LAYERS, HEADS, WIDTH, FEEDFORWARD, HEAD_WIDTH = 8192, 4, 4, 256, 640, 64
RATE = 1e-3
SETTLING = 6
DTYPES = ("float32", "mixed_bfloat16")

Steps = list[tuple[float, float]]
"""Of each step, seconds on the wall and of the processors."""


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, labels and weights of one step, [8, 1024]."""
    ids = np.random.default_rng(0).integers(200, VOCABULARY, (ROWS, LENGTH + 1)).astype(np.int32)
    return ids[:, :-1], ids[:, 1:], np.ones((ROWS, LENGTH), np.float32)


def time_fit(model: Any, features: dict[str, np.ndarray], steps: int, *callbacks: Any) -> Steps:
    """The steps of one `fit`."""
    import keras

    ended = [_now()]

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            assert logs is not None
            float(logs["loss"])  # waits for the step
            ended.append(_now())

    def repeated(x: np.ndarray) -> np.ndarray:
        return np.tile(x, (steps, 1))

    _, labels, weights = batch()
    model.fit(
        {name: repeated(x) for name, x in features.items()},
        repeated(labels),
        sample_weight=repeated(weights),
        batch_size=ROWS,
        shuffle=False,
        callbacks=[Clock(), *callbacks],
        verbose=0,
    )
    return _differences(ended)


def _now() -> tuple[float, float]:
    """Seconds on the wall, and of all processors for this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def _differences(times: list[tuple[float, float]]) -> Steps:
    return [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(times)]


def ours(dtype: str, steps: int) -> Steps:
    """`CodeGemmaCausalLM.fit` as a training command runs it."""
    from keras_codegemma import heap

    heap.keep_freed_memory()
    import keras

    import keras_codegemma as kcg
    from keras_codegemma.settling import Settling

    backbone = kcg.CodeGemmaBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=LAYERS,
        num_query_heads=HEADS,
        num_key_value_heads=1,
        hidden_dim=WIDTH,
        feedforward_dim=FEEDFORWARD,
        head_dim=HEAD_WIDTH,
        context_length=LENGTH,
        dtype=dtype,
    )
    lm = kcg.CodeGemmaCausalLM(backbone)
    lm.compile(keras.optimizers.AdamW(RATE))
    return time_fit(lm, {"token_ids": batch()[0]}, steps, Settling())


def keras_hub(dtype: str, steps: int) -> Steps:
    """KerasHub's `GemmaCausalLM.fit` with its default loss."""
    import keras
    import keras_hub as hub

    backbone = hub.models.GemmaBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=LAYERS,
        num_query_heads=HEADS,
        num_key_value_heads=1,
        hidden_dim=WIDTH,
        intermediate_dim=2 * FEEDFORWARD,
        head_dim=HEAD_WIDTH,
        dtype=dtype,
    )
    lm = hub.models.GemmaCausalLM(backbone, preprocessor=None)
    lm.compile(
        optimizer=keras.optimizers.AdamW(RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    ids, _, weights = batch()
    return time_fit(lm, {"token_ids": ids, "padding_mask": weights > 0}, steps)


def torch(dtype: str, steps: int) -> Steps:
    """The same model in PyTorch, compiled, with bfloat16 autocast for "mixed_bfloat16"."""
    import torch as pt
    from torch.nn import functional

    pt.manual_seed(0)
    pt.set_num_threads(os.cpu_count() or 1)
    position = pt.arange(LENGTH)[:, None] * 10_000.0 ** (-pt.arange(0, HEAD_WIDTH, 2) / HEAD_WIDTH)
    sin, cos = position.sin()[None, None], position.cos()[None, None]

    def rotate(x: Any) -> Any:
        first, second = x.chunk(2, dim=-1)
        return pt.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)

    class Norm(pt.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = pt.nn.Parameter(pt.zeros(WIDTH))

        def forward(self, x: Any) -> Any:
            return functional.rms_norm(x.float(), (WIDTH,), eps=1e-6) * (1 + self.scale)

    class Block(pt.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = Norm(), Norm()
            self.query = pt.nn.Linear(WIDTH, HEADS * HEAD_WIDTH, bias=False)
            self.key, self.value = (pt.nn.Linear(WIDTH, HEAD_WIDTH, bias=False) for _ in range(2))
            self.out = pt.nn.Linear(HEADS * HEAD_WIDTH, WIDTH, bias=False)
            self.gate, self.up = (pt.nn.Linear(WIDTH, FEEDFORWARD, bias=False) for _ in range(2))
            self.down = pt.nn.Linear(FEEDFORWARD, WIDTH, bias=False)

        def forward(self, x: Any) -> Any:
            h = self.before(x)
            query, key, value = (
                part.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)
                for part in (self.query(h), self.key(h), self.value(h))
            )
            key, value = (part.expand(-1, HEADS, -1, -1) for part in (rotate(key), value))
            mixed = functional.scaled_dot_product_attention(rotate(query), key, value, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).flatten(2))
            h = self.between(x)
            return x + self.down(functional.gelu(self.gate(h), approximate="tanh") * self.up(h))

    class Model(pt.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = pt.nn.Embedding(VOCABULARY, WIDTH)
            self.blocks = pt.nn.ModuleList(Block() for _ in range(LAYERS))
            self.last = Norm()

        def forward(self, ids: Any, labels: Any) -> Any:
            x = self.embedding(ids) * WIDTH**0.5
            for block in self.blocks:
                x = block(x)
            logits = functional.linear(self.last(x), self.embedding.weight)
            return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())

    model = Model()
    program = pt.compile(model)
    optimizer = pt.optim.AdamW(model.parameters(), lr=RATE)
    ids, labels = (pt.from_numpy(x).long() for x in batch()[:2])
    ended = [_now()]
    for _ in range(steps):
        optimizer.zero_grad()
        with pt.autocast("cpu", pt.bfloat16, enabled=dtype == "mixed_bfloat16"):
            loss = program(ids, labels)
        loss.backward()
        optimizer.step()
        loss.item()
        ended.append(_now())
    return _differences(ended)


SIDES: dict[str, Callable[[str, int], Steps]] = {"ours": ours, "keras_hub": keras_hub, "torch": torch}


def main() -> None:
    """Measures what is asked for, or, in a process of its own, one side."""
    options = _parser().parse_args()
    if options.alone:
        with contextlib.redirect_stdout(io.StringIO()):
            steps = SIDES[options.alone](options.dtype[0], options.steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        sys.stdout.write(json.dumps({"steps": steps[SETTLING:], "peak_bytes": peak}) + "\n")
        return
    results = [_compare(dtype, options) for dtype in options.dtype or DTYPES]
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "threads": os.cpu_count(),
        "versions": {name: version(name) for name in ("jax", "keras")},
        "results": results,
    }
    if options.output:
        options.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _compare(dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    sides = options.side or list(SIDES)
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            command = [
                sys.executable,
                "-m",
                __spec__.name,
                "--alone",
                side,
                "--dtype",
                dtype,
                "--steps",
                str(options.steps),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    line: dict[str, Any] = {"dtype": dtype}
    for side, runs in found.items():
        wall, processors = (statistics.median(step[i] for run in runs for step in run["steps"]) for i in range(2))
        line[side] = {
            "tokens_per_second": round(ROWS * LENGTH / wall, 1),
            "processor_seconds_per_step": round(processors, 3),
            "peak_gigabytes": round(max(run["peak_bytes"] for run in runs) / 1e9, 2),
        }
        sys.stdout.write(f"{dtype} {side}: {json.dumps(line[side])}\n")
        if side != "ours" and "ours" in line:
            times = {name: line["ours"][name] / line[side][name] for name in ("tokens_per_second", "peak_gigabytes")}
            cheaper = line[side]["processor_seconds_per_step"] / line["ours"]["processor_seconds_per_step"]
            sys.stdout.write(
                f"  ours is {times['tokens_per_second']:.2f} times as fast, in processor time {cheaper:.2f} times, "
                f"with {times['peak_gigabytes']:.2f} of its memory\n"
            )
        sys.stdout.flush()
    return line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dtype", action="append", choices=DTYPES)
    parser.add_argument("--side", action="append", choices=list(SIDES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="of each process; the first six are not counted")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--alone", choices=list(SIDES), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
