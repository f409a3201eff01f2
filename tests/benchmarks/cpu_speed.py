"""How fast a CPU decodes and prefills models of Gemma's 2B shape: ours, llama.cpp's, and on request KerasHub's.

    python -m tests.benchmarks.cpu_speed --llama-bench build/bin/llama-bench --work /tmp/models [--layers 4] [--write]

Weights are noise. Every round times each side once, one after the other, beside a plain read of memory, and results are
medians over the rounds of the rounds' ratios: the machine's other load then falls on all sides alike. Drafts are off:
every pass gives one token a row.

llama.cpp comes from the source that the `llama-cpp-python` package ships on PyPI, and GGUF files from
the `gguf` package:

    pip install gguf && pip download --no-deps --no-binary llama-cpp-python llama-cpp-python
    tar xzf llama_cpp_python-*.tar.gz
    cmake -S llama_cpp_python-*/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON
    cmake --build build --target llama-bench
"""

import argparse
import dataclasses
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from keras_codegemma import generation
from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.config import CODE_GEMMA_2B, CodeGemmaConfig
from keras_codegemma.kernels import native
from keras_codegemma.sampling import GreedySampler

PROMPT_TOKENS = 512
OURS = {
    "bfloat16": ("bfloat16", "BF16"),
    "int8": ("int8_from_bfloat16", "Q8_0"),
    "int4": ("int4_from_bfloat16", "Q4_0"),
    "int4/32": ("int4/32_from_bfloat16", "Q4_0"),
}
RESULTS = Path(__file__).parents[2] / "keras_codegemma" / "kernels" / "results"


def noise(path: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A weight of repeated noise, made at the speed of copying."""
    if path.endswith("/scale"):
        return np.zeros(shape, np.float32)
    fan_in = shape[-1] if path.endswith("embeddings") else shape[-2]
    tile = np.random.default_rng(0).normal(0, fan_in**-0.5, 1 << 16).astype(ml_dtypes.bfloat16)
    flat = np.empty(int(np.prod(shape)), ml_dtypes.bfloat16)
    whole = len(flat) // len(tile) * len(tile)
    flat[:whole].reshape(-1, len(tile))[:] = tile
    flat[whole:] = tile[: len(flat) - whole]
    return flat.reshape(shape)


class Ours:
    """One of our models, ready to be timed."""

    def __init__(self, config: CodeGemmaConfig, policy: str):
        self.backbone = CodeGemmaBackbone(**config.to_dict(), dtype=policy, weight_source=noise)
        self.weight_bytes = sum(v.value.nbytes for v in self.backbone.variables)
        self.generator = generation.Generator(self.backbone)
        self.prompt = np.random.default_rng(1).integers(300, 8000, PROMPT_TOKENS).tolist()

    def prefill_seconds(self) -> float:
        """Of `PROMPT_TOKENS` tokens of one row."""
        started = time.perf_counter()
        cache, hidden = self.generator.run_prefill([self.prompt], capacity=self._capacity())
        jax.block_until_ready(hidden)
        seconds = time.perf_counter() - started
        self.generator.release(cache)
        return seconds

    def decode_seconds(self, batch: int, steps: int) -> float:
        """Of one pass after the prompt."""
        options = generation.GenerationOptions(
            budgets=[steps + 8] * batch, stop_ids=(), sampler=GreedySampler(), seed=0
        )
        decoding = self.generator.begin([self.prompt] * batch, options)
        decoding.advance(1)
        jax.block_until_ready(decoding._state.counts)
        started = time.perf_counter()
        decoding.advance(steps)
        jax.block_until_ready(decoding._state.counts)
        seconds = (time.perf_counter() - started) / steps
        decoding.close()
        return seconds

    def _capacity(self) -> int:
        return generation.capacity_for(PROMPT_TOKENS + 64)


class KerasHub:
    """KerasHub's model of the same shape in bfloat16."""

    def __init__(self, config: CodeGemmaConfig):
        import keras_hub

        self.backbone = keras_hub.models.GemmaBackbone(
            vocabulary_size=config.vocabulary_size,
            num_layers=config.num_layers,
            num_query_heads=config.num_query_heads,
            num_key_value_heads=config.num_key_value_heads,
            hidden_dim=config.hidden_dim,
            intermediate_dim=2 * config.feedforward_dim,
            head_dim=config.head_dim,
            dtype="bfloat16",
        )
        self.lm = keras_hub.models.GemmaCausalLM(self.backbone, preprocessor=None)

    def seconds(self, new_tokens: int) -> float:
        """Of generating this many tokens after the prompt."""
        length = PROMPT_TOKENS + new_tokens
        ids = np.zeros((1, length), np.int32)
        ids[:, :PROMPT_TOKENS] = np.random.default_rng(1).integers(300, 8000, PROMPT_TOKENS)
        started = time.perf_counter()
        self.lm.generate({"token_ids": ids, "padding_mask": ids > 0}, stop_token_ids=None)
        return time.perf_counter() - started


class ReadBandwidth:
    """Bytes per second of a plain loop over memory with all cores."""

    def __init__(self) -> None:
        self.array = jnp.ones((1 << 27,), jnp.float32)
        self.sum = jax.jit(jnp.sum)
        self()

    def __call__(self) -> float:
        started = time.perf_counter()
        self.sum(self.array).block_until_ready()
        return self.array.nbytes / (time.perf_counter() - started)


def llama_bench(program: Path, model: Path, *, threads: int, steps: int, prefill: bool) -> float:
    """Tokens per second: of prefilling the prompt, or of decoding after it."""
    what = ["-p", str(PROMPT_TOKENS), "-n", "0"] if prefill else ["-p", "0", "-n", str(steps), "-d", str(PROMPT_TOKENS)]
    command = [str(program), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json", *what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)[0]["avg_ts"]


def gguf_files(config: CodeGemmaConfig, work: Path, kinds: set[str]) -> dict[str, Path]:
    """The files of these types, written where they are missing."""
    from tests.benchmarks import gguf_model

    files = {}
    for kind in sorted(kinds):
        files[kind] = work / f"gemma-{config.num_layers}-layers-{kind}.gguf"
        if not files[kind].is_file():
            gguf_model.write(files[kind], config, kind)
    return files


def measure(
    case: str, config: CodeGemmaConfig, arguments: argparse.Namespace, files: dict[str, Path]
) -> dict[str, Any]:
    """One of `OURS` beside its counterpart, round by round."""
    policy, kind = OURS[case]
    ours, read = Ours(config, policy), ReadBandwidth()
    threads, steps = os.cpu_count() or 1, arguments.steps
    ours.prefill_seconds()  # compile
    ours.decode_seconds(1, 1)
    batch = arguments.batch
    if batch:
        ours.decode_seconds(batch, 1)
    hub = None
    if arguments.keras_hub and case == "int8":
        hub = KerasHub(config)
        hub.seconds(1)
        hub.seconds(steps + 1)
    rounds: list[dict[str, float]] = []
    for _ in range(arguments.rounds):
        found = {"read_bytes": read(), "decode": 1 / ours.decode_seconds(1, steps)}
        if files:
            found["llama_decode"] = llama_bench(
                arguments.llama_bench, files[kind], threads=threads, steps=steps, prefill=False
            )
        found["prefill"] = PROMPT_TOKENS / ours.prefill_seconds()
        if files:
            found["llama_prefill"] = llama_bench(
                arguments.llama_bench, files[kind], threads=threads, steps=steps, prefill=True
            )
        if batch:
            found["batch_decode"] = batch / ours.decode_seconds(batch, steps)
        if hub is not None:
            short = hub.seconds(1)
            found["hub_decode"] = steps / max(hub.seconds(steps + 1) - short, 1e-9)
        found["read_bytes"] = (found["read_bytes"] + read()) / 2
        rounds.append(found)
        print(f"  {case}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)
    return summary(case, kind, ours.weight_bytes, batch, rounds)


def summary(case: str, kind: str, weight_bytes: int, batch: int, rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Medians of the rounds, and of their ratios."""
    result: dict[str, Any] = {"case": case, "counterpart": kind, "weight_bytes": weight_bytes, "rounds": len(rounds)}
    result |= {f"{name}_median": statistics.median(r[name] for r in rounds) for name in rounds[0]}
    ratios = {"decode_over_llama": ("decode", "llama_decode"), "prefill_over_llama": ("prefill", "llama_prefill")}
    ratios |= {f"batch_{batch}_over_1": ("batch_decode", "decode"), "decode_over_keras_hub": ("decode", "hub_decode")}
    for name, (above, below) in ratios.items():
        if above in rounds[0] and below in rounds[0]:
            values = [r[above] / r[below] for r in rounds]
            result[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    # A pass reads every weight once.
    shares = [r["decode"] * weight_bytes / r["read_bytes"] for r in rounds]
    result["share_of_read_bandwidth"] = {"median": statistics.median(shares), "min": min(shares), "max": max(shares)}
    return result


def environment(arguments: argparse.Namespace, config: CodeGemmaConfig) -> dict[str, Any]:
    """What the figures were measured with."""
    names = ("jax", "jaxlib", "keras", "numpy")
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "date": datetime.date.today().isoformat(),
        "command": "python -m tests.benchmarks.cpu_speed " + " ".join(sys.argv[1:]),
        "device": f"{cpu}, {os.cpu_count()} cores, {platform.machine()}",
        "kernels": f"{native.level()}, {native.thread_count()} threads"
        if native.absence() is None
        else native.absence(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in names},
        "layers": config.num_layers,
        "prompt_tokens": PROMPT_TOKENS,
    }


def table(document: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Decoding and prefilling on a CPU",
        "",
        f"Gemma 2B's shape with {document['layers']} of its 18 layers, random weights, "
        f"{document['prompt_tokens']} tokens of prompt. {document['device']}; kernels {document['kernels']}; "
        f"{document['date']}; "
        + ", ".join(f"{name} {version}" for name, version in document["versions"].items())
        + ".",
        "",
        f"Written by `{document['command']}`. Medians over rounds; ratios are medians of each round's, with the range.",
        "",
        "| | tokens/s | of read bandwidth | over llama.cpp | prefill tokens/s | over llama.cpp | batch over 1 "
        "| over KerasHub bfloat16 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in document["results"]:
        batch = next((name for name in row if name.startswith("batch_") and name.endswith("_over_1")), "")
        cells = [
            f"{row['case']} ({row['counterpart']})",
            f"{row['decode_median']:.2f}",
            _percent(row["share_of_read_bandwidth"]),
            _ratio(row.get("decode_over_llama")),
            f"{row['prefill_median']:.1f}",
            _ratio(row.get("prefill_over_llama")),
            _ratio(row.get(batch)),
            _ratio(row.get("decode_over_keras_hub")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _ratio(value: dict[str, float] | None) -> str:
    return "not measured" if value is None else f"{value['median']:.2f} ({value['min']:.2f} to {value['max']:.2f})"


def _percent(value: dict[str, float]) -> str:
    return f"{value['median']:.0%} ({value['min']:.0%} to {value['max']:.0%})"


def main() -> None:
    """Measures the chosen cases, prints them, and writes them beside the kernels on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(OURS))
    parser.add_argument("--layers", type=int, default=CODE_GEMMA_2B.num_layers)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16, help="tokens decoded in each timing")
    parser.add_argument("--batch", type=int, default=8, help="rows of the batched decode; 0 for none")
    parser.add_argument("--llama-bench", type=Path, help="llama.cpp's llama-bench; without it, our side alone")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="where GGUF files are written and kept")
    parser.add_argument(
        "--keras-hub", action="store_true", help="time KerasHub's bfloat16 too; it takes 50 s to compile"
    )
    parser.add_argument("--write", action="store_true", help="write the table beside the kernels")
    arguments = parser.parse_args()
    generation.DRAFT_TOKENS = 0
    config = dataclasses.replace(CODE_GEMMA_2B, num_layers=arguments.layers)
    cases = arguments.case or list(OURS)
    files = {}
    if arguments.llama_bench:
        arguments.work.mkdir(parents=True, exist_ok=True)
        files = gguf_files(config, arguments.work, {OURS[case][1] for case in cases})
    results = []
    for case in cases:
        results.append(measure(case, config, arguments, files))
        gc.collect()
    document = {**environment(arguments, config), "results": results}
    print(table(document))
    if arguments.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "cpu.json").write_text(json.dumps(document, indent=1) + "\n")
        (RESULTS / "cpu.md").write_text(table(document))


if __name__ == "__main__":
    main()
