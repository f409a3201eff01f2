"""How fast a CPU decodes and prefills models of Gemma's 2B shape: ours, llama.cpp's, and on request KerasHub's.

    python -m tests.benchmarks.cpu_speed int8 --llama-bench build/bin/llama-bench --work /tmp/models --write

Every round times each side once, one after the other, beside a plain read of memory, and results are medians over the
rounds of the rounds' ratios: the machine's other load then falls on all sides alike. Each kind of weights is a run of
its own, of some minutes. A KerasHub model, with `--keras-hub`, is compiled for a minute and takes 5 GB more.

llama.cpp comes from the source that the `llama-cpp-python` package ships on PyPI, and GGUF files (of up to 5 GB; delete
them afterwards) from the `gguf` package:

    pip install gguf && pip download --no-deps --no-binary llama-cpp-python llama-cpp-python
    tar xzf llama_cpp_python-*.tar.gz
    cmake -S llama_cpp_python-*/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON
    cmake --build build --target llama-bench
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import re
import statistics
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # `ReadBandwidth` has threads of its own

from keras_codegemma.config import CODE_GEMMA_2B, CodeGemmaConfig
from keras_codegemma.kernels import native
from tests.benchmarks.cpu_sides import PROMPT_TOKENS, KerasHub, Ours, ReadBandwidth, llama_bench

OURS = {
    "bfloat16": ("bfloat16", "BF16"),
    "int8": ("int8_from_bfloat16", "Q8_0"),
    "int4": ("int4_from_bfloat16", "Q4_0"),
    "int4/32": ("int4/32_from_bfloat16", "Q4_0"),
}
"""Our dtype policies and llama.cpp's types that they are compared with."""
RESULTS = Path(__file__).parents[2] / "keras_codegemma" / "kernels" / "RESULTS.md"
TITLE = "## Gemma 2B on a CPU"
HEADER = (
    "weights",
    "decode, tokens/s",
    "llama.cpp",
    "ratio",
    "of read bandwidth",
    "prefill, tokens/s",
    "llama.cpp",
    "ratio",
    "batch decode, tokens/s",
    "over batch 1",
    "KerasHub bfloat16, decode",
    "ratio",
)

Round = dict[str, float]


def gguf_file(config: CodeGemmaConfig, work: Path, kind: str) -> Path:
    """llama.cpp's model of this type, written if it is missing."""
    file = work / f"gemma-{config.num_layers}-layers-{kind}.gguf"
    if not file.is_file():
        from tests.benchmarks import gguf_model

        work.mkdir(parents=True, exist_ok=True)
        gguf_model.write(file, config, kind)
    return file


def measure(arguments: argparse.Namespace) -> tuple[list[Round], int]:
    """Tokens per second of every side, round by round, and the bytes of our weights."""
    config = dataclasses.replace(CODE_GEMMA_2B, num_layers=arguments.layers)
    policy, kind = OURS[arguments.case]
    threads, steps, batch = os.cpu_count() or 1, arguments.steps, arguments.batch
    ours = Ours(config, policy)
    read = ReadBandwidth(threads)
    sides: dict[str, Callable[[], float]] = {"decode": lambda: 1 / ours.decode_seconds(1, steps)}
    if arguments.llama_bench:
        file = gguf_file(config, arguments.work, kind)

        def llama(*, prefill: bool) -> float:
            return llama_bench(arguments.llama_bench, file, threads=threads, steps=steps, prefill=prefill)

        sides["llama_decode"] = lambda: llama(prefill=False)
    sides["prefill"] = lambda: PROMPT_TOKENS / ours.prefill_seconds()
    if arguments.llama_bench:
        sides["llama_prefill"] = lambda: llama(prefill=True)
    if batch:
        sides["batch_decode"] = lambda: batch / ours.decode_seconds(batch, steps)
    if arguments.keras_hub:
        hub = KerasHub(config)
        sides["hub_decode"] = lambda: 1 / hub.decode_seconds(max(1, steps // 4))
    for name, side in sides.items():
        if not name.startswith("llama"):
            side()  # compiled, and memory touched
    rounds: list[Round] = []
    for _ in range(arguments.rounds):
        found: Round = {}
        for name, side in sides.items():
            before = read()
            found[name] = side()
            if name == "decode":
                found["read_bytes"] = (before + read()) / 2
        rounds.append(found)
        print("  " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)
    return rounds, ours.weight_bytes


def row(arguments: argparse.Namespace, rounds: list[Round], weight_bytes: int) -> str:
    """The table's row of this run."""

    def median(name: str) -> str:
        return f"{statistics.median(r[name] for r in rounds):.1f}" if name in rounds[0] else "not measured"

    def ratio(above: str, below: str) -> str:
        if above not in rounds[0] or below not in rounds[0]:
            return "not measured"
        values = [r[above] / r[below] for r in rounds]
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    shares = [r["decode"] * weight_bytes / r["read_bytes"] for r in rounds]  # a pass reads every weight once
    cells = (
        arguments.case,
        *(median("decode"), median("llama_decode"), ratio("decode", "llama_decode")),
        f"{statistics.median(shares):.0%} of {statistics.median(r['read_bytes'] for r in rounds) / 1e9:.0f} GB/s",
        *(median("prefill"), median("llama_prefill"), ratio("prefill", "llama_prefill")),
        *(median("batch_decode"), ratio("batch_decode", "decode")),
        *(median("hub_decode"), ratio("decode", "hub_decode")),
    )
    return "| " + " | ".join(cells) + " |"


def conditions(arguments: argparse.Namespace) -> str:
    """What the row of this run was measured with."""
    absence = native.absence()
    kernels = f"{native.level()}, {native.thread_count()} threads" if absence is None else f"none ({absence})"
    versions = ("jax", "jaxlib", "keras", "numpy", *(("keras-hub",) if arguments.keras_hub else ()))
    command = ["python -m tests.benchmarks.cpu_speed", arguments.case]
    for name, value in vars(arguments).items():
        if name in ("layers", "rounds", "steps", "batch"):
            command += [f"--{name}", str(value)]
    command += ["--keras-hub"] * arguments.keras_hub
    if arguments.llama_bench:
        command += ["--llama-bench build/bin/llama-bench --work /tmp/models"]
    parts = (
        datetime.date.today().isoformat(),
        f"{_processor()}, {os.cpu_count()} cores",
        f"kernels: {kernels}",
        "Python " + platform.python_version(),
        *(f"{name} {importlib.metadata.version(name)}" for name in versions),
        *((f"llama.cpp {_llama_version(arguments.llama_bench)}",) if arguments.llama_bench else ()),
        f"{arguments.rounds} rounds",
    )
    return f"- {arguments.case}: {'; '.join(parts)}; `{' '.join(command)}`"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())


def _llama_version(program: Path) -> str:
    """Of the `llama-cpp-python` package whose source the program was built from, where its folder says it."""
    cache = program.resolve().parents[1] / "CMakeCache.txt"
    found = re.search(r"llama_cpp_python-([\d.]+)/", cache.read_text()) if cache.is_file() else None
    return f"of llama-cpp-python {found[1]}" if found else "(version unknown)"


def section(rows: list[str], notes: list[str]) -> str:
    """The results as Markdown."""
    lines = [
        TITLE,
        "",
        f"The 2B shape with random weights. Decode: a row after {PROMPT_TOKENS} tokens, and a batch of such rows; "
        f"prefill: {PROMPT_TOKENS} tokens. Medians over rounds; ratios are medians of the rounds' own, with their "
        "range. The read bandwidth is a plain loop's over memory in the same rounds. Written by",
        "`python -m tests.benchmarks.cpu_speed`, a row a run.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + " --- |" * len(HEADER),
        *rows,
        "",
        *notes,
        "",
    ]
    return "\n".join(lines)


def written(document: str, new_row: str, new_note: str) -> str:
    """The document with this run's row and note in place of its case's older ones."""
    match = re.search(rf"^{re.escape(TITLE)}\n.*?(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    old = match[0].splitlines() if match else []

    def merged(prefix: str, new: str) -> list[str]:
        found = {line.split()[1].rstrip(":"): line for line in old if line.startswith(prefix)}
        found[new.split()[1].rstrip(":")] = new
        return [found[case] for case in OURS if case in found]

    made = section(merged("| ", new_row), merged("- ", new_note))
    if match is None:
        return (document.rstrip() + "\n\n" if document else "# Measured\n\n") + made
    return document[: match.start()] + made + ("\n" if match.end() < len(document) else "") + document[match.end() :]


def main() -> None:
    """Measures one kind of weights, prints it, and writes it beside the kernels on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=list(OURS))
    parser.add_argument("--layers", type=int, default=CODE_GEMMA_2B.num_layers)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16, help="tokens decoded in each timing")
    parser.add_argument("--batch", type=int, default=8, help="rows of the batched decode; 0 for none")
    parser.add_argument("--llama-bench", type=Path, help="llama.cpp's llama-bench; without it, our side alone")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="where the GGUF file is written and kept")
    parser.add_argument("--keras-hub", action="store_true", help="time KerasHub's bfloat16 too")
    parser.add_argument("--write", action="store_true", help="write the row into kernels/RESULTS.md")
    arguments = parser.parse_args()
    rounds, weight_bytes = measure(arguments)
    new_row, note = row(arguments, rounds, weight_bytes), conditions(arguments)
    print(section([new_row], [note]))
    if arguments.write:
        document = RESULTS.read_text() if RESULTS.is_file() else ""
        RESULTS.write_text(written(document, new_row, note))


if __name__ == "__main__":
    main()
