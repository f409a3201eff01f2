"""Reads a finished corpus back: every document must come out of the packed rows exactly as it went in."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from training.corpus import shards, store, tokenising
from training.corpus.deciding import decide, duplicates_in, repositories_of
from training.corpus.document import Document
from training.corpus.job import Job, tokenizer_of
from training.corpus.preparing import folder_of
from training.corpus.sharding import results_of

_LOG = logging.getLogger(__name__)
_MOST_NAMED = 20


class CorpusDiffersError(RuntimeError):
    """The corpus is not what its sources say it should be."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was read back.

    Attributes:
        documents: that came back exactly.
        size_bytes: of their texts.
        examples: that they were in.
        tokens: of these.
    """

    documents: int
    size_bytes: int
    examples: int
    tokens: int


def verify(job: Job) -> Verified:
    """Compares hashes of shards with the manifest, then the texts of all documents with those that were prepared.

    Raises:
        FileNotFoundError, ValueError: no finished corpus, or a shard that was changed.
        CorpusDiffersError: documents are missing, too many or changed; the first few are named.
    """
    shards.verify(job.corpus)
    shard_count = decide(job, len(list((job.work / "links").iterdir())))
    found = [_verify_shard(job, index) for index in range(shard_count)]
    return Verified(
        documents=sum(item.documents for item in found),
        size_bytes=sum(item.size_bytes for item in found),
        examples=sum(item.examples for item in found),
        tokens=sum(item.tokens for item in found),
    )


def expected(job: Job, index: int) -> Iterator[Document]:
    """The documents that a shard must have: those of its repositories that no stage dropped."""
    path = results_of(job, index) / "dropped.jsonl"
    refused = {item["document_id"] for item in store.read_lines(path) if item["stage"] == "fitting"}
    for repository, sources in repositories_of(job, index):
        seen: set[str] = set()
        for source in sources:
            documents, gone = store.documents(folder_of(job, source)), duplicates_in(job, source)
            hits = store.read_json(folder_of(job, source) / "hits.json")
            rows = [row for row in documents.rows_of(repository).tolist() if row not in gone]
            for row, document in zip(rows, documents.read(rows), strict=True):
                if str(row) not in hits and document.id not in refused | seen:
                    yield document
                seen.add(document.id)


def _verify_shard(job: Job, index: int) -> Verified:
    fragments: dict[str, list[tuple[int, int, str, str]]] = {}
    examples = tokens = 0
    tokenizer = tokenizer_of(job.recipe.tokenizer)
    path = job.corpus / shards.shard_name(index)
    for row in shards.read_rows(path) if path.exists() else ():
        for example in row.examples:
            examples, tokens = examples + 1, tokens + len(example)
            files = tokenising.decode(example.token_ids, tokenizer=tokenizer)
            for file, (name, text) in zip(example.files, files, strict=True):
                fragments.setdefault(file.document_id, []).append((file.start, file.end, name, text))
    problems, documents, size = [], 0, 0
    for document in expected(job, index):
        if problem := _difference(document, sorted(fragments.pop(document.id, []))):
            problems.append(f"{document.repository} {document.path}: {problem}")
        documents, size = documents + 1, size + document.size_bytes
    problems += [f"a document of id {name} that no source has" for name in fragments]
    if problems:
        raise CorpusDiffersError(
            f"Every document of shard {index} must come back exactly; {len(problems)} do not: "
            f"{'; '.join(problems[:_MOST_NAMED])}. Build the corpus again, and report it if that changes nothing."
        )
    _LOG.info("shard %d: %d documents of %.1f MB came back exactly", index, documents, size / 1e6)
    return Verified(documents=documents, size_bytes=size, examples=examples, tokens=tokens)


def _difference(document: Document, fragments: list[tuple[int, int, str, str]]) -> str:
    """What is wrong with the fragments of a document; empty if nothing is."""
    if not fragments:
        return "is missing"
    if others := {name for _, _, name, _ in fragments} - {"", document.path}:  # "" where no path was written
        return f"has another path, {others.pop()!r}"
    text, at = "".join(text for *_, text in fragments), 0
    for start, end, *_ in fragments:
        if start != at:
            return f"has a fragment from character {start} where {at} was to come"
        at = end
    if text != document.text:
        place = next((i for i, (a, b) in enumerate(zip(text, document.text, strict=False)) if a != b), -1)
        return f"has {len(text)} characters for {len(document.text)}, and differs from character {place} on"
    return ""
