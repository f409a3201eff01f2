"""The tokenizer's files in Hugging Face layout: `tokenizer.model` as it is, and its `tokenizer_config.json`.

transformers (4 and 5) builds its tokenizer from the SentencePiece file, so no `tokenizer.json` is written.
"""

from pathlib import Path
from typing import Any

from keras_codegemma.convert.files import write_json
from keras_codegemma.tokenizer import CodeGemmaTokenizer

# As in Google's files: FIM pieces are not "special", so skip_special_tokens does not hide them; turns are.
_NOT_SPECIAL = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_separator|>")
_TURNS = ("<start_of_turn>", "<end_of_turn>")


def write_tokenizer(tokenizer: CodeGemmaTokenizer, folder: Path, *, context_length: int) -> None:
    """Writes `tokenizer.model` and `tokenizer_config.json`.

    Args:
        tokenizer: whose SentencePiece model is written, byte for byte.
        folder: where to.
        context_length: the most tokens the model takes, `model_max_length`.
    """
    (folder / "tokenizer.model").write_bytes(tokenizer.model_bytes)
    write_json(folder / "tokenizer_config.json", tokenizer_config(tokenizer, context_length=context_length))


def tokenizer_config(tokenizer: CodeGemmaTokenizer, *, context_length: int) -> dict[str, Any]:
    """What transformers must know beside the pieces: `<bos>` first, no `<eos>`, which are control pieces."""
    ids = (
        tokenizer.pad_token_id,
        tokenizer.end_token_id,
        tokenizer.start_token_id,
        tokenizer.unk_token_id,
        tokenizer.fim_prefix_id,
        tokenizer.fim_middle_id,
        tokenizer.fim_suffix_id,
        tokenizer.file_separator_id,
        tokenizer.start_of_turn_id,
        tokenizer.end_of_turn_id,
    )
    piece = {token_id: tokenizer.id_to_token(token_id) for token_id in sorted(ids)}
    return {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": piece[tokenizer.start_token_id],
        "eos_token": piece[tokenizer.end_token_id],
        "pad_token": piece[tokenizer.pad_token_id],
        "unk_token": piece[tokenizer.unk_token_id],
        "additional_special_tokens": list(_TURNS),
        "added_tokens_decoder": {str(token_id): _added(text) for token_id, text in piece.items()},
        "clean_up_tokenization_spaces": False,
        "spaces_between_special_tokens": False,
        "model_max_length": context_length,
    }


def _added(text: str) -> dict[str, Any]:
    return {
        "content": text,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": text not in _NOT_SPECIAL,
    }
