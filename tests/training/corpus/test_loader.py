"""The loader: shapes, labels, order, hosts, places, and a real `fit`."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_codegemma as kcg
from tests.small_models import CONFIGS, random_backbone
from tests.tolerances import tolerance
from tests.training.corpus.packed import library, numbered_rows, tiny_encoder, write_corpus
from training.corpus.fitting import Fitter, FittingSettings
from training.corpus.infill import InfillSettings
from training.corpus.loader import Batch, make_loader
from training.corpus.packing import PackedRow, pack
from training.corpus.shards import read_rows
from training.corpus.tokenising import Encoded, LossSettings

ROWS = 23


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 rows in shards of 10, 10 and 3; the first id of row i is i + 1."""
    folder = tmp_path_factory.mktemp("numbered")
    write_corpus(folder, numbered_rows(ROWS), rows_per_shard=10, vocabulary_size=100)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of Python's library, with loss weights of several sizes."""
    folder = tmp_path_factory.mktemp("real")
    fitter = Fitter(
        tiny_encoder(),
        settings=FittingSettings(sequence_length=128, split_above=1, least=1),
        infilling=InfillSettings(),
        loss=LossSettings(middle=2.0, context=0.5),
        seed=0,
    )
    examples = (made for file in library(10) for made in fitter.fit([file]) if isinstance(made, Encoded))
    rows = list(pack(examples, sequence_length=128))
    write_corpus(folder, rows, rows_per_shard=50, vocabulary_size=8192)
    return folder


def numbers(batches: Iterable[Batch]) -> list[list[int]]:
    """The numbers of the rows of each batch; 0 for padding."""
    return [features["token_ids"][:, 0].tolist() for features, _, _ in batches]


def take(loader: Iterator[Batch], count: int) -> list[Batch]:
    return [next(loader) for _ in range(count)]


def shifted_by_hand(row: PackedRow) -> tuple[list[int], list[float]]:
    labels, weights = [], []
    for place in range(len(row.token_ids)):
        following = place + 1
        same = (
            following < len(row.token_ids)
            and row.segment_ids[place] == row.segment_ids[following]
            and row.segment_ids[place] != 0
        )
        labels.append(int(row.token_ids[following]) if same else 0)
        weights.append(float(row.loss_weights[following]) if same else 0.0)
    return labels, weights


def test_batches_have_the_names_shapes_and_dtypes_of_the_design(numbered: Path):
    loader = make_loader(numbered, batch_size=4, seed=0)
    features, labels, weights = next(loader)
    assert {name: (value.shape, value.dtype.name) for name, value in features.items()} == {
        "token_ids": ((4, 16), "int32"),
        "padding_mask": ((4, 16), "bool"),
        "segment_ids": ((4, 16), "int32"),
        "positions": ((4, 16), "int32"),
    }
    assert (labels.shape, labels.dtype.name) == ((4, 16), "int32")
    assert (weights.shape, weights.dtype.name) == ((4, 16), "float32")
    loader.close()


def test_arrays_are_those_of_the_rows_and_labels_the_next_ids_within_examples(real: Path):
    rows = {row.token_ids.tobytes(): row for path in sorted(real.glob("*.array_record")) for row in read_rows(path)}
    loader = make_loader(real, batch_size=7, seed=0, epochs=1)
    seen, segments, kinds = 0, 0, set()
    for features, labels, weights in loader:
        for index in range(7):
            if not features["padding_mask"][index].any():
                continue
            row = rows[features["token_ids"][index].tobytes()]
            seen += 1
            segments = max(segments, int(row.segment_ids.max()))
            kinds |= set(row.loss_weights.tolist())
            np.testing.assert_array_equal(features["segment_ids"][index], row.segment_ids)
            np.testing.assert_array_equal(features["positions"][index], row.positions)
            np.testing.assert_array_equal(features["padding_mask"][index], row.segment_ids > 0)
            expected_labels, expected_weights = shifted_by_hand(row)
            assert labels[index].tolist() == expected_labels
            assert weights[index].tolist() == expected_weights
    assert seen == len(rows) > 100
    assert segments > 1
    assert kinds == {0.0, 1.0, 2.0}


def test_each_epoch_has_every_row_once_in_an_order_of_its_own(numbered: Path):
    loader = make_loader(numbered, batch_size=1, seed=0, epochs=3)
    found = [row for (row,) in numbers(loader)]
    epochs = [found[ROWS * epoch : ROWS * (epoch + 1)] for epoch in range(3)]
    assert len(found) == 3 * ROWS
    for epoch in epochs:
        assert sorted(epoch) == list(range(1, ROWS + 1))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_order_is_the_seeds(numbered: Path):
    def order(seed: int) -> list[list[int]]:
        return numbers(make_loader(numbered, batch_size=5, seed=seed, epochs=2))

    assert order(3) == order(3)
    # Grain's seed of the next epoch is one more; ours must not be.
    assert order(3)[:4] != order(4)[:4]
    second_epoch = list(chain(*order(3)))[ROWS : 2 * ROWS]
    assert second_epoch != list(chain(*order(4)))[:ROWS]


def test_the_order_stays_the_same_between_releases(numbered: Path):
    # As it was with Grain 0.2.18: if another gives something else, saved places of runs mean other rows.
    assert numbers(take(make_loader(numbered, batch_size=8, seed=0), 3)) == [
        [15, 16, 12, 3, 18, 22, 19, 11],
        [2, 8, 4, 1, 20, 13, 5, 6],
        [17, 7, 9, 21, 14, 23, 10, 6],
    ]


def test_an_order_without_an_end_goes_on(numbered: Path):
    loader = make_loader(numbered, batch_size=4, seed=0)
    assert loader.num_batches is None
    counts = Counter(row for batch in numbers(take(loader, 23)) for row in batch)
    assert counts == dict.fromkeys(range(1, ROWS + 1), 4)
    loader.close()


def test_the_last_batch_is_filled_up_with_padding_that_is_not_learned(numbered: Path):
    loader = make_loader(numbered, batch_size=5, seed=0, epochs=1)
    batches = list(loader)
    assert loader.num_batches == len(batches) == 5
    features, labels, weights = batches[-1]
    assert features["padding_mask"].any(axis=1).tolist() == [True, True, True, False, False]
    for array in (*features.values(), labels, weights):
        assert not array[3:].any()
    with pytest.raises(StopIteration):
        next(loader)


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_each_batch(numbered: Path, hosts: int):
    whole = numbers(make_loader(numbered, batch_size=8, seed=1, epochs=2))
    shares = [
        numbers(make_loader(numbered, batch_size=8, seed=1, epochs=2, shard_index=host, shard_count=hosts))
        for host in range(hosts)
    ]
    assert {len(share) for share in shares} == {len(whole)}
    for step, batch in enumerate(whole):
        assert sorted(batch) == sorted(row for share in shares for row in share[step])
        assert {len(share[step]) for share in shares} == {8 // hosts}


def test_a_step_has_the_same_batch_however_it_is_reached(numbered: Path):
    whole = numbers(make_loader(numbered, batch_size=4, seed=2, epochs=3))
    loader = make_loader(numbered, batch_size=4, seed=2, epochs=3)
    for step in (7, 0, 16, 3):
        loader.go_to_step(step)
        assert numbers(take(loader, 1)) == [whole[step]]


@pytest.mark.parametrize("epochs", [2, None])
def test_a_restored_place_goes_on_as_if_nothing_had_happened(numbered: Path, epochs: int | None):
    loader = make_loader(numbered, batch_size=4, seed=2, epochs=epochs)
    take(loader, 3)
    state = json.loads(json.dumps(loader.get_state()))
    expected = take(loader, 7)
    assert loader.get_state() != state
    restored = make_loader(numbered, batch_size=4, seed=2, epochs=epochs)
    restored.set_state(state)
    assert restored.get_state() == state
    for (features, labels, weights), (features2, labels2, weights2) in zip(expected, take(restored, 7), strict=True):
        assert all(np.array_equal(features[name], features2[name]) for name in features)
        np.testing.assert_array_equal(labels, labels2)
        np.testing.assert_array_equal(weights, weights2)
    loader.close()
    restored.close()


@pytest.mark.parametrize(("before", "after"), [((1, 4), (2, 4)), ((4, 8), (1, 8)), ((2, 6), (3, 9)), ((3, 3), (4, 8))])
def test_another_number_of_hosts_and_rows_covers_the_rest_exactly_once(
    numbered: Path, before: tuple[int, int], after: tuple[int, int]
):
    seen: Counter[int] = Counter()
    states = []
    for host in range(before[0]):
        loader = make_loader(numbered, batch_size=before[1], seed=5, epochs=2, shard_index=host, shard_count=before[0])
        seen.update(row for batch in numbers(take(loader, 4)) for row in batch)
        states.append(loader.get_state())
        loader.close()
    assert all(state == states[0] for state in states)
    for host in range(after[0]):
        loader = make_loader(numbered, batch_size=after[1], seed=5, epochs=2, shard_index=host, shard_count=after[0])
        loader.set_state(states[0])
        seen.update(row for batch in numbers(loader) for row in batch)
    padding = seen.pop(0, 0)
    assert seen == dict.fromkeys(range(1, ROWS + 1), 2)
    assert padding < after[1]


def test_a_place_after_the_end_has_no_more_batches(numbered: Path):
    loader = make_loader(numbered, batch_size=5, seed=0, epochs=1)
    list(loader)
    restored = make_loader(numbered, batch_size=4, seed=0, epochs=1)
    restored.set_state(loader.get_state())
    assert list(restored) == []


@pytest.mark.slow
def test_worker_processes_give_the_same_batches(numbered: Path):
    alone = make_loader(numbered, batch_size=4, seed=0, epochs=2)
    together = make_loader(numbered, batch_size=4, seed=0, epochs=2, workers=2)
    take(alone, 2)
    together.set_state(alone.get_state())
    assert numbers(together) == numbers(alone)
    together.close()


def test_a_corpus_that_is_not_finished_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"must have a manifest\.json, which a build writes last"):
        make_loader(tmp_path, batch_size=1, seed=0)


def edited(folder: Path, target: Path, **changes: object) -> Path:
    """A copy of a corpus with another manifest."""
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((target / "manifest.json").read_text())
    (target / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    return target


def test_empty_corpora_and_shards_are_refused(numbered: Path, tmp_path: Path):
    shards = json.loads((numbered / "manifest.json").read_text())["shards"]
    empty = edited(numbered, tmp_path, shards=[])
    with pytest.raises(ValueError, match=r"A corpus must have shards with rows; .* has none\. Build it with more"):
        make_loader(empty, batch_size=1, seed=0)
    empty = edited(numbered, tmp_path, shards=[shards[0], {**shards[1], "rows": 0}])
    with pytest.raises(ValueError, match=r"has \['shard-00001\.array_record'\] without any\. Build it"):
        make_loader(empty, batch_size=1, seed=0)


def test_a_manifest_that_says_more_rows_than_there_are_is_refused(numbered: Path, tmp_path: Path):
    shards = json.loads((numbered / "manifest.json").read_text())["shards"]
    wrong = edited(numbered, tmp_path, shards=[{**shards[0], "rows": 11}, *shards[1:]])
    with pytest.raises(
        ValueError, match=r"must have 24 rows, as its manifest says; its shards have 23\. Build it again"
    ):
        next(make_loader(wrong, batch_size=1, seed=0))


def test_a_manifest_of_another_length_is_refused(numbered: Path, tmp_path: Path):
    wrong = edited(numbered, tmp_path, sequence_length=32)
    with pytest.raises(ValueError, match=r"Rows must have 32 tokens, as the manifest says; got one of 16\. Build"):
        next(make_loader(wrong, batch_size=1, seed=0))


def test_ids_beyond_the_models_vocabulary_are_refused(numbered: Path):
    make_loader(numbered, batch_size=1, seed=0, vocabulary_size=24)
    with pytest.raises(ValueError, match=r"below the model's vocabulary size 23; .* has 23\. Build the corpus with"):
        make_loader(numbered, batch_size=1, seed=0, vocabulary_size=23)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 0},
            "batch_size must be a positive multiple of shard_count, the rows of all hosts together; got 0",
        ),
        ({"batch_size": 3, "shard_count": 2}, "got 3 for 2 hosts. Give, for example, 2."),
        ({"shard_index": 2, "shard_count": 2}, "shard_index must lie in [0, shard_count); got 2 of 2. Give each host"),
        ({"shard_index": -1}, "got -1 of 1"),
        ({"epochs": 0}, "epochs must be at least 1, or None for ever; got 0. Correct it."),
    ],
)
def test_numbers_that_do_not_fit_are_refused(numbered: Path, options: dict[str, int], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_loader(numbered, seed=0, **{"batch_size": 2, **options})


@pytest.mark.parametrize("name", ["corpus", "seed"])
def test_the_state_of_another_run_is_refused(numbered: Path, name: str):
    loader = make_loader(numbered, batch_size=1, seed=0)
    state = {**loader.get_state(), name: "other"}
    with pytest.raises(
        ValueError, match=f"of the same corpus and seed; got {name} 'other' for .* Open the corpus that"
    ):
        loader.set_state(state)


@pytest.mark.parametrize("changes", [{"rows_taken": -1}, {"rows_taken": "3"}, {"more": 1}])
def test_what_is_no_state_is_refused(numbered: Path, changes: dict[str, object]):
    loader = make_loader(numbered, batch_size=1, seed=0)
    with pytest.raises(ValueError, match=r"must have \['corpus', 'rows_taken', 'seed'\]; got .* Pass what get_state"):
        loader.set_state({**loader.get_state(), **changes})


def test_a_step_below_0_is_refused(numbered: Path):
    with pytest.raises(ValueError, match=r"A step must be 0 or more; got -1\. Count from the start"):
        make_loader(numbered, batch_size=1, seed=0).go_to_step(-1)


def test_fit_takes_a_loader_as_it_is(numbered: Path):
    lm = kcg.CodeGemmaCausalLM(random_backbone(CONFIGS["multi_query"]))
    lm.compile(optimizer=keras.optimizers.SGD(0.0))
    loader = make_loader(numbered, batch_size=6, seed=0, epochs=2, vocabulary_size=320)
    losses = lm.fit(loader, steps_per_epoch=4, epochs=2, verbose=0).history["loss"]
    batches = list(make_loader(numbered, batch_size=6, seed=0, epochs=2))
    assert len(batches) == 8
    for epoch, loss in enumerate(losses):
        features, labels, weights = zip(*batches[4 * epoch : 4 * epoch + 4], strict=True)
        joined = {name: np.concatenate([one[name] for one in features]) for name in features[0]}
        weight = np.concatenate(weights)
        arrays = lm.fit(joined, np.concatenate(labels), sample_weight=weight, batch_size=6, shuffle=False, verbose=0)
        assert loss == pytest.approx(arrays.history["loss"][0], rel=tolerance("loss", "float32"))
