"""A random model of a Gemma shape as a GGUF file, for llama.cpp's speed on this machine.

Needs the `gguf` package. The weights are noise, one tile of it repeated: speed does not depend on values.
"""

from pathlib import Path

import gguf
import numpy as np

from keras_codegemma.config import CodeGemmaConfig

TYPES = {
    "BF16": gguf.GGMLQuantizationType.BF16,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
    "Q4_0": gguf.GGMLQuantizationType.Q4_0,
}
_FILE_TYPES = {
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}
_TILE_ROWS = 64


def write(path: Path, config: CodeGemmaConfig, kind: str) -> None:
    """Writes the model, without a vocabulary; every matrix, the embedding too, in this type."""
    writer = gguf.GGUFWriter(path, "gemma")
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.hidden_dim)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.feedforward_dim)
    writer.add_head_count(config.num_query_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_rope_freq_base(config.rope_max_wavelength)
    writer.add_file_type(_FILE_TYPES[kind])
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(config.vocabulary_size)
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
        else:
            writer.add_tensor(name, _noise(shape, kind), raw_dtype=TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def shapes(config: CodeGemmaConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor's name and shape, outputs first."""
    width, heads = config.hidden_dim, config.num_query_heads * config.head_dim
    kv_heads = config.num_key_value_heads * config.head_dim
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (config.vocabulary_size, width)}
    for layer in range(config.num_layers):
        block = f"blk.{layer}"
        found |= {
            f"{block}.attn_norm.weight": (width,),
            f"{block}.attn_q.weight": (heads, width),
            f"{block}.attn_k.weight": (kv_heads, width),
            f"{block}.attn_v.weight": (kv_heads, width),
            f"{block}.attn_output.weight": (width, heads),
            f"{block}.ffn_norm.weight": (width,),
            f"{block}.ffn_gate.weight": (config.feedforward_dim, width),
            f"{block}.ffn_up.weight": (config.feedforward_dim, width),
            f"{block}.ffn_down.weight": (width, config.feedforward_dim),
        }
    found["output_norm.weight"] = (width,)
    return found


def _noise(shape: tuple[int, ...], kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    tile = rng.normal(0, shape[1] ** -0.5, (_TILE_ROWS, shape[1])).astype(np.float32)
    encoded = gguf.quants.quantize(tile, TYPES[kind])
    repeats = -(-shape[0] // _TILE_ROWS)
    return np.tile(encoded, (repeats, 1))[: shape[0]]
