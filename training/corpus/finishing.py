"""Last step: all counts are added up and checked, then the manifest is written, which makes the shards a corpus."""

from typing import Any

from training.corpus import manifest, shards, store
from training.corpus.deciding import decide
from training.corpus.job import Job, tokenizer_of
from training.corpus.ledger import Ledger
from training.corpus.measures import Measures
from training.corpus.preparing import SUMMARY, folder_of
from training.corpus.sharding import results_of
from training.settings import as_json


def finish(job: Job, parts: int) -> int:
    """Writes the manifest.

    Returns:
        How many rows the corpus has.

    Raises:
        ConservationError: a stage lost or invented a file.
        RuntimeError: nothing is left of the sources.
    """
    count = decide(job, parts)
    ledger, measures, _ = totals(job, count)
    ledger.check()
    paths = [job.corpus / shards.shard_name(index) for index in range(count)]
    found = tuple(shard for path in paths if (shard := shards.finished_shard(path)))
    if not found:
        raise RuntimeError(
            f"A corpus has at least one row; nothing is left of {len(job.recipe.sources)} sources. "
            "Look into work/sources/*/dropped.jsonl for the reasons."
        )
    tokenizer = tokenizer_of(job.recipe.tokenizer)
    made = manifest.Manifest(
        sequence_length=job.recipe.fitting.sequence_length,
        vocabulary_size=tokenizer.vocabulary_size(),
        tokenizer_sha256=store.read_json(job.workdir / "build.json")["tokenizer_sha256"],
        seed=job.recipe.seed,
        epoch=job.recipe.epoch,
        shards=found,
        recipe=as_json(job.recipe),
        counts={"files": ledger.as_json(), "measures": measures.as_json()},
    )
    manifest.write_manifest(job.corpus, made)
    return made.num_rows


def totals(job: Job, shard_count: int) -> tuple[Ledger, Measures, dict[str, Any]]:
    """The sums over all steps: of files, of measures, and of what differs from run to run (seconds, memory)."""
    sources = [store.read_json(folder_of(job, index) / SUMMARY) for index in range(len(job.recipe.sources))]
    made = [store.read_json(results_of(job, index) / SUMMARY) for index in range(shard_count)]
    compared = [store.read_json(path) for path in sorted((job.work / "links").glob(f"*/{SUMMARY}"))]
    seconds: dict[str, float] = {}
    redacted: dict[str, int] = {}
    for summary in [*sources, *compared, *made]:
        for stage, value in summary["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        for kind, value in summary.get("redacted", {}).items():
            redacted[kind] = redacted.get(kind, 0) + value
    rest = {
        "seconds": seconds,
        "redacted": redacted,
        "peak_memory_bytes": max(summary["peak_memory_bytes"] for summary in [*sources, *compared, *made]),
    }
    ledger = Ledger.from_json(*(summary["ledger"] for summary in [*sources, *made]))
    return ledger, Measures.from_json(summary["measures"] for summary in made), rest
