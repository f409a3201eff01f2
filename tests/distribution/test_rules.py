"""The layout of every weight: one rule each, axes that divide, and refusals that name the numbers."""

import dataclasses
import re

import jax
import keras
import pytest

from keras_codegemma.config import CODE_GEMMA_2B, CODE_GEMMA_7B
from keras_codegemma.distribution import CodeGemmaParallel, MeshShape, device_mesh, layout_map
from keras_codegemma.quantization import SCALE_SUFFIX, Quantization, is_quantized
from keras_codegemma.sharding import belongs_to_model, weight_axes, weight_spec
from tests.small_models import CONFIGS, random_backbone

FSDP = MeshShape(replica=2, fsdp=2, model=2)
SMALL = CONFIGS["multi_query"]


def spec(path, config, mesh, **options):
    return weight_spec(path, ndim=len(config.weight_shapes()[path]), config=config, mesh=mesh, **options)


@pytest.mark.parametrize("config", [CODE_GEMMA_2B, CODE_GEMMA_7B], ids=["2b", "7b"])
def test_every_weight_has_one_rule_in_floats_and_quantised_and_with_adapters(config):
    for path, shape in config.weight_shapes().items():
        assert belongs_to_model(path)
        assert len(weight_axes(path, ndim=len(shape))) == len(shape)
        if path.endswith("kernel"):
            stem = path.removesuffix("kernel")
            kernel = weight_axes(path, ndim=len(shape))
            assert weight_axes(stem + "lora_kernel_a", ndim=len(shape)) == (*kernel[:-1], None)
            assert weight_axes(stem + "lora_kernel_b", ndim=2) == (None, kernel[-1])
        if is_quantized(path):
            for mode in ("int8", "int4"):
                data, scale = Quantization.of(mode).shapes(path, shape)
                axes = weight_axes(path, ndim=2, quantized=True)
                assert set(axes) - {None} == set(weight_axes(path, ndim=len(shape))) - {None}
                assert len(data.shape) == 2
                assert weight_axes(path + SCALE_SUFFIX, ndim=len(scale.shape)) == axes[: len(scale.shape)]


def test_the_single_key_value_head_stays_whole_and_sixteen_are_split():
    mesh = MeshShape(data=1, model=8)
    for name in ("key", "value"):
        path = f"decoder_block_3/attention/{name}/kernel"
        assert spec(path, CODE_GEMMA_2B, mesh) == (None, None, None)
        assert spec(path, CODE_GEMMA_7B, mesh) == ("model", None, None)
    assert spec("decoder_block_3/attention/query/kernel", CODE_GEMMA_2B, mesh) == ("model", None, None)
    assert spec("decoder_block_3/attention/query/kernel", CODE_GEMMA_7B, FSDP) == ("model", "fsdp", None)
    assert spec("token_embedding/embeddings", CODE_GEMMA_7B, FSDP) == ("model", "fsdp")
    assert spec("final_normalization/scale", CODE_GEMMA_7B, FSDP) == (None,)


@pytest.mark.parametrize("quantization", [None, "int8", "int4/32"])
def test_kerass_map_has_one_key_for_each_path(quantization):
    config = dataclasses.replace(SMALL, feedforward_dim=128)
    keys = layout_map(device_mesh(FSDP), config, quantization=quantization)
    for path in config.weight_shapes():
        assert sum(re.fullmatch(key, path) is not None for key in keys) == 1, path
    key = "decoder_block_1/attention/key/kernel"
    assert tuple(keys[key].axes) == ((None, "fsdp", None) if quantization is None else (None, "fsdp"))


def test_quantised_weights_and_adapters_are_split_like_their_kernels():
    parallel = CodeGemmaParallel(MeshShape(data=2, model=4), SMALL)
    with parallel.scope():
        backbone = random_backbone(SMALL, dtype="int8_from_float32")
        backbone.enable_lora(4, target_names=("query", "ffw_linear"))
    found = {variable.path: variable.value.sharding.spec for variable in backbone.variables}
    p = jax.sharding.PartitionSpec
    assert found["decoder_block_0/attention/query/kernel"] == p("model", None)
    assert found["decoder_block_0/attention/query/kernel_scale"] == p("model")
    assert found["decoder_block_0/attention/key/kernel"] == p(None, None)
    assert found["decoder_block_0/ffw_linear/kernel"] == p(None, "model")
    assert found["decoder_block_0/attention/query/lora_kernel_a"] == p("model", None, None)
    assert found["decoder_block_0/ffw_linear/lora_kernel_a"] == p("model", None)
    assert found["token_embedding/embeddings"] == p("model", None)


def test_optimiser_slots_lie_as_their_weights():
    with CodeGemmaParallel(FSDP, SMALL).scope():
        backbone = random_backbone(SMALL)
        optimizer = keras.optimizers.AdamW()
        optimizer.build(backbone.trainable_variables)
    slots = {variable.path.split("/", 1)[1]: variable.value.sharding for variable in optimizer.variables}
    for weight in backbone.trainable_variables:
        for kind in ("momentum", "velocity"):
            assert slots[f"{weight.path.replace('/', '_')}_{kind}"] == weight.value.sharding


def test_a_weight_that_no_rule_matches_refuses_to_be_built():
    with CodeGemmaParallel(FSDP, SMALL).scope():
        with keras.name_scope("outer"), pytest.raises(ValueError, match="exactly one layout rule; outer/token_embedd"):
            random_backbone(SMALL)
        with pytest.raises(ValueError, match="exactly one layout rule"):
            keras.Variable(jax.numpy.ones((4, 4)), name="kernel")
    with CodeGemmaParallel(FSDP, SMALL, replicated=("kernel",)).scope():
        assert keras.Variable(jax.numpy.ones((4, 4)), name="kernel").value.sharding.is_fully_replicated


def test_a_model_of_another_architecture_is_refused():
    with (
        CodeGemmaParallel(FSDP, SMALL).scope(),
        pytest.raises(ValueError, match="num_key_value_heads is 4 in the model and 1 in the distribution"),
    ):
        random_backbone(CONFIGS["multi_head"])


@pytest.mark.parametrize(
    ("mesh", "config", "message"),
    [
        ({"data": 1, "model": 16}, CODE_GEMMA_2B, "16 cannot split 8 query heads .* 1 or 2 or 4 or 8"),
        ({"data": 1, "model": 3}, CODE_GEMMA_7B, "3 cannot split 16 query heads"),
        ({"fsdp": 5, "model": 1}, CODE_GEMMA_7B, "5 cannot split the width of 3072 .* up to 1024"),
    ],
)
def test_meshes_that_do_not_divide_say_which_numbers_clash(mesh, config, message):
    with pytest.raises(ValueError, match=message):
        MeshShape(**mesh).check(config)


def test_rows_of_several_processes_must_divide(monkeypatch):
    parallel = CodeGemmaParallel(FSDP, SMALL)
    assert parallel.get_data_layout((13, 4)).backend_layout.is_fully_replicated  # one process: the model pads
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(CodeGemmaParallel, "row_group", (0, 2))
    assert parallel.get_data_layout((6, 4)).backend_layout.spec == jax.P(("replica", "fsdp"))
    with pytest.raises(ValueError, match=r"5 rows on each of 2 do not divide by 4 .* Pass a multiple of 2 rows"):
        parallel.get_data_layout((5, 4))


def test_other_bad_meshes_are_refused():
    with pytest.raises(ValueError, match="either data and model, or replica"):
        MeshShape(data=2, fsdp=4)
    with pytest.raises(ValueError, match="positive integer; got 0"):
        MeshShape(data=0)
    with pytest.raises(ValueError, match="is 4 and there are 8"):
        CodeGemmaParallel(MeshShape(data=4), SMALL)
    with pytest.raises(ValueError, match=r"must have the axes \(data, model\)"):
        layout_map(keras.distribution.DeviceMesh((8,), ("batch",)), SMALL)
    with pytest.raises(ValueError, match="more than one of the 12 key-value heads in part"):
        MeshShape(data=1, model=16).check(
            dataclasses.replace(CODE_GEMMA_7B, num_query_heads=48, num_key_value_heads=12)
        )


def test_an_axis_that_does_not_divide_a_scale_is_refused():
    config = dataclasses.replace(SMALL, hidden_dim=128, head_dim=32)
    with (
        CodeGemmaParallel(MeshShape(replica=1, fsdp=8), config).scope(),
        pytest.raises(ValueError, match=r"fsdp of 8 cannot split axis 1 of .*embeddings_scale, .* Use fsdp = 1"),
    ):
        random_backbone(config, dtype="int4/128_from_float32")
