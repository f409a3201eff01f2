"""pass@k against its definition, edit distance against the textbook, intervals against their purpose."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma.evaluation import metrics


@pytest.mark.parametrize(("samples", "passed"), [(1, 0), (1, 1), (4, 2), (6, 1), (6, 5), (7, 0)])
def test_pass_at_k_counts_the_draws_with_a_pass(samples: int, passed: int) -> None:
    verdicts = [True] * passed + [False] * (samples - passed)
    for k in range(1, samples + 1):
        draws = list(combinations(verdicts, k))
        assert metrics.pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(st.integers(1, 300), st.data())
def test_pass_at_k_equals_the_binomial_form(samples: int, data: st.DataObject) -> None:
    passed, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    expected = 1 - comb(samples - passed, k) / comb(samples, k)
    assert metrics.pass_at_k(samples, passed, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_one_is_the_pass_rate() -> None:
    assert metrics.mean_pass_at_k([(20, 5), (20, 0), (20, 20)], 1) == pytest.approx((0.25 + 0 + 1) / 3)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 3 of 2\. Count them again"):
        metrics.pass_at_k(2, 3, 1)
    with pytest.raises(ValueError, match=r"k = 5 and 2 samples\. Lower k"):
        metrics.pass_at_k(2, 1, 5)
    with pytest.raises(ValueError, match=r"got none\. Score at least one"):
        metrics.mean_pass_at_k([], 1)


def _textbook_distance(a: str, b: str) -> int:
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, start=1):
        rows.append([i])
        for j, y in enumerate(b, start=1):
            rows[i].append(min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (x != y)))
    return rows[-1][-1]


@given(st.text("abc", max_size=9), st.text("abc", max_size=9))
def test_edit_distance_equals_the_textbook_recurrence(a: str, b: str) -> None:
    assert metrics.edit_distance(a, b) == _textbook_distance(a, b)
    longer = max(len(a), len(b))
    assert metrics.edit_similarity(a, b) == (1 if not longer else 1 - _textbook_distance(a, b) / longer)


def test_exact_match_ignores_blanks_at_the_ends_only() -> None:
    assert metrics.exact_match("  return x\n", "    return x")
    assert not metrics.exact_match("return  x", "return x")


def test_rows_of_one_problem_widen_the_interval() -> None:
    values = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0] * 20
    apart = metrics.clustered_interval(values, list(range(120)))
    together = metrics.clustered_interval(values, [i // 3 for i in range(120)])
    assert apart.value == together.value == 0.5
    assert together.high - together.low > 1.4 * (apart.high - apart.low)
    assert together.clusters == 40
    assert together == metrics.clustered_interval(values, [i // 3 for i in range(120)])


def test_unequal_clusters_weigh_by_their_rows() -> None:
    interval = metrics.clustered_interval([1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"])
    assert interval.value == 0.25
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_none_and_all_of_few_are_not_taken_for_certain() -> None:
    # Clopper and Pearson's end for 0 of n: 1 - 0.025 ** (1 / n); the "rule of three" says about 3.7 / n.
    none = metrics.clustered_interval([0.0] * 6, ["a", "a", "b", "b", "c", "c"])
    assert (none.value, none.low, none.high) == (0.0, 0.0, pytest.approx(0.7076, abs=1e-4))
    every = metrics.clustered_interval([1.0] * 100, list(range(100)))
    assert (every.value, every.low, every.high) == (1.0, pytest.approx(0.9638, abs=1e-4), 1.0)


def test_bad_intervals_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 values and 0 clusters"):
        metrics.clustered_interval([1.0], [])
    with pytest.raises(ValueError, match="between 0 and 1; got 95"):
        metrics.clustered_interval([1.0], [0], confidence=95)
