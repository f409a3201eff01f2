"""Logits against two independent implementations: KerasHub's, live, and transformers', by golden files."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest

from keras_codegemma.backbone import CodeGemmaBackbone
from tests.parity.cases import CASES, SEED, Case
from tests.parity.recipe import random_weight
from tests.tolerances import tolerance

pytestmark = pytest.mark.tensorflow

FLOAT32_TOLERANCE = tolerance("logits", "float32")
BFLOAT16_RATIO = tolerance("error_ratio", "bfloat16")
DATA = Path(__file__).parent / "data"
WIDE = {case.name for case in CASES if case.config.hidden_dim > 1000}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
# The error of a single token is chance.
cases_with_several_tokens = pytest.mark.parametrize(
    "case", [case for case in CASES if case.tokens >= 8], ids=lambda case: case.name
)


def weight(path: str, shape: tuple[int, ...], *, rounded: bool):
    """The recipe's weight, or that rounded to bfloat16."""
    values = random_weight(path, shape, seed=SEED)
    return keras.ops.cast(values, "bfloat16") if rounded else values


@cache
def ours(case: Case, dtype: str, *, rounded: bool = False) -> np.ndarray:
    """Logits of the tokens that are no padding, [tokens, V]."""
    backbone = CodeGemmaBackbone(
        **case.config.to_dict(),
        dtype=dtype,
        weight_source=lambda path, shape, dtype: weight(path, shape, rounded=rounded),
    )
    batch = case.batch()
    logits = np.asarray(backbone.token_embedding(backbone(batch), reverse=True), np.float32)
    return logits[batch["padding_mask"]]


@cache
def theirs(case: Case, dtype: str, *, rounded: bool = False) -> np.ndarray:
    """KerasHub's logits [tokens, V]; it has no segments, so each packed document gets a row of its own."""
    backbone = keras_hub_backbone(case, dtype, rounded=rounded)
    batch = case.batch()
    documents = case.documents()
    shape = (len(documents), max(columns.stop - columns.start for _, columns in documents))
    ids, mask = np.zeros(shape, np.int32), np.zeros(shape, bool)
    for index, (row, columns) in enumerate(documents):
        ids[index, : columns.stop - columns.start] = batch["token_ids"][row, columns]
        mask[index, : columns.stop - columns.start] = True
    hidden = backbone({"token_ids": ids, "padding_mask": mask})
    logits = backbone.token_embedding(hidden, reverse=True)
    return np.asarray(keras.ops.cast(logits, "float32"))[mask]


def keras_hub_backbone(case: Case, dtype: str, *, rounded: bool) -> Any:
    config = case.config
    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=config.vocabulary_size,
        num_layers=config.num_layers,
        num_query_heads=config.num_query_heads,
        num_key_value_heads=config.num_key_value_heads,
        hidden_dim=config.hidden_dim,
        intermediate_dim=2 * config.feedforward_dim,
        head_dim=config.head_dim,
        dtype=dtype,
    )
    for variable in backbone.variables:
        variable.assign(weight(variable.path, variable.shape, rounded=rounded))
    return backbone


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def error(rounded: np.ndarray, exact: np.ndarray) -> float:
    """Root of the mean square: the largest difference alone is chance."""
    return float(np.sqrt(np.mean(np.square(rounded - exact))))


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(DATA / "transformers_golden.npz") as file:
        return dict(file)


# KerasHub's own way to mask a row of one token.
one_token_is_meant = pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")


@one_token_is_meant
@every_case
def test_float32_logits_equal_keras_hub(case: Case):
    assert relative_difference(ours(case, "float32"), theirs(case, "float32")) <= FLOAT32_TOLERANCE


@every_case
def test_float32_logits_equal_transformers(case: Case):
    assert relative_difference(ours(case, "float32"), golden()[f"{case.name}/float32"]) <= FLOAT32_TOLERANCE
    exact = ours(case, "float32", rounded=True)
    assert relative_difference(exact, golden()[f"{case.name}/bfloat16_weights"]) <= FLOAT32_TOLERANCE


@one_token_is_meant
@cases_with_several_tokens
def test_bfloat16_error_is_no_larger_than_keras_hubs(case: Case):
    exact = ours(case, "float32", rounded=True)
    assert relative_difference(exact, theirs(case, "float32", rounded=True)) <= FLOAT32_TOLERANCE
    our_error = error(ours(case, "bfloat16", rounded=True), exact)
    assert our_error <= BFLOAT16_RATIO * error(theirs(case, "bfloat16", rounded=True), exact)


@cases_with_several_tokens
def test_bfloat16_error_is_no_larger_than_that_of_transformers(case: Case):
    our_error = error(ours(case, "bfloat16", rounded=True), ours(case, "float32", rounded=True))
    their_logits, exact = (golden()[f"{case.name}/{kind}"] for kind in ("bfloat16", "bfloat16_weights"))
    assert our_error <= BFLOAT16_RATIO * error(their_logits, exact)


def test_golden_file_says_where_it_comes_from_and_covers_every_case():
    about = json.loads((DATA / "transformers_golden.json").read_text())
    assert {"transformers", "torch", "numpy", "date", "seed", "device"} <= set(about)
    assert about["seed"] == SEED
    assert set(about["cases"]) == {case.name for case in CASES}
    for case in CASES:
        assert about["cases"][case.name]["config"] == case.config.to_dict()
        assert about["cases"][case.name]["lengths"] == [list(row) for row in case.lengths]
    assert {name: tuple(shape) for name, shape in about["arrays"].items()} == {
        name: array.shape for name, array in golden().items()
    }


def test_cases_cover_one_some_and_all_key_value_heads_and_both_real_widths():
    kinds = {
        "one"
        if case.config.num_key_value_heads == 1
        else "all"
        if case.config.num_key_value_heads == case.config.num_query_heads
        else "some"
        for case in CASES
    }
    assert kinds == {"one", "some", "all"}
    assert len(CASES) >= 8
    assert {case.config.hidden_dim for case in CASES if case.name in WIDE} == {2048, 3072}
