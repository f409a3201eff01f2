"""Times tokenizing, infilling, packing, storing and loading on folders of source, and prints a table by stage.

    python -m tests.benchmarks.corpus_packing FOLDER... [--tokenizer FILE.model] [--length 1024 --length 8192]
        [--megabytes 20] [--runs 3] [--output FILE.json]

Source files below the folders are read; each folder right below one of those given counts as a repository, of which at
most 2 MB are taken, so that none outweighs the others. Times are processor time of the whole process, so
they hold on a machine that does other work too; loading is also given by the clock. Each run begins with nothing
remembered (`text_encoder.TextEncoder`). Syntax trees are not parsed: that is timed with the languages.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import argparse
import datetime
import importlib.metadata
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from keras_codegemma.tokenizer import CodeGemmaTokenizer
from training.corpus import infill
from training.corpus.document import Document, language_of
from training.corpus.examples import whole
from training.corpus.fitting import Fitter, FittingSettings
from training.corpus.infill import InfillSettings
from training.corpus.loader import make_loader
from training.corpus.manifest import Manifest, write_manifest
from training.corpus.packing import PackedRow, PackingReport, pack
from training.corpus.shards import write_shards
from training.corpus.text_encoder import TextEncoder
from training.corpus.tokenising import Encoded, LossSettings

T = TypeVar("T")
TINY = Path(__file__).parents[2] / "presets/code_gemma_tiny/assets/tokenizer/vocabulary.spm"
LANGUAGES = frozenset({"python", "javascript", "typescript", "java", "kotlin", "go", "c", "cpp", "csharp", "rust"})
REPOSITORY_BYTES = 2_000_000
LOADED_TOKENS = 20_000_000


def repositories(folders: Sequence[Path], megabytes: float) -> list[list[Document]]:
    """Documents by repository, up to so many megabytes; files that are not UTF-8 or empty are left out."""
    paths: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if language_of(path.name) in LANGUAGES and path.is_file() and not path.is_symlink():
                paths.setdefault(str(folder / path.relative_to(folder).parts[0]), []).append(path)
    found, size = [], 0
    for name in random.Random(0).sample(sorted(paths), len(paths)):
        documents = list(read(name, paths[name]))
        size += sum(document.size_bytes for document in documents)
        found.append(documents)
        if size >= megabytes * 1e6:
            break
    return found


def read(repository: str, paths: Sequence[Path]) -> Iterator[Document]:
    """The first files of a repository."""
    size = 0
    for path in paths:
        size += path.stat().st_size
        if size > REPOSITORY_BYTES:
            return
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        if text:
            yield Document(
                repository=repository,
                path=str(path.relative_to(Path(repository).parent)),
                revision="",
                licence=None,
                language=language_of(path.name),
                text=text,
            )


class Timer:
    """Processor seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, call: Callable[[], T]) -> T:
        started = time.process_time()
        result = call()
        self.seconds[stage] = time.process_time() - started
        return result


def measure(repositories: list[list[Document]], tokenizer: CodeGemmaTokenizer, length: int) -> dict[str, Any]:
    """One run of all stages."""
    documents = [document for repository in repositories for document in repository]
    timer = Timer()
    timer("SentencePiece alone", lambda: [tokenizer.encode(document.text) for document in documents])
    encoder = TextEncoder(tokenizer)
    timer("tokenize", lambda: [encoder.encode(document.text) for document in documents])
    settings = InfillSettings()
    timer(
        "infill",
        lambda: [infill.transform([whole(document)], settings=settings, seed=0, epoch=0) for document in documents],
    )
    fitter = Fitter(
        TextEncoder(tokenizer),
        settings=FittingSettings(sequence_length=length),
        infilling=settings,
        loss=LossSettings(),
        seed=0,
    )
    examples = timer(
        "tokenize, fit, infill",
        lambda: [made for files in repositories for made in fitter.fit(files) if isinstance(made, Encoded)],
    )
    report = PackingReport()
    rows = timer("pack", lambda: list(pack(examples, sequence_length=length, report=report)))
    timer.seconds["tokenize, fit, infill, pack"] = timer.seconds["tokenize, fit, infill"] + timer.seconds["pack"]
    with tempfile.TemporaryDirectory() as folder:
        loading = store_and_load(rows, Path(folder), tokenizer, timer)
    return {
        "seconds": timer.seconds,
        "tokens": report.tokens,
        "waste_rate": report.waste_rate,
        "cut_files": sum(file.cut is not None for made in examples for file in made.files),
        **loading,
    }


def store_and_load(
    rows: Sequence[PackedRow], folder: Path, tokenizer: CodeGemmaTokenizer, timer: Timer
) -> dict[str, Any]:
    """Writes the rows, then reads batches of 65536 positions."""
    length = len(rows[0].token_ids)
    shards = timer("store", lambda: list(write_shards(rows, folder, rows_per_shard=1000)))
    manifest = Manifest(
        sequence_length=length,
        vocabulary_size=tokenizer.vocabulary_size(),
        tokenizer_sha256="",
        seed=0,
        epoch=0,
        shards=tuple(shards),
    )
    write_manifest(folder, manifest)
    loader = make_loader(folder, batch_size=max(1, 65536 // length), seed=0)
    next(loader)
    taken, started, processor = 0, time.perf_counter(), time.process_time()
    while taken < LOADED_TOKENS:
        taken += int(next(loader)[0]["padding_mask"].sum())
    elapsed, processor = time.perf_counter() - started, time.process_time() - processor
    loader.close()
    return {
        "stored_bytes_per_token": sum(shard.size_bytes for shard in shards) / manifest.num_tokens,
        "loaded_tokens_per_second": taken / elapsed,
        "loaded_tokens_per_processor_second": taken / processor,
    }


def table(results: Sequence[dict[str, Any]], megabytes: float) -> str:
    """Megabytes of source per second of processor time by stage, for each length."""
    lines = [f"{'MB/s of processor time':28}" + "".join(f"{'length ' + str(r['length']):>16}" for r in results)]
    for stage in results[0]["runs"][0]["seconds"]:
        rates = [statistics.median(megabytes / run["seconds"][stage] for run in result["runs"]) for result in results]
        lines.append(f"{stage:28}" + "".join(f"{rate:16.1f}" for rate in rates))
    for name, key, scale in (
        ("padding, % of positions", "waste_rate", 100),
        ("files cut", "cut_files", 1),
        ("stored bytes per token", "stored_bytes_per_token", 1),
        ("loaded, M tokens/s", "loaded_tokens_per_second", 1e-6),
        ("the same, of processor time", "loaded_tokens_per_processor_second", 1e-6),
    ):
        values = [scale * statistics.median(run[key] for run in result["runs"]) for result in results]
        lines.append(f"{name:28}" + "".join(f"{value:16.2f}" for value in values))
    return "\n".join(lines)


def environment() -> dict[str, Any]:
    """What the figures were measured with."""
    names = ("array-record", "grain", "numpy", "sentencepiece")
    return {
        "date": datetime.date.today().isoformat(),
        "command": "python -m tests.benchmarks.corpus_packing " + " ".join(sys.argv[1:]),
        "device": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }


def main() -> None:
    """Runs all lengths, prints the table and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--tokenizer", type=Path, default=TINY)
    parser.add_argument("--length", action="append", type=int)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    found = repositories(arguments.folders, arguments.megabytes)
    megabytes = sum(document.size_bytes for documents in found for document in documents) / 1e6
    if not megabytes:
        parser.error(f"there must be source files in {[str(folder) for folder in arguments.folders]}; none was found")
    tokenizer = CodeGemmaTokenizer(arguments.tokenizer)
    num_files = sum(map(len, found))
    print(f"{megabytes:.1f} MB in {num_files} files of {len(found)} folders; {tokenizer.vocabulary_size()} pieces")
    results = [
        {"length": length, "runs": [measure(found, tokenizer, length) for _ in range(arguments.runs)]}
        for length in arguments.length or [1024, 8192]
    ]
    print(table(results, megabytes))
    if arguments.output:
        content = {**environment(), "megabytes": megabytes, "files": num_files, "results": results}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
