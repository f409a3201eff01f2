"""A tokenizer.json gives the SentencePiece model back, or is refused."""

import json
from pathlib import Path

import pytest
import sentencepiece

from keras_codegemma import convert
from keras_codegemma.convert import keras_objects
from keras_codegemma.convert.sentencepiece_model import sentencepiece_from_tokenizer_json
from keras_codegemma.tokenizer import CodeGemmaTokenizer
from tests.convert.random_checkpoints import TINY


def tokenizer_json(**changes) -> dict:
    """The tiny tokenizer as the tokenizers library stores it."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(TINY / "assets/tokenizer/vocabulary.spm"))
    pieces = [model.id_to_piece(index) for index in range(model.vocab_size())]
    known = set(pieces)
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in pieces[473:]
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return {"model": {"type": "BPE", "byte_fallback": True, "vocab": vocabulary, "merges": merges, **changes}}


def test_a_tokenizer_json_gives_the_sentencepiece_model_back(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    rebuilt = CodeGemmaTokenizer(sentencepiece_from_tokenizer_json(tmp_path / "tokenizer.json"))
    original = CodeGemmaTokenizer(TINY / "assets/tokenizer/vocabulary.spm")
    for text in (Path(__file__).read_text(), "\t\t x  é漢字🙂\r\n\n\n<table>\x00", "<|fim_prefix|><bos>"):
        assert rebuilt.encode(text) == original.encode(text)
        assert rebuilt.decode(rebuilt.encode(text)) == text
    assert rebuilt.infill_stop_ids == original.infill_stop_ids


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"type": "WordPiece"}, "a model of type 'WordPiece'"),
        ({"vocab": {"<pad>": 0, "<eos>": 2}}, "ids with gaps"),
        ({"vocab": {"a": 0, "b": 1}}, r"pieces that begin \['a', 'b'\]"),
        ({"merges": [["i", "n"], ["s", "e"]]}, "merges that are not in the order of their pieces"),
    ],
)
def test_a_tokenizer_json_of_another_kind_is_refused(tmp_path, changes, found):
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(**changes)))
    with pytest.raises(ValueError, match=rf"must be Gemma's tokenizer .*; it has {found}"):
        sentencepiece_from_tokenizer_json(tmp_path / "tokenizer.json")


def test_a_hugging_face_folder_with_only_a_tokenizer_json_is_read(hugging_face_folder):
    (hugging_face_folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    with convert.open_folder(hugging_face_folder) as checkpoint:
        assert checkpoint.tokenizer_model is not None
        assert CodeGemmaTokenizer(checkpoint.tokenizer_model).fim_suffix_id == 69


def test_special_ids_are_recorded_under_our_key_only():
    tokenizer = CodeGemmaTokenizer(TINY / "assets/tokenizer/vocabulary.spm")
    values = keras_objects.tokenizer(tokenizer)
    assert values["registered_name"] == "keras_hub>GemmaTokenizer"
    assert values["keras_codegemma"]["special_token_ids"]["fim_suffix"] == 69
    assert "special_token_ids" not in values["config"]
