"""Signatures of documents: a hash of the text, and MinHash over runs of words, from which Jaccard similarity is read.

MinHash after Broder 1997; its permutations are (a x + b) mod 2^64 with odd a, of which the upper 32 bits are kept:
multiply-shift, a strongly universal family for them (Dietzfelbinger 1996). Equal entries of two signatures are in
expectation the Jaccard similarity of the two sets of runs, with a standard deviation of sqrt(j (1 - j) / permutations).
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from training.corpus.words import Words, mixed, runs

_BLOCK_RUNS = 1024
"""With 256 permutations a block of products is 2 MB, about a core's second cache; larger ones were slower."""
_COMMENT = re.compile(
    rb"(?:\xef\xbb\xbf)?"
    rb"(?:\s*(?:/\*.*?\*/|<!--.*?-->|\{#.*?#\}|(?:#|//|--|;|%|\.\.|rem\b)[^\n]*(?:\n|\Z)))+",
    re.DOTALL,
)
"""The comments that a file begins with, in all languages at once."""
_NOTICE = re.compile(rb"licen[sc]e|copyright|spdx", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class DuplicateSettings:
    """What counts as a duplicate.

    Attributes:
        near: whether near duplicates are removed too; exact ones always are.
        threshold: least Jaccard similarity of near duplicates; 0.7 as in The Stack (arXiv 2211.15533).
        run_words: length of the runs of words that are compared. With The Stack's 5, few copies with a tenth of their
            words renamed or a fifth of their lines edited reach the threshold; `planted_duplicates` measures it.
        permutations: entries of a signature; 256 as there. The standard deviation of a similarity of 0.7 is 0.029.
        bands: of a signature; two documents are compared if all rows of one band agree. With 42 bands of 6 rows a
            pair at similarity 0.7 is compared with a chance of 0.995, one at 0.5 with 0.48, one at 0.3 with 0.03.
        least_runs: documents with fewer runs of words, their licence notice not counted, are compared as a whole only:
            one changed word is much of them.
    """

    near: bool = True
    threshold: float = 0.7
    run_words: int = 2
    permutations: int = 256
    bands: int = 42
    least_runs: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"A Jaccard threshold lies in (0, 1]; got {self.threshold}. The usual one is 0.7.")
        if min(self.run_words, self.permutations, self.bands, self.least_runs) < 1:
            raise ValueError(f"Sizes of signatures are at least 1; got {self}. Leave the defaults.")
        if self.bands > self.permutations:
            raise ValueError(
                f"A band has at least one row; got {self.bands} bands of {self.permutations} permutations. "
                "Ask for fewer bands or more permutations."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Signatures:
    """Signatures of several documents, row by row.

    Attributes:
        texts: uint64 [documents, 2], BLAKE2b (128 bits) of each text.
        minima: uint32 [documents, permutations]; zeros where `comparable` is false.
        comparable: bool [documents], whether the document has enough runs to be a near duplicate.
    """

    texts: np.ndarray
    minima: np.ndarray
    comparable: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def band_keys(self, bands: int) -> np.ndarray:
        """Hashes of the bands of the comparable documents, uint64 [comparable, bands]."""
        chosen = self.minima[self.comparable]
        rows = self.minima.shape[1] // bands
        keys = np.tile(np.arange(1, bands + 1, dtype=np.uint64), (len(chosen), 1))
        for row in range(rows):
            keys = mixed(keys ^ chosen[:, row : rows * bands : rows].astype(np.uint64))
        return keys


def sign(documents: Sequence[Words], settings: DuplicateSettings) -> Signatures:
    """Signs documents; the signature of each depends on its words and text alone."""
    count = len(documents)
    texts = np.zeros((count, 2), dtype=np.uint64)
    minima = np.zeros((count, settings.permutations), dtype=np.uint32)
    comparable = np.zeros(count, dtype=bool)
    for row, document in enumerate(documents):
        texts[row] = np.frombuffer(hashlib.blake2b(document.data, digest_size=16).digest(), dtype="<u8")
        joined = runs(document.hashes[words_of_notice(document) :], settings.run_words)
        if settings.near and len(joined) >= settings.least_runs:
            minima[row] = minimum_hashes(joined, settings.permutations)
            comparable[row] = True
    return Signatures(texts=texts, minima=minima, comparable=comparable)


def words_of_notice(document: Words) -> int:
    """How many words the licence or copyright notice at the head of a file has; 0 without one.

    It is most of many short files, so that with it they would all be alike.
    """
    comment = _COMMENT.match(document.data)
    if not comment or not _NOTICE.search(comment.group()):
        return 0
    return int(np.searchsorted(document.starts, comment.end()))


def minimum_hashes(values: np.ndarray, permutations: int) -> np.ndarray:
    """The smallest value under each permutation, uint32 [permutations]; repeated values change nothing."""
    factors, offsets = _permutations(permutations)
    smallest = np.full(permutations, np.iinfo(np.uint64).max)
    for start in range(0, len(values), _BLOCK_RUNS):
        products = factors[:, None] * values[None, start : start + _BLOCK_RUNS]
        products += offsets[:, None]
        np.minimum(smallest, products.min(axis=1), out=smallest)
    return (smallest >> np.uint64(32)).astype(np.uint32)


@lru_cache(maxsize=4)
def _permutations(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors and offsets from a hash, not a generator of NumPy's, whose streams may change between its releases."""
    drawn = b"".join(hashlib.blake2b(b"permutation %d" % index, digest_size=16).digest() for index in range(count))
    factors, offsets = np.frombuffer(drawn, dtype="<u8").reshape(count, 2).T.copy()
    return factors | np.uint64(1), offsets
