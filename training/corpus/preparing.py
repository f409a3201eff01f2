"""First step, one source at a time: read, filter, scrub, sign, look for benchmarks; what passes goes to disk.

work/sources/00017/   documents and their signatures (`store.py`), keys.npy, rows.npy, hits.json,
                      dropped.jsonl, summary.json
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus import duplicates, fetching, reading, store
from training.corpus.clock import Clock, peak_memory_bytes
from training.corpus.document import Document, Dropped, RawFile
from training.corpus.filters import FileFilter
from training.corpus.job import Job, benchmarks_of
from training.corpus.ledger import Ledger, dropped
from training.corpus.minhash import sign
from training.corpus.reading import datasets
from training.corpus.recipe import Source
from training.corpus.secrets import Scrubber
from training.corpus.words import Words, words

_LOG = logging.getLogger(__name__)
_SIGNED_AT_ONCE = 256
_LOSSY = "\u2581"
"""SentencePiece writes a space as this character, so that a text or path with it would come back with a space."""
SUMMARY = "summary.json"


def folder_of(job: Job, index: int) -> Path:
    """Where the step of a source leaves its results."""
    return job.work / "sources" / f"{index:05d}"


def prepare(job: Job, index: int) -> int:
    """Prepares one source of the recipe, unless that was done before.

    Returns:
        How many documents it has.
    """
    folder, source = folder_of(job, index), job.recipe.sources[index]
    if not folder.is_dir():
        with store.committed(folder) as scratch:
            summary = _Preparation(job, source).run(scratch)
            store.write_json(scratch / SUMMARY, summary)
        seconds = sum(summary["seconds"].values())
        _LOG.info(
            "read %d of %d: %s, %d documents of %.1f MB in %.1f s of processor time",
            *(index + 1, len(job.recipe.sources), source.name),
            *(summary["documents"], summary["bytes"] / 1e6, seconds),
        )
    return store.read_json(folder / SUMMARY)["documents"]


class _Preparation:
    """The step for one source."""

    def __init__(self, job: Job, source: Source) -> None:
        self._job = job
        self._source = source
        self._ledger = Ledger()
        self._clock = Clock()
        self._dropped: list[Dropped] = []
        self._redacted: dict[str, int] = {}
        self._hits: dict[int, list[dict[str, Any]]] = {}

    def run(self, folder: Path) -> dict[str, Any]:
        """Writes everything but the summary, which it returns."""
        settings, benchmarks = self._job.recipe.duplicates, benchmarks_of(self._job)
        writer = store.DocumentWriter(folder)
        signed, waiting, size = [sign([], settings)], list[Words](), 0
        for document in self._documents():
            with self._clock.stage("duplicates"):
                waiting.append(words(document.text))
            with self._clock.stage("decontamination"):
                if hits := benchmarks.hits(waiting[-1]):
                    self._hits[writer.count] = [asdict(hit) for hit in hits]
            with self._clock.stage("store"):
                writer.add(document)
            size += document.size_bytes
            if len(waiting) == _SIGNED_AT_ONCE:
                signed.append(self._sign(waiting))
                waiting.clear()
        signed.append(self._sign(waiting))
        with self._clock.stage("store"):
            signatures = duplicates.joined(signed)
            writer.close(signatures)
            keys = duplicates.sorted_keys(signatures, settings)
            np.save(folder / "keys.npy", keys.keys)
            np.save(folder / "rows.npy", keys.rows)
            store.write_json(folder / "hits.json", self._hits)
            store.write_lines(folder / "dropped.jsonl", map(asdict, self._dropped))
        return {
            "source": self._source.name,
            "documents": writer.count,
            "bytes": size,
            "ledger": self._ledger.as_json(),
            "redacted": dict(sorted(self._redacted.items())),
            "seconds": self._clock.seconds,
            "peak_memory_bytes": peak_memory_bytes(),
        }

    def _sign(self, waiting: list[Words]) -> Any:
        with self._clock.stage("duplicates"):
            return sign(waiting, self._job.recipe.duplicates)

    def _documents(self) -> Iterator[Document]:
        keep, scrubber = FileFilter(self._job.recipe.filter), Scrubber(self._job.recipe.scrub)
        for raw in self._passed("read", self._clock.through("read", self._read())):
            self._ledger.entered("filter", raw)
            with self._clock.stage("filter"):
                filtered = keep(raw)
            for document in self._passed("filter", [filtered]):
                self._ledger.entered("safety", document)
                with self._clock.stage("safety"):
                    scrubbed = scrubber.scrub(document)
                for kind, count in scrubbed.redacted.items():
                    self._redacted[kind] = self._redacted.get(kind, 0) + count
                for clean in self._passed("safety", [scrubbed.result]):
                    self._ledger.entered("vocabulary", clean)
                    yield from self._passed("vocabulary", [_exact(clean)])

    def _passed(self, stage: str, items: Any) -> Iterator[Any]:
        """Counts what comes out of a stage, and keeps record of what does not."""
        for item in items:
            self._ledger.left(stage, item)
            if isinstance(item, Dropped):
                self._dropped.append(item)
            else:
                yield item

    def _read(self) -> Iterator[RawFile | Dropped]:
        for item in _opened(self._job, self._source):
            self._ledger.entered("read", item)
            yield item


def _opened(job: Job, source: Source) -> Iterator[RawFile | Dropped]:
    limits = job.recipe.limits
    if source.kind == "tfds":
        return datasets.read(source.name, split=source.version or "train", licence=source.licence, limits=limits)
    if source.kind == "path":
        return reading.read(Path(source.name), licence=source.licence, limits=limits)
    path = job.sources / source.file
    if not path.is_file():
        raise fetching.FetchError(
            f"Packages must be fetched before a build; {path} is missing. Run `python -m training.corpus fetch "
            f"{job.recipe.name} --to {job.sources}`."
        )
    fetching.check(source, path)
    return reading.read(
        path,
        repository=source.repository,
        revision=source.version,
        licence=source.licence if source.trust_licence else None,
        limits=limits,
    )


def _exact(document: Document) -> Document | Dropped:
    if _LOSSY not in document.text and _LOSSY not in document.path:
        return document
    return dropped(document, stage="vocabulary", reason="not-exact", detail="U+2581")
