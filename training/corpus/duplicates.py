"""Finds exact and near duplicates across repositories, and decides which file of each group stays.

1. `sorted_keys`: every document has one key for its text and one for each band of its signature.
2. `linked`: documents that share a key are compared, those that are duplicates become pairs. A range of keys is
   looked at on its own, so the ranges can be shared out among workers.
3. `decide`: pairs make groups (transitively), and of each group the smallest (repository, path, revision) stays.

A near duplicate is a pair whose signatures agree in at least `threshold` of their entries: an estimate of the
Jaccard similarity, not verified on the texts. Among the documents that share a key each is compared with the first,
the rest with the first of the rest, and so on: all pairs of a group need not be compared for the group to be found.
No result depends on the order of documents or on how keys are shared out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.corpus.minhash import DuplicateSettings, Signatures

EXACT, NEAR = "exact-duplicate", "near-duplicate"
Name = tuple[str, str, str]
"""Repository, path and revision of a document."""
_COMPARED_AT_ONCE = 4096
"""Pairs: with 256 permutations 8 MB of signatures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Keys:
    """Keys of documents in ascending order.

    Attributes:
        keys: uint64; equal keys make documents candidates.
        rows: the document of each key, as its row in the signatures.
    """

    keys: np.ndarray
    rows: np.ndarray

    def between(self, part: int, parts: int) -> "Keys":
        """The keys of one of `parts` equal ranges of all possible keys."""
        bounds = np.array([(index << 64) // parts for index in (part, part + 1) if index < parts], dtype=np.uint64)
        cuts = [*np.searchsorted(self.keys, bounds), len(self.keys)]
        return Keys(keys=self.keys[cuts[0] : cuts[1]], rows=self.rows[cuts[0] : cuts[1]])


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A document that goes.

    Attributes:
        document: its number.
        kept: number of the document of its group that stays.
        reason: `EXACT` if the two texts are the same, else `NEAR`.
    """

    document: int
    kept: int
    reason: str


def sorted_keys(signatures: Signatures, settings: DuplicateSettings) -> Keys:
    """Every key of every document: its text's, and one for each band if it is comparable."""
    bands = signatures.band_keys(settings.bands)
    comparable = np.flatnonzero(signatures.comparable)
    keys = np.concatenate([signatures.texts[:, 0], bands.ravel()])
    rows = np.concatenate([np.arange(len(signatures)), np.repeat(comparable, settings.bands)])
    order = np.argsort(keys, kind="stable")
    return Keys(keys=keys[order], rows=rows[order])


def linked(
    keys: np.ndarray,
    documents: np.ndarray,
    *,
    lookup: Callable[[np.ndarray], Signatures],
    settings: DuplicateSettings,
) -> np.ndarray:
    """Pairs of duplicates among documents that share a key.

    Args:
        keys: in any order.
        documents: number of the document of each key.
        lookup: signatures of documents by their numbers; asked for a few thousand at a time.
        settings: the threshold.

    Returns:
        Numbers of documents [pairs, 2], without repetition.
    """
    order = np.lexsort((documents, keys))
    keys, documents = keys[order], documents[order]
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = (keys[1:] != keys[:-1]) | (documents[1:] != documents[:-1])
    keys, documents = _shared(keys[fresh], documents[fresh])
    keys, documents = _in_content_order(keys, documents, lookup)
    found = [np.empty((0, 2), dtype=documents.dtype)]
    while len(keys):
        first = _run_starts(keys)
        leaders = documents[first][np.cumsum(first) - 1]
        followers = ~first
        pairs = np.stack([leaders[followers], documents[followers]], axis=1)
        same = _are_duplicates(pairs, lookup=lookup, threshold=settings.threshold)
        found.append(pairs[same])
        left = followers.copy()
        left[followers] = ~same
        keys, documents = _shared(keys[left], documents[left])
    return np.unique(np.concatenate(found), axis=0)


def decide(
    pairs: np.ndarray, *, name: Callable[[int], Name], lookup: Callable[[np.ndarray], Signatures]
) -> list[Duplicate]:
    """Which documents go, in the order of their numbers.

    Args:
        pairs: as `linked` gives them, of all ranges of keys together.
        name: of a document by its number; the smallest of a group stays.
        lookup: as for `linked`.
    """
    documents, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(-1, 2)
    edges = coo_array((np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1])), shape=(len(documents),) * 2)
    _, groups = connected_components(edges, directed=False) if len(documents) else (0, np.empty(0, dtype=int))
    kept: dict[int, tuple[Name, int]] = {}
    for document, group in zip(documents.tolist(), groups.tolist(), strict=True):
        candidate = (name(document), document)
        kept[group] = min(kept.get(group, candidate), candidate)
    going = [(d, kept[g][1]) for d, g in zip(documents.tolist(), groups.tolist(), strict=True) if d != kept[g][1]]
    reasons = _reasons(np.array(going, dtype=documents.dtype).reshape(-1, 2), lookup)
    return [Duplicate(document=d, kept=k, reason=reason) for (d, k), reason in zip(going, reasons, strict=True)]


def find(signatures: Signatures, names: Sequence[Name], settings: DuplicateSettings) -> list[Duplicate]:
    """All steps in one process; document numbers are rows of `signatures` and `names`."""
    keys = sorted_keys(signatures, settings)
    pairs = linked(keys.keys, keys.rows, lookup=lambda rows: taken(signatures, rows), settings=settings)
    return decide(pairs, name=lambda row: names[row], lookup=lambda rows: taken(signatures, rows))


def taken(signatures: Signatures, rows: np.ndarray) -> Signatures:
    """The signatures of some rows."""
    return Signatures(
        texts=signatures.texts[rows], minima=signatures.minima[rows], comparable=signatures.comparable[rows]
    )


def joined(parts: Sequence[Signatures]) -> Signatures:
    """The signatures of several batches, one after the other; at least one."""
    return Signatures(
        texts=np.concatenate([part.texts for part in parts]),
        minima=np.concatenate([part.minima for part in parts]),
        comparable=np.concatenate([part.comparable for part in parts]),
    )


def _run_starts(keys: np.ndarray) -> np.ndarray:
    first = np.ones(len(keys), dtype=bool)
    first[1:] = keys[1:] != keys[:-1]
    return first


def _shared(keys: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the keys that one document alone has."""
    first = _run_starts(keys)
    alone = first & np.append(first[1:], True)
    return keys[~alone], documents[~alone]


def _in_content_order(
    keys: np.ndarray, documents: np.ndarray, lookup: Callable[[np.ndarray], Signatures]
) -> tuple[np.ndarray, np.ndarray]:
    """Documents of a key by their texts' hashes, so that who is compared with whom depends on contents alone."""
    distinct, place = np.unique(documents, return_inverse=True)
    contents = np.concatenate([lookup(part).texts[:, 0] for part in _batches(distinct)] or [np.empty(0, np.uint64)])
    order = np.lexsort((contents[place], keys))
    return keys[order], documents[order]


def _are_duplicates(pairs: np.ndarray, *, lookup: Callable[[np.ndarray], Signatures], threshold: float) -> np.ndarray:
    distinct, place = np.unique(pairs, axis=0, return_inverse=True)
    verdicts = [np.empty(0, dtype=bool)]
    for part in _batches(distinct):
        left, right = lookup(part[:, 0]), lookup(part[:, 1])
        alike = (left.minima == right.minima).mean(axis=1) >= threshold
        verdicts.append(_same_texts(left, right) | (alike & left.comparable & right.comparable))
    return np.concatenate(verdicts)[place.ravel()]


def _reasons(pairs: np.ndarray, lookup: Callable[[np.ndarray], Signatures]) -> list[str]:
    return [
        EXACT if same else NEAR
        for part in _batches(pairs)
        for same in _same_texts(lookup(part[:, 0]), lookup(part[:, 1])).tolist()
    ]


def _same_texts(left: Signatures, right: Signatures) -> np.ndarray:
    return (left.texts == right.texts).all(axis=1)


def _batches(values: np.ndarray) -> list[np.ndarray]:
    return [values[start : start + _COMPARED_AT_ONCE] for start in range(0, len(values), _COMPARED_AT_ONCE)]
