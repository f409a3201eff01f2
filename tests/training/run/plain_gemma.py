"""Gemma 1 in plain `jax.numpy`, one row at a time, written from the paper and nothing of ours, for comparison.

Gemma Team, 2024 (arXiv:2403.08295), section 2: RMSNorm with (1 + scale) before attention and feed-forward, rotary
embedding over the two halves of a head, GeGLU with tanh, inputs times sqrt(D), tied output.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from keras_codegemma.config import CodeGemmaConfig


def loss(weights: Mapping[str, Any], config: CodeGemmaConfig, ids: Any, labels: Any, sample_weight: Any) -> Any:
    """Cross-entropy of rows [B, T], summed over tokens times their weights, divided by the number of positions."""
    rows = jnp.stack([_nats(weights, config, row, label) for row, label in zip(ids, labels, strict=True)])
    return (rows * sample_weight).sum() / rows.size


def _nats(w: Mapping[str, Any], config: CodeGemmaConfig, ids: Any, labels: Any) -> Any:
    x = w["token_embedding/embeddings"][ids] * config.hidden_dim**0.5  # T D
    for layer in range(config.num_layers):
        block = {
            name.split("/", 1)[1]: value for name, value in w.items() if name.startswith(f"decoder_block_{layer}/")
        }
        x = x + _attend(block, config, _norm(x, block["pre_attention_norm/scale"], config))
        x = x + _feed_forward(block, _norm(x, block["pre_ffw_norm/scale"], config))
    logits = _norm(x, w["final_normalization/scale"], config) @ w["token_embedding/embeddings"].T  # T V
    return jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]


def _norm(x: Any, scale: Any, config: CodeGemmaConfig) -> Any:
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + config.layer_norm_epsilon) * (1 + scale)


def _attend(block: Mapping[str, Any], config: CodeGemmaConfig, x: Any) -> Any:
    length, group = len(x), config.num_query_heads // config.num_key_value_heads
    q = _rotate(jnp.einsum("td,ndh->nth", x, block["attention/query/kernel"]), config)
    k = _rotate(jnp.einsum("td,ndh->nth", x, block["attention/key/kernel"]), config)
    v = jnp.einsum("td,ndh->nth", x, block["attention/value/kernel"])
    k, v = jnp.repeat(k, group, axis=0), jnp.repeat(v, group, axis=0)
    scores = jnp.einsum("nth,nsh->nts", q, k) / config.head_dim**0.5
    scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
    mixed = jnp.einsum("nts,nsh->nth", jax.nn.softmax(scores, -1), v)
    return jnp.einsum("nth,nhd->td", mixed, block["attention/attention_output/kernel"])


def _rotate(x: Any, config: CodeGemmaConfig) -> Any:
    half = config.head_dim // 2
    angles = jnp.arange(x.shape[1])[:, None] / config.rope_max_wavelength ** (jnp.arange(half) / half)  # T H/2
    first, second = x[..., :half], x[..., half:]
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def _feed_forward(block: Mapping[str, Any], x: Any) -> Any:
    gate = jax.nn.gelu(x @ block["ffw_gating/kernel"], approximate=True)
    return (gate * (x @ block["ffw_gating_2/kernel"])) @ block["ffw_linear/kernel"]
