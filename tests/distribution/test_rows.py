"""Filling up of batches, by arithmetic alone: `test_hosts.py` has it with several processes."""

import keras
import numpy as np
import pytest

from keras_codegemma.batches import ArrayBatches
from keras_codegemma.distribution.rows import LOSS_FACTOR, FilledBatches, Rows

COUNTS = (5, 4, 1)


def batches_of(group: int) -> tuple[ArrayBatches, np.ndarray]:
    tokens = np.random.default_rng(group).integers(1, 9, (COUNTS[group], 4))
    weights = np.random.default_rng([1, group]).random((COUNTS[group], 4))
    return ArrayBatches(({"token_ids": tokens}, tokens + 1, weights), batch_size=3, shuffle=False), weights


def filled(group: int) -> FilledBatches:
    return FilledBatches(batches_of(group)[0], Rows(counts=COUNTS, group=group, batch_size=3, parts=2))


def test_all_parts_have_as_many_steps_of_as_many_rows():
    for group in range(3):
        batches = filled(group)
        assert len(batches) == 2
        for step in range(2):
            features, labels, weights = batches[step]
            assert features["token_ids"].shape == labels.shape == weights.shape == (4, 4)
            np.testing.assert_array_equal(features["token_ids"] + 1, labels)


def test_the_loss_over_filled_rows_is_that_of_the_real_ones():
    for step in range(2):
        parts = [filled(group)[step] for group in range(3)]
        labels, weights = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
        (factor,) = {float(value) for features, _, _ in parts for value in features[LOSS_FACTOR]}
        real = [batches_of(group) for group in range(3)]
        real_labels = np.concatenate([batches._arrays[1][3 * step : 3 * step + 3] for batches, _ in real])
        real_weights = np.concatenate([found[3 * step : 3 * step + 3] for _, found in real])
        assert len(real_labels) == (7, 3)[step]
        # A loss that is the label: summed times the weights, over the number of positions; and over the weights.
        assert factor * (labels * weights).mean() == pytest.approx((real_labels * real_weights).mean(), rel=1e-6)
        assert np.average(labels, weights=weights) == pytest.approx(np.average(real_labels, weights=real_weights))


def test_labels_without_weights_get_one_each():
    batches = ArrayBatches(
        ({"token_ids": np.ones((3, 2), int)}, np.ones((3, 2), int), None), batch_size=2, shuffle=False
    )
    weights = FilledBatches(batches, Rows(counts=(3,), group=0, batch_size=2, parts=4))[1][2]
    np.testing.assert_array_equal(weights, np.repeat([[1], [0], [0], [0]], 2, axis=1))


def test_arrays_are_shuffled_anew_each_epoch_and_lose_nothing():
    arrays = ArrayBatches((np.arange(7), np.arange(7), None), batch_size=3, shuffle=True)
    orders = []
    for _ in range(2):
        parts = [arrays[step] for step in range(len(arrays))]
        assert all((first == second).all() and weights is None for first, second, weights in parts)
        orders.append(np.concatenate([part[0] for part in parts]))
        assert sorted(orders[-1]) == list(range(7))
        arrays.on_epoch_end()
    assert not np.array_equal(*orders)


def test_arrays_of_other_lengths_are_refused():
    arrays = ArrayBatches(({"a": np.ones(3)}, np.ones(4)), batch_size=2, shuffle=False)
    assert isinstance(arrays, keras.utils.PyDataset)
    with pytest.raises(ValueError, match=r"as many rows; got \[3, 4\]"):
        len(arrays)
