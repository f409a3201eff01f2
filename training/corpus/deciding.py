"""Second and third step: duplicates are found in ranges of keys, then decided on, and repositories put into shards.

    work/links/00003-of-00016/pairs.npy   pairs of duplicates among the documents of one range of keys
    work/decisions/                       dropped.npy, exact.npy, kept.npy: what goes, whether its text is the same as
                                          that of the document that stays, and that one's id
                                          shard-00012.json: the repositories of a shard

A document's number is the index of its source times 2^32 plus its row there.
"""

import heapq
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from training.corpus import duplicates, store
from training.corpus.clock import Clock, peak_memory_bytes
from training.corpus.document import document_id
from training.corpus.duplicates import Keys
from training.corpus.job import Job
from training.corpus.minhash import Signatures
from training.corpus.preparing import SUMMARY, folder_of

_LOG = logging.getLogger(__name__)
_SHIFT = np.uint64(32)
KEYS_AT_ONCE = 4_000_000
"""Keys of a range, about: 64 MB with their documents, and three times that while they are sorted."""


def parts_for(job: Job, counts: Iterable[int]) -> int:
    """How many ranges the keys of so many documents a source are looked at in."""
    keys = sum(counts) * (1 + job.recipe.duplicates.bands * job.recipe.duplicates.near)
    return max(1, -(-keys // KEYS_AT_ONCE))


def link(job: Job, part: int, parts: int) -> None:
    """Finds the duplicates among the documents of one range of keys, unless that was done before."""
    folder = _links(job, part, parts)
    if folder.is_dir():
        return
    clock = Clock()
    with clock.stage("linking"):
        pairs = _pairs(job, part, parts)
    with store.committed(folder) as scratch:
        np.save(scratch / "pairs.npy", pairs)
        store.write_json(scratch / SUMMARY, {"seconds": clock.seconds, "peak_memory_bytes": peak_memory_bytes()})
    _LOG.info("compared range %d of %d: %d pairs of duplicates", part + 1, parts, len(pairs))


def _pairs(job: Job, part: int, parts: int) -> np.ndarray:
    found = []
    for index in range(len(job.recipe.sources)):
        source = folder_of(job, index)
        keys = Keys(keys=np.load(source / "keys.npy", mmap_mode="r"), rows=np.load(source / "rows.npy", mmap_mode="r"))
        share = keys.between(part, parts)
        found.append((np.array(share.keys), _numbers(index, np.array(share.rows))))
    return duplicates.linked(
        np.concatenate([keys for keys, _ in found] or [np.empty(0, np.uint64)]),
        np.concatenate([numbers for _, numbers in found] or [np.empty(0, np.uint64)]),
        lookup=lambda numbers: _signatures(job, numbers),
        settings=job.recipe.duplicates,
    )


def decide(job: Job, parts: int) -> int:
    """Decides which duplicates go and which shard each repository goes to, unless that was done before.

    Returns:
        How many shards there are.
    """
    folder = job.work / "decisions"
    if not folder.is_dir():
        with store.committed(folder) as scratch:
            pairs = [np.load(_links(job, part, parts) / "pairs.npy") for part in range(parts)]
            gone = duplicates.decide(
                np.unique(np.concatenate(pairs), axis=0),
                name=lambda number: _documents(job, number).name(number & 0xFFFFFFFF),
                lookup=lambda numbers: _signatures(job, numbers),
            )
            numbers = np.array([item.document for item in gone], dtype=np.uint64)
            np.save(scratch / "dropped.npy", numbers)
            np.save(scratch / "exact.npy", np.array([item.reason == duplicates.EXACT for item in gone], dtype=bool))
            np.save(scratch / "kept.npy", np.array([_id(job, item.kept) for item in gone], dtype="S32"))
            shards = _shards(job, set(numbers.tolist()))
            for index, repositories in enumerate(shards):
                store.write_json(scratch / f"shard-{index:05d}.json", repositories)
            store.write_json(scratch / SUMMARY, {"shards": len(shards), "duplicates": len(gone), "ranges": parts})
        _LOG.info("%d duplicates go; %d shards", len(gone), len(shards))
    return store.read_json(folder / SUMMARY)["shards"]


def repositories_of(job: Job, shard: int) -> list[tuple[str, list[int]]]:
    """The repositories of a shard in their order, each with the indices of its sources."""
    return [(name, sources) for name, sources in store.read_json(job.work / "decisions" / f"shard-{shard:05d}.json")]


def duplicates_in(job: Job, index: int) -> dict[int, tuple[str, str]]:
    """The documents of a source that go: by row, the reason and the id of the document that stays."""
    dropped, exact, kept = (
        np.load(job.work / "decisions" / f"{name}.npy", mmap_mode="r") for name in ("dropped", "exact", "kept")
    )
    first, last = np.searchsorted(dropped, _numbers(index, np.array([0, 0xFFFFFFFF])))
    rows = (dropped[first:last] & np.uint64(0xFFFFFFFF)).tolist()
    reasons = [duplicates.EXACT if same else duplicates.NEAR for same in exact[first:last].tolist()]
    return dict(zip(rows, zip(reasons, np.char.decode(kept[first:last]).tolist(), strict=True), strict=True))


def _shards(job: Job, gone: set[int]) -> list[list[tuple[str, list[int]]]]:
    """Repositories shared out so that shards are about as large as each other; within one, by name.

    The largest first, each to the shard that has least: at worst a third above the best division (Graham 1969).
    """
    sizes: dict[str, int] = {}
    sources: dict[str, list[int]] = {}
    for index in range(len(job.recipe.sources)):
        found = store.documents(folder_of(job, index))
        for name in found.repositories:
            sources.setdefault(name, []).append(index)
        for row, (name, size) in enumerate(zip(found.repository_of_rows(), found.sizes(), strict=True)):
            sizes[name] = sizes.get(name, 0) + (0 if (index << 32) + row in gone else size)
    count = max(1, -(-sum(sizes.values()) // job.recipe.shard_bytes))
    loads = [(0, shard) for shard in range(count)]
    members: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        load, shard = heapq.heappop(loads)
        members[shard].append(name)
        heapq.heappush(loads, (load + sizes[name], shard))
    return [[(name, sources[name]) for name in sorted(names)] for names in members if names]


def _links(job: Job, part: int, parts: int) -> Path:
    return job.work / "links" / f"{part:05d}-of-{parts:05d}"


def _numbers(index: int, rows: np.ndarray) -> np.ndarray:
    return (np.uint64(index) << _SHIFT) | rows.astype(np.uint64)


def _documents(job: Job, number: int) -> store.Documents:
    return store.documents(folder_of(job, number >> 32))


def _id(job: Job, number: int) -> str:
    repository, path, revision = _documents(job, number).name(number & 0xFFFFFFFF)
    return document_id(repository=repository, revision=revision, path=path)


def _signatures(job: Job, numbers: np.ndarray) -> Signatures:
    """Signatures of any documents, read source by source."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    sources = (ordered >> _SHIFT).astype(np.int64)
    cuts = np.flatnonzero(np.diff(sources)) + 1
    shares = np.split(ordered, cuts) if len(ordered) else []
    parts = [
        _documents(job, int(share[0])).signatures((share & np.uint64(0xFFFFFFFF)).astype(np.int64)) for share in shares
    ]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return duplicates.taken(duplicates.joined(parts), back)
