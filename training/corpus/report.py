"""The figures of a build: what went in and out at every stage, what the examples are like, and what it took."""

from collections.abc import Mapping
from typing import Any

from training.corpus import finishing, store
from training.corpus.deciding import decide
from training.corpus.job import Job, benchmark_rows
from training.corpus.ledger import IN, OUT, STAGES, Ledger
from training.corpus.manifest import Manifest, read_manifest
from training.corpus.measures import Measures
from training.corpus.preparing import folder_of

GOALS = {"500 billion": 500e9, "1 trillion": 1e12}
"""Tokens that CodeGemma models were trained on (arXiv 2406.11409)."""
_MOST_HITS = 1000


def make(job: Job) -> dict[str, Any]:
    """The report as JSON data.

    Raises:
        FileNotFoundError: the build has not finished.
        ConservationError: the counts do not add up.
    """
    manifest = read_manifest(job.corpus)
    ranges = len(list((job.work / "links").iterdir()))
    shard_count = decide(job, ranges)
    ledger, measures, rest = finishing.totals(job, shard_count)
    ledger.check()
    return {
        "recipe": manifest.recipe,
        "versions": manifest.versions,
        "fingerprint": manifest.fingerprint,
        "stages": stages(ledger),
        "languages": _by(ledger, "language", measures.counts.get("tokens_by_language", {})),
        "licences": _by(ledger, "licence", measures.counts.get("tokens_by_licence", {})),
        "redacted": rest["redacted"],
        "benchmarks": {"files": benchmark_rows(job), "hits": _hits(job)},
        "corpus": _corpus(manifest, measures),
        "rates": rates(measures),
        "histograms": {
            name: dict(sorted(measures.counts[name].items(), key=lambda item: int(item[0])))
            for name in ("example_tokens", "file_tokens", "middle_tokens", "files_per_example")
            if name in measures.counts
        },
        "speed": speed(ledger, rest["seconds"], manifest.num_tokens),
        "peak_memory_bytes": rest["peak_memory_bytes"],
    }


def stages(ledger: Ledger) -> list[dict[str, Any]]:
    """Files and bytes in, out and dropped by reason, for each stage."""
    found = []
    for stage in STAGES:
        (files_in, bytes_in), (files_out, bytes_out) = ledger.total(stage, IN), ledger.total(stage, OUT)
        reasons = {
            name: {"files": files, "bytes": size}
            for name, (files, size) in sorted(ledger.reasons(stage).items(), key=lambda item: -item[1][0])
        }
        counts = {"files_in": files_in, "bytes_in": bytes_in, "files_out": files_out, "bytes_out": bytes_out}
        found.append({"stage": stage, **counts, "dropped": reasons})
    return found


def rates(measures: Measures) -> dict[str, dict[str, Any]]:
    """Counts and shares of what the recipe draws by chance.

    "layout" is of target files that have a character to fill in; "spm" is of those that were infilled; "shape" is of
    examples with more than one file; "span_kind" and "cut" are of all there are.
    """
    counts = measures.counts
    layout = counts.get("layout", {})
    infilled = {name: layout.get(name, 0) for name in ("psm", "spm")}
    fim = {"infilled": sum(infilled.values()), "whole": layout.get("whole", 0)}
    named = {"fim": fim, "layout": infilled, **{name: counts.get(name, {}) for name in ("shape", "span_kind", "cut")}}
    return {name: _shares(values) for name, values in named.items()}


def speed(ledger: Ledger, seconds: Mapping[str, float], tokens: int) -> dict[str, Any]:
    """Megabytes of source (10^6 bytes, after filters) for each second of processor time, by stage and whole.

    Core-hours for a larger corpus follow from processor seconds for each token of this one, packed; a corpus with
    fewer duplicates, or other languages, takes another time.
    """
    megabytes = ledger.total("filter", OUT)[1] / 1e6
    total = sum(seconds.values())
    by_stage = {name: {"seconds": value, "mb_per_second": _per(megabytes, value)} for name, value in seconds.items()}
    hours = {name: goal / tokens * total / 3600 if tokens else 0.0 for name, goal in GOALS.items()}
    whole = {"seconds": total, "mb_per_second": _per(megabytes, total)}
    return {"source_megabytes": megabytes, "stages": by_stage, "whole": whole, "core_hours": hours}


def _corpus(manifest: Manifest, measures: Measures) -> dict[str, Any]:
    packing = measures.counts.get("packing", {})
    positions = packing.get("positions", 0)
    return {
        "shards": len(manifest.shards),
        "bytes": sum(shard.size_bytes for shard in manifest.shards),
        "rows": manifest.num_rows,
        "sequence_length": manifest.sequence_length,
        "examples": packing.get("examples", 0),
        "tokens": manifest.num_tokens,
        "packing_waste_rate": 1 - packing.get("tokens", 0) / positions if positions else 0.0,
    }


def _by(ledger: Ledger, field: str, tokens: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Files and bytes that were read and that are in the corpus, and tokens, by language or licence; largest first."""
    found: dict[str, dict[str, int]] = {}
    for row in ledger.rows():
        entry = found.setdefault(
            getattr(row, field), {"files_read": 0, "bytes_read": 0, "files": 0, "bytes": 0, "tokens": 0}
        )
        if (row.stage, row.fate) == ("read", OUT):
            entry["files_read"] += row.files
            entry["bytes_read"] += row.size_bytes
        elif (row.stage, row.fate) == (STAGES[-1], OUT):
            entry["files"] += row.files
            entry["bytes"] += row.size_bytes
    for name, count in tokens.items():
        found[name]["tokens"] = count
    return dict(sorted(found.items(), key=lambda item: (-item[1]["bytes"], -item[1]["bytes_read"], item[0])))


def _hits(job: Job) -> list[dict[str, Any]]:
    """The documents that have pieces of benchmarks, those dropped as duplicates too; at most a thousand are listed."""
    found = []
    for index in range(len(job.recipe.sources)):
        folder = folder_of(job, index)
        for row, hits in store.read_json(folder / "hits.json").items():
            repository, path, _ = store.documents(folder).name(int(row))
            found.append({"repository": repository, "path": path, "hits": hits})
    return found[:_MOST_HITS]


def _shares(counts: Mapping[str, int]) -> dict[str, Any]:
    total = sum(counts.values())
    return {name: {"count": count, "share": count / total if total else 0.0} for name, count in sorted(counts.items())}


def _per(megabytes: float, seconds: float) -> float:
    return megabytes / seconds if seconds else 0.0
