"""Fourth step, one shard at a time: repositories without duplicates and benchmarks are ordered, infilled and packed.

corpus/shard-00012.array_record    the rows (`shards.py`)
work/shards/00012/                 dropped.jsonl and summary.json
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.corpus import shards, store
from training.corpus.clock import Clock, peak_memory_bytes
from training.corpus.deciding import duplicates_in, repositories_of
from training.corpus.document import Document, Dropped
from training.corpus.documents import order
from training.corpus.fitting import Fitter
from training.corpus.job import Job, encoder_of
from training.corpus.languages import middle_nodes, split_points
from training.corpus.ledger import ConservationError, Ledger, dropped
from training.corpus.measures import Measures
from training.corpus.packing import PackedRow, PackingReport, pack
from training.corpus.preparing import SUMMARY, folder_of
from training.corpus.tokenising import Encoded

_LOG = logging.getLogger(__name__)
Outcome = Document | Dropped


def results_of(job: Job, index: int) -> Path:
    """Where the step of a shard leaves what it counted."""
    return job.work / "shards" / f"{index:05d}"


def make_shard(job: Job, index: int) -> int:
    """Makes one shard, unless that was done before; a shard all of whose documents were dropped has no file.

    Returns:
        How many rows it has.
    """
    folder, path = results_of(job, index), job.corpus / shards.shard_name(index)
    if folder.is_dir():
        rows = store.read_json(folder / SUMMARY)["rows"]
        found = shards.finished_shard(path)
        if rows == (found.rows if found else 0):
            return rows
        store.discard(folder)  # the shard itself is gone or damaged: make it again
    with store.committed(folder) as scratch:
        making = _Shard(job, index)
        summary = making.run(path)
        store.write_lines(scratch / "dropped.jsonl", map(asdict, making.dropped))
        store.write_json(scratch / SUMMARY, summary)
    seconds = sum(summary["seconds"].values())
    _LOG.info("shard %d: %d rows in %.1f s of processor time", index, summary["rows"], seconds)
    return summary["rows"]


class _Shard:
    """The step for one shard."""

    def __init__(self, job: Job, index: int) -> None:
        recipe = job.recipe
        self._job = job
        self._index = index
        self._ledger = Ledger()
        self._clock = Clock()
        self._measures = Measures()
        self._tokens = 0
        self.dropped: list[Dropped] = []
        self._fitter = Fitter(
            encoder_of(recipe.tokenizer),
            settings=recipe.fitting,
            infilling=recipe.infill,
            loss=recipe.loss,
            seed=recipe.seed,
            epoch=recipe.epoch,
            middle_nodes=middle_nodes,
            split_points=split_points,
        )

    def run(self, path: Path) -> dict[str, Any]:
        """Writes the shard; returns the summary."""
        report = PackingReport()
        packed = pack(
            self._clock.through("examples", self._examples()),
            sequence_length=self._job.recipe.fitting.sequence_length,
            report=report,
        )
        with self._clock.stage("store"):
            rows = _write(self._clock.through("packing", packed), path)
        if report.tokens != self._tokens:
            raise ConservationError(
                f"All tokens of examples must be in rows; {self._tokens} went into the stage 'packing' and "
                f"{report.tokens} came out. This is a defect of the stage: report it."
            )
        self._measures.packed(report)
        return {
            "rows": rows,
            "ledger": self._ledger.as_json(),
            "measures": self._measures.as_json(),
            "seconds": self._clock.seconds,
            "peak_memory_bytes": peak_memory_bytes(),
        }

    def _examples(self) -> Iterator[Encoded]:
        for repository, sources in repositories_of(self._job, self._index):
            documents = list(self._passed("decontamination", self._documents(repository, sources)))
            if documents:
                yield from self._fitted(self._ordered(documents))

    def _documents(self, repository: str, sources: Sequence[int]) -> Iterator[Outcome]:
        """The documents of a repository as "duplicates" leaves them, then as "decontamination" does."""
        seen: set[str] = set()
        for index in sources:
            found = store.documents(folder_of(self._job, index))
            rows = found.rows_of(repository)
            gone = duplicates_in(self._job, index)
            hits = store.read_json(folder_of(self._job, index) / "hits.json")
            stored = self._clock.through("store", found.read(rows))
            for row, document in zip(rows.tolist(), stored, strict=True):
                self._ledger.entered("duplicates", document)
                for kept in self._passed("duplicates", [_unless_duplicate(document, gone.get(row), seen)]):
                    self._ledger.entered("decontamination", kept)
                    yield _unless_hit(kept, hits.get(str(row), []))

    def _ordered(self, documents: list[Document]) -> Sequence[Document]:
        for document in documents:
            self._ledger.entered("order", document)
        with self._clock.stage("order"):
            ordered = order(documents, self._job.recipe.order)
        for document in ordered:
            self._ledger.left("order", document)
        if Counter(document.id for document in documents) != Counter(document.id for document in ordered):
            raise ConservationError(
                f"The stage 'order' must give every document once; it did not in {documents[0].repository}. "
                "This is a defect of the stage: report it."
            )
        return ordered

    def _fitted(self, documents: Sequence[Document]) -> Iterator[Encoded]:
        by_id = {document.id: document for document in documents}
        covered: dict[str, list[tuple[int, int]]] = {}
        for document in documents:
            self._ledger.entered("fitting", document)
        for item in self._clock.through("fitting", self._fitter.fit(documents)):
            if isinstance(item, Dropped):
                list(self._passed("fitting", [item]))
                continue
            for file in item.files:
                covered.setdefault(file.document_id, []).append((file.start, file.end))
            self._tokens += len(item)
            self._measures.example(item, by_id)
            yield item
        for name, ranges in covered.items():
            _check_covered(by_id[name], ranges)
            self._ledger.left("fitting", by_id[name])

    def _passed(self, stage: str, items: Any) -> Iterator[Document]:
        """Counts what comes out of a stage, and keeps record of what does not."""
        for item in items:
            self._ledger.left(stage, item)
            if isinstance(item, Dropped):
                self.dropped.append(item)
            else:
                yield item


def _write(rows: Iterator[PackedRow], path: Path) -> int:
    first = next(rows, None)
    if first is None:
        return 0
    return shards.write_shard(_with(first, rows), path).rows


def _with(first: PackedRow, rest: Iterator[PackedRow]) -> Iterator[PackedRow]:
    yield first
    yield from rest


def _unless_duplicate(document: Document, verdict: tuple[str, str] | None, seen: set[str]) -> Outcome:
    """Drops duplicates, and a second document of the same repository, revision and path, which nothing could name."""
    if verdict:
        return dropped(document, stage="duplicates", reason=verdict[0], detail=verdict[1])
    if document.id in seen:
        return dropped(document, stage="duplicates", reason="repeated-name")
    seen.add(document.id)
    return document


def _unless_hit(document: Document, hits: Sequence[dict[str, Any]]) -> Outcome:
    if not hits:
        return document
    detail = f"{hits[0]['benchmark']} {hits[0]['row']}: {hits[0]['text']}"
    return dropped(document, stage="decontamination", reason="benchmark-overlap", detail=detail)


def _check_covered(document: Document, ranges: list[tuple[int, int]]) -> None:
    """Whether fragments are the document from its first character to its last, each once."""
    at = 0
    for start, end in sorted(ranges):
        if start != at:
            break
        at = end
    else:
        if at == len(document.text):
            return
    raise ConservationError(
        f"The stage 'fitting' must use every character of a document once; {document.path} of {document.repository} "
        f"has {len(document.text)}, its fragments are {sorted(ranges)[:8]}. This is a defect of the stage: report it."
    )
