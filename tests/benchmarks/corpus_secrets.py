"""Prints recall and precision on planted secrets and decoys, and findings in real sources, to be judged by eye.

    python -m tests.benchmarks.corpus_secrets [SOURCE...] [--seeds 20] [--kind KIND] [--entropy] [--sample 100]

Without SOURCE, what is planted alone: recall is the share of secrets that are gone, precision that of secrets among all
that was changed, decoys included. With SOURCE (folders, git repositories, archives), each finding is one line: kind,
rule, value, path, what stands around it; precision is the share of lines that a reader takes for true. `--entropy`
counts what detect-secrets' two plugins for high entropy would find besides, and shows a sample.
"""

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString, HexHighEntropyString

from tests.training.corpus import planted
from training.corpus import reading
from training.corpus.document import Document, RawFile
from training.corpus.filters import FileFilter, FilterSettings
from training.corpus.secret_search import Finding
from training.corpus.secrets import Scrubber


def rates(seeds: int) -> None:
    """Planted secrets that are gone after scrubbing, of all; and decoys that are not as they were."""
    found: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    scrubber = Scrubber()
    for seed in range(seeds):
        for plant in planted.everything(seed):
            document = _document(plant.text, plant.path)
            result = scrubber(document)
            total[plant.kind, plant.name] += 1
            found[plant.kind, plant.name] += not isinstance(result, Document) or plant.secret not in result.text
    for kind in sorted({kind for kind, _ in total}):
        names = [key for key in total if key[0] == kind]
        all_found, all_total = sum(found[key] for key in names), sum(total[key] for key in names)
        sys.stdout.write(f"{kind:12} {all_found:6} of {all_total:6}  {all_found / all_total:.4f}\n")
        for key in names:
            if found[key] < total[key]:
                sys.stdout.write(f"    {key[1]:20} {found[key]:6} of {total[key]:6}\n")
    sys.stdout.write(f"{'all':12} {found.total():6} of {total.total():6}  {found.total() / total.total():.4f}\n")
    harmed: Counter[str] = Counter()
    count = 0
    for seed in range(seeds):
        for plant in planted.decoys(random.Random(seed)):
            result = scrubber(_document(plant.text, plant.path))
            harmed[plant.text.replace(plant.secret, "…").strip()] += (
                not isinstance(result, Document) or result.text != plant.text
            )
            count += 1
    for text, times in harmed.items():
        if times:
            sys.stdout.write(f"    {text:40} {times:6}\n")
    precision = found.total() / (found.total() + harmed.total())
    sys.stdout.write(f"{'decoys':12} {harmed.total():6} of {count:6} changed; precision {precision:.4f}\n")


def _document(text: str, path: str) -> Document:
    return Document(repository="planted", path=path, revision="1", licence=None, language="python", text=text)


def documents(sources: list[Path]) -> Iterator[Document]:
    """What passes the filters, whatever its licence."""
    file_filter = FileFilter(FilterSettings(licences=None))
    for source in sources:
        for item in reading.read(source):
            if isinstance(item, RawFile) and isinstance(document := file_filter(item), Document):
                yield document


def findings(sources: list[Path], *, kind: str | None, sample: int) -> None:
    """Every finding of real sources, or so many of each kind at random."""
    scrubber = Scrubber()
    lines: dict[str, list[str]] = defaultdict(list)
    size = 0
    for document in documents(sources):
        size += document.size_bytes
        for finding in scrubber.findings(document):
            lines[finding.kind].append(_shown(document, finding))
    rng = random.Random(0)
    for name in sorted(lines):
        if kind in (None, name):
            for line in rng.sample(lines[name], min(sample, len(lines[name]))):
                sys.stdout.write(f"{name} | {line}\n")
    counts = ", ".join(f"{name} {len(found)}" for name, found in sorted(lines.items()))
    sys.stdout.write(f"{size / 1e6:.1f} MB of documents: {counts}\n")


def _shown(document: Document, finding: Finding) -> str:
    text = document.text
    start = max(text.rfind("\n", 0, finding.start) + 1, finding.start - 60)
    end = text.find("\n", finding.end)
    around = text[start : min(end if end >= 0 else len(text), finding.end + 30)].strip()
    place = f"{document.repository}:{document.path}"
    return f"{finding.rule} | {text[finding.start : finding.end][:70]} | {place[-70:]} | {around}"


def entropy(sources: list[Path], *, sample: int) -> None:
    """What the two plugins that are not used would find."""
    plugins = (Base64HighEntropyString(), HexHighEntropyString())
    found: list[str] = []
    for document in documents(sources):
        for line in document.text.split("\n"):
            if len(line) < 1000:
                for plugin in plugins:
                    values = [secret.secret_value for secret in plugin.analyze_line(document.path, line)]
                    found += [f"{plugin.secret_type} | {value} | {line.strip()[:120]}" for value in values]
    for line in random.Random(0).sample(found, min(sample, len(found))):
        sys.stdout.write(f"entropy | {line}\n")
    sys.stdout.write(f"{len(found)} findings of high entropy\n")


def main() -> int:
    """Prints; 0 for success."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kind")
    parser.add_argument("--sample", type=int, default=100, help="findings of each kind to print")
    parser.add_argument("--entropy", action="store_true")
    options = parser.parse_args()
    rates(options.seeds)
    if options.sources:
        findings(options.sources, kind=options.kind, sample=options.sample)
    if options.entropy:
        entropy(options.sources, sample=options.sample)
    return 0


if __name__ == "__main__":
    sys.exit(main())
