"""Names and layouts of every weight: complete, the published ones, and the same there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma import convert
from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B
from tests.convert.random_checkpoints import LIKE_7B
from tests.parity.cases import small


@pytest.mark.parametrize(
    ("config", "tensors", "parameters"),
    [(CODE_GEMMA_2B, 164, 2_506_172_416), (CODE_GEMMA_7B, 254, 8_537_680_896)],
    ids=["2b", "7b"],
)
def test_dry_run_lists_every_tensor_of_the_real_models(config, tensors, parameters):
    rows = convert.dry_run(config)
    assert len(rows) == tensors
    assert sum(row["parameters"] for row in rows) == parameters
    assert {row["path"]: row["shape"] for row in rows} == config.weight_shapes()
    for key in ("path", "hugging_face_name", "keras_hub_key"):
        assert len({row[key] for row in rows}) == tensors


def test_7b_names_and_shapes_are_the_published_ones():
    rows = {row["hugging_face_name"]: row for row in convert.dry_run(CODE_GEMMA_7B)}
    query = rows["model.layers.27.self_attn.q_proj.weight"]
    assert query["hugging_face_shape"] == (4096, 3072)
    assert query["shape"] == (16, 3072, 256)
    assert query["path"] == "decoder_block_27/attention/query/kernel"
    assert query["keras_hub_key"] == "layers/gemma_decoder_block_27/attention/query_dense/vars/0"
    assert rows["model.layers.0.self_attn.o_proj.weight"]["hugging_face_shape"] == (3072, 4096)
    assert rows["model.layers.0.mlp.down_proj.weight"]["hugging_face_shape"] == (3072, 24_576)
    first_norm = rows["model.layers.0.input_layernorm.weight"]
    assert first_norm["keras_hub_key"] == "layers/gemma_decoder_block/pre_attention_norm/vars/0"
    assert rows["model.norm.weight"]["keras_hub_key"] == "layers/rms_normalization/vars/0"


@given(
    heads=st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)]),
    head_dim=st.sampled_from([2, 4, 6]),
    hidden_dim=st.integers(1, 9),
    feedforward_dim=st.integers(1, 9),
)
def test_layouts_convert_back_to_the_same_array(heads, head_dim, hidden_dim, feedforward_dim):
    config = small(
        num_query_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=head_dim,
        hidden_dim=hidden_dim,
        feedforward_dim=feedforward_dim,
        num_layers=1,
    )
    for names in convert.weight_names(config):
        ours = np.arange(np.prod(names.shape)).reshape(names.shape)
        theirs = names.to_hugging_face(ours)
        assert theirs.shape == names.hugging_face_shape
        np.testing.assert_array_equal(names.from_hugging_face(theirs), ours)


def test_query_rows_in_hugging_face_are_heads_first_then_head_width():
    names = {entry.path: entry for entry in convert.weight_names(LIKE_7B)}
    query = names["decoder_block_0/attention/query/kernel"]
    ours = np.arange(np.prod(query.shape)).reshape(query.shape)  # N D H
    assert query.to_hugging_face(ours)[2 * 8 + 3, 5] == ours[2, 5, 3]
    output = names["decoder_block_0/attention/attention_output/kernel"]
    ours = np.arange(np.prod(output.shape)).reshape(output.shape)  # N H D
    assert output.to_hugging_face(ours)[5, 2 * 8 + 3] == ours[2, 3, 5]
