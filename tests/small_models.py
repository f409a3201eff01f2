"""Small random models of every head arrangement, for tests that need no trained weights."""

import functools

import jax
import keras
import numpy as np

from keras_codegemma.backbone import CodeGemmaBackbone
from keras_codegemma.config import CodeGemmaConfig

CONFIGS = {
    # One key-value head, as 2B: heads x head width is the model width.
    "multi_query": CodeGemmaConfig(
        vocabulary_size=320,
        num_layers=2,
        num_query_heads=4,
        num_key_value_heads=1,
        hidden_dim=64,
        feedforward_dim=96,
        head_dim=16,
        context_length=512,
    ),
    "grouped_query": CodeGemmaConfig(
        vocabulary_size=320,
        num_layers=2,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=48,
        feedforward_dim=80,
        head_dim=16,
        context_length=512,
    ),
    # All heads, as 7B: heads x head width is more than the model width.
    "multi_head": CodeGemmaConfig(
        vocabulary_size=320,
        num_layers=2,
        num_query_heads=4,
        num_key_value_heads=4,
        hidden_dim=48,
        feedforward_dim=80,
        head_dim=16,
        context_length=512,
    ),
}


def random_backbone(config: CodeGemmaConfig, *, dtype: str = "float32", seed: int = 0) -> CodeGemmaBackbone:
    """A backbone with seeded random weights, norms included, so that nothing is hidden by a zero."""
    rng = np.random.default_rng(seed)

    def source(path: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        fan_in = shape[-1] if "embeddings" in path else int(np.prod(shape[:-1]) ** 0.5) or 1
        scale = 0.2 if path.endswith("/scale") else fan_in**-0.5
        return rng.normal(0.0, scale, shape).astype("float32")

    return CodeGemmaBackbone(**config.to_dict(), dtype=dtype, weight_source=source)


def random_ids(rng: np.random.Generator, config: CodeGemmaConfig, length: int) -> list[int]:
    """Ids of anything but padding."""
    return rng.integers(1, config.vocabulary_size, length).tolist()


def logits_of(backbone: CodeGemmaBackbone, ids: list[int]) -> np.ndarray:
    """Float32 logits [T, V] of one row, by the full forward pass."""
    return logits_of_rows(backbone, [ids])[0]


def logits_of_rows(backbone: CodeGemmaBackbone, rows: list[list[int]]) -> list[np.ndarray]:
    """Float32 logits [T, V] of each row, by the full forward pass, compiled for lengths that are multiples of 64."""
    length = -(-max(map(len, rows)) // 64) * 64
    token_ids, mask = np.zeros((len(rows), length), "int32"), np.zeros((len(rows), length), bool)
    for index, row in enumerate(rows):
        token_ids[index, : len(row)], mask[index, : len(row)] = row, True
    logits = _forward(backbone)([v.value for v in backbone.variables], token_ids, mask)
    return [np.asarray(logits[index, : len(row)]) for index, row in enumerate(rows)]


@functools.cache
def _forward(backbone: CodeGemmaBackbone):
    def program(weights, token_ids, mask):
        with keras.StatelessScope(state_mapping=list(zip(backbone.variables, weights, strict=True))):
            hidden = backbone({"token_ids": token_ids, "padding_mask": mask})
            return backbone.token_embedding(hidden, reverse=True)

    return jax.jit(program)


def set_seed(seed: int) -> None:
    """Seeds Python, numpy and Keras."""
    keras.utils.set_random_seed(seed)
