"""Figures from verdicts and texts: pass@k, intervals clustered by problem, exact match, edit similarity.

Plain Python and numpy; nothing here knows a model, a benchmark or a file.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with its bootstrap interval.

    Attributes:
        value: the figure itself.
        low: lower end.
        high: upper end.
        clusters: how many independent groups it rests on.
    """

    value: float
    low: float
    high: float
    clusters: int


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Chance that at least one of k samples drawn without replacement from these passes.

    The unbiased estimate of Chen et al. 2021 (arXiv 2107.03374), 1 - C(n - c, k) / C(n, k), as a product,
    which neither overflows nor cancels.

    >>> pass_at_k(4, 1, 2)
    0.5

    Args:
        samples: n, drawn for one problem.
        passed: c, how many of them passed.
        k: how many a user would look at.

    Raises:
        ValueError: counts that contradict each other, or k beyond the samples.
    """
    if not 0 <= passed <= samples:
        raise ValueError(
            f"The samples that passed must be between 0 and all; got {passed} of {samples}. Count them again."
        )
    if not 1 <= k <= samples:
        raise ValueError(
            f"pass@k needs 1 <= k <= samples; got k = {k} and {samples} samples. "
            "Lower k, or draw more samples of each problem."
        )
    if samples - passed < k:
        return 1.0
    # C(n-c, k) / C(n, k) = product over i in (n-c, n] of (i - k) / i: exact for few passes, no factorial.
    miss = 1.0
    for i in range(samples - passed + 1, samples + 1):
        miss *= (i - k) / i
    return 1.0 - miss


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float:
    """The mean over problems of `pass_at_k`; `counts` holds (samples, passed) of each problem."""
    if not counts:
        raise ValueError("pass@k is a mean over problems; got none. Score at least one problem.")
    return sum(pass_at_k(samples, passed, k) for samples, passed in counts) / len(counts)


def clustered_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A percentile bootstrap interval of the mean, drawing whole clusters.

    The 5,815 rows of multi-line infilling come from 164 functions, so their rows are no independent draws;
    resampling rows would make the interval several times too narrow. Where all rows are 0, or all 1, the interval is
    Clopper and Pearson's for that many clusters.

    Args:
        values: one figure per row, a pass rate for instance.
        clusters: the group of each row.
        confidence: share of resampled means inside the interval, in (0, 1).
        resamples: how often to draw.
        seed: of the draws; the same rows give the same interval.

    Raises:
        ValueError: no rows, lists of different lengths, or a confidence outside (0, 1).
    """
    if not values or len(values) != len(clusters):
        raise ValueError(
            f"An interval needs rows, and one cluster per row; got {len(values)} values and {len(clusters)} "
            "clusters. Pass lists of the same length, not empty."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1; got {confidence}. Pass 0.95 for 95%.")
    places = {cluster: index for index, cluster in enumerate(dict.fromkeys(clusters))}
    sums, sizes = np.zeros(len(places)), np.zeros(len(places))
    for value, cluster in zip(values, clusters, strict=True):
        sums[places[cluster]] += value
        sizes[places[cluster]] += 1
    drawn = np.random.default_rng(seed).integers(len(places), size=(resamples, len(places)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    if len(set(values)) == 1 and values[0] in (0, 1):
        # Every draw is the same then, which says nothing: the exact interval of none or all of so many clusters.
        reach = 1 - tail ** (1 / len(places))
        low, high = (0.0, reach) if values[0] == 0 else (1 - reach, 1.0)
    return Interval(value=float(sums.sum() / sizes.sum()), low=float(low), high=float(high), clusters=len(places))


def exact_match(completion: str, reference: str) -> bool:
    """Whether two middles are the same text but for blanks at the ends of the whole."""
    return completion.strip() == reference.strip()


def edit_distance(a: str, b: str) -> int:
    """Levenshtein's distance in characters: insertions, deletions and replacements.

    >>> edit_distance("kitten", "sitting")
    3
    """
    if len(a) < len(b):
        a, b = b, a
    codes = np.array([ord(letter) for letter in b], dtype=np.int64)
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for count, letter in enumerate(a, start=1):
        replaced = row[:-1] + (codes != ord(letter))
        best = np.concatenate([[count], np.minimum(replaced, row[1:] + 1)])
        # An insertion chain costs one a step: the running minimum of (cost - step), with the steps put back.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def edit_similarity(completion: str, reference: str) -> float:
    """1 - distance / longer length, in [0, 1]; two empty texts are the same (1.0)."""
    longer = max(len(completion), len(reference))
    return 1.0 if longer == 0 else 1.0 - edit_distance(completion, reference) / longer
