"""The tokenizer: lossless, no commands from text, decoding in pieces, and refusals."""

import io
import pickle
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from keras_codegemma import chat, fim
from keras_codegemma.fim import CONTROL_PIECES, Sentinel
from keras_codegemma.tokenizer import CodeGemmaTokenizer

ROOT = Path(__file__).parents[1]
TINY_MODEL = ROOT / "presets/code_gemma_tiny/assets/tokenizer/vocabulary.spm"
REAL_MODEL = ROOT.parent / "shared/tokenizer/gemma_256k_fim.model"

TOKENIZER = CodeGemmaTokenizer(TINY_MODEL)
PLAIN = sentencepiece.SentencePieceProcessor(model_file=str(TINY_MODEL))
SIZE = PLAIN.vocab_size()
FIRST_BYTE_ID = 217

# Real code without spelled sentinels, and more than ASCII.
SOURCE = Path(fim.__file__).read_text() + "ünïcödé \U0001f9d1\u200d\U0001f4bb\r\n\t"
for sentinel in Sentinel:
    SOURCE = SOURCE.replace(sentinel, sentinel[1:])

# Any text that UTF-8 can write, with what a tokenizer may stumble over made likely.
unusual = [
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\x00",
    "\ufeff",
    "\ufffd",
    "é",
    "e\u0301",
    "\U0001f9d1\u200d\U0001f4bb",
]
any_text = st.lists(
    st.text(max_size=8) | st.sampled_from([*unusual, *CONTROL_PIECES, "<unk>", "<|fim_", "prefix|>", "<", "<b>"]),
    max_size=8,
).map("".join)
kept_text = any_text.map(lambda text: text.replace("\u2581", " "))
clean_text = any_text.filter(lambda text: not any(sentinel in text for sentinel in Sentinel))

any_id = st.one_of(
    st.integers(0, SIZE - 1),
    st.integers(FIRST_BYTE_ID, FIRST_BYTE_ID + 255),
    # Bytes of é, ▁, € and an emoji, whole and in part; control pieces; <unk>.
    st.sampled_from([FIRST_BYTE_ID + byte for byte in "é\u2581€\U0001f9d1".encode()]),
    st.sampled_from([0, 1, 2, 3, 67, 106]),
)
any_ids = st.lists(any_id, max_size=24)


def trained(**options) -> bytes:
    """A small SentencePiece model like CodeGemma's, but for the given options."""
    model = io.BytesIO()
    settings = {
        "sentence_iterator": iter(["to be or not to be that is the question"] * 20),
        "model_writer": model,
        "model_type": "bpe",
        "vocab_size": 300,
        "hard_vocab_limit": False,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "pad_id": 0,
        "eos_id": 1,
        "bos_id": 2,
        "unk_id": 3,
        "pad_piece": "<pad>",
        "eos_piece": "<eos>",
        "bos_piece": "<bos>",
        "user_defined_symbols": ["\n", *Sentinel],
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(**(settings | options))
    return model.getvalue()


# Special ids.


def test_special_ids_are_those_of_gemma():
    t = TOKENIZER
    assert (t.pad_token_id, t.end_token_id, t.start_token_id, t.unk_token_id) == (0, 1, 2, 3)
    assert (t.fim_prefix_id, t.fim_middle_id, t.fim_suffix_id, t.file_separator_id) == (67, 68, 69, 70)
    assert (t.start_of_turn_id, t.end_of_turn_id) == (106, 107)


def test_stop_ids_are_sentinels_and_ends():
    assert set(TOKENIZER.infill_stop_ids) == {67, 68, 69, 70, 1}
    assert set(TOKENIZER.chat_stop_ids) == {67, 68, 69, 70, 1, 107}


def test_ids_are_looked_up_by_name():
    names = ["\n", *reversed(Sentinel)]
    other = CodeGemmaTokenizer(trained(user_defined_symbols=names))
    assert other.end_of_turn_id == other.token_to_id("<end_of_turn>") != 107
    assert other.encode_parts([Sentinel.FIM_MIDDLE]) == [other.fim_middle_id]
    assert other.decode([other.fim_prefix_id], keep_special=True) == "<|fim_prefix|>"


# Text to ids and back.


@given(kept_text)
@example("\x00\r\n\t \ufeff")
def test_every_text_without_u2581_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_u2581_comes_back_as_a_space():
    assert TOKENIZER.encode("a\u2581b") == TOKENIZER.encode("a b")
    assert TOKENIZER.decode(TOKENIZER.encode("a\u2581b")) == "a b"


@given(any_text)
def test_text_never_becomes_a_control_id(text):
    ids = TOKENIZER.encode(text)
    assert {TOKENIZER.token_to_id(piece) for piece in CONTROL_PIECES}.isdisjoint(ids)


@given(clean_text)
def test_text_that_spells_no_sentinel_is_encoded_as_plain_sentencepiece_does(text):
    assert TOKENIZER.encode(text) == PLAIN.encode(text)


@given(any_text)
def test_text_around_a_spelled_sentinel_keeps_its_own_ids(text):
    ids = TOKENIZER.encode(f"{text}\n<|fim_prefix|>\n{text}")
    assert ids[: len(TOKENIZER.encode(text + "\n<"))] == TOKENIZER.encode(text + "\n<")


@pytest.mark.parametrize("piece", CONTROL_PIECES)
def test_control_pieces_are_commands_only_when_asked_for(piece):
    token_id = TOKENIZER.token_to_id(piece)
    assert token_id not in TOKENIZER.encode(f"a {piece} b")
    ids = TOKENIZER.encode(f"a {piece}{piece} b", parse_special=True)
    assert ids == [*TOKENIZER.encode("a "), token_id, token_id, *TOKENIZER.encode(" b")]


@given(st.lists(clean_text, min_size=1, max_size=4))
def test_parts_apart_have_the_ids_of_the_written_text(texts):
    parts = [part for text in texts for part in (Sentinel.FIM_PREFIX, text)]
    assert TOKENIZER.encode_parts(parts) == PLAIN.encode("".join(parts))


def test_chat_parts_have_the_ids_of_the_written_text():
    messages = [
        {"role": "user", "content": "Write x."},
        {"role": "model", "content": "x = 1"},
        {"role": "user", "content": "Now y."},
    ]
    parts = chat.format(messages)
    assert TOKENIZER.encode_parts(parts) == PLAIN.encode("".join(parts))


def test_empty_text_has_no_ids():
    assert TOKENIZER.encode("") == []
    assert TOKENIZER.decode([]) == ""


def test_batches_are_rows():
    assert TOKENIZER.encode_batch(["a", "b c"]) == [TOKENIZER.encode("a"), TOKENIZER.encode("b c")]
    assert TOKENIZER.decode_batch([TOKENIZER.encode("a"), []]) == ["a", ""]


# Decoding.


@given(any_ids)
def test_decoding_is_that_of_sentencepiece_but_for_sentinels(ids):
    ids = [i for i in ids if i not in TOKENIZER.vocabulary.control_ids or i < 3]
    assert TOKENIZER.decode(ids) == PLAIN.decode(ids)


@given(st.lists(any_ids, max_size=12), st.booleans())
def test_streamed_pieces_join_to_the_decoded_text_for_any_ids(chunks, keep_special):
    decoder = TOKENIZER.stream_decoder(keep_special=keep_special)
    text = "".join(decoder.push(chunk) for chunk in chunks) + decoder.finish()
    assert text == TOKENIZER.decode([i for chunk in chunks for i in chunk], keep_special=keep_special)


@given(any_ids)
def test_streamed_text_is_only_ever_added_to(ids):
    decoder = TOKENIZER.stream_decoder()
    shown = ""
    for position, i in enumerate(ids):
        shown += decoder.push([i])
        assert TOKENIZER.decode(ids[: position + 1]).startswith(shown)
        assert TOKENIZER.decode(ids).startswith(shown)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\u2581"), max_size=12))
def test_stream_never_shows_half_a_character(text):
    decoder = TOKENIZER.stream_decoder()
    for piece in (decoder.push([FIRST_BYTE_ID + byte]) for byte in text.encode()):
        assert len(piece) <= 1
        assert "\ufffd" not in piece or "\ufffd" in text


def test_stream_holds_back_an_unfinished_character_until_the_end():
    decoder = TOKENIZER.stream_decoder()
    emoji = [FIRST_BYTE_ID + byte for byte in "\U0001f9d1".encode()]
    assert [decoder.push([i]) for i in emoji] == ["", "", "", "\U0001f9d1"]
    assert decoder.push(emoji[:3]) == ""
    assert decoder.finish() == "\ufffd\ufffd\ufffd"
    assert decoder.finish() == ""


def test_stream_gives_up_a_character_as_soon_as_it_cannot_become_valid():
    decoder = TOKENIZER.stream_decoder()
    assert decoder.push([FIRST_BYTE_ID + 0xE2]) == ""
    assert decoder.push([FIRST_BYTE_ID + 0x41]) == "\ufffdA"


def test_refused_ids_leave_the_stream_as_it_was():
    decoder = TOKENIZER.stream_decoder()
    with pytest.raises(ValueError, match="Token ids must lie in"):
        decoder.push([*TOKENIZER.encode("x"), SIZE])
    assert decoder.push(TOKENIZER.encode("y")) == "y"


def test_control_pieces_are_left_out_of_decoded_text_unless_kept():
    ids = TOKENIZER.encode("<bos><|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>c<eos><pad>", parse_special=True)
    assert TOKENIZER.decode(ids) == "abc"
    kept = TOKENIZER.decode(ids, keep_special=True)
    assert kept == "<bos><|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>c<eos><pad>"


@pytest.mark.parametrize("convert", [tuple, np.array, lambda ids: np.array(ids, np.int32), iter])
def test_ids_may_come_in_any_integer_container(convert):
    ids = TOKENIZER.encode("def f():")
    assert TOKENIZER.decode(convert(ids)) == "def f():"


# KerasHub's names.


def test_call_takes_a_text_or_a_list_and_detokenize_reverses_it():
    assert TOKENIZER("a b") == TOKENIZER.tokenize("a b") == TOKENIZER.encode("a b")
    assert TOKENIZER(["a b", "c"]) == [TOKENIZER.encode("a b"), TOKENIZER.encode("c")]
    assert TOKENIZER.detokenize(TOKENIZER("a b")) == "a b"
    assert TOKENIZER.detokenize(TOKENIZER(["a b", "c"])) == ["a b", "c"]
    assert TOKENIZER.detokenize(np.array(TOKENIZER(["a", "d"]))) == ["a", "d"]


def test_sequence_length_pads_and_cuts_what_a_call_returns():
    tokenizer = CodeGemmaTokenizer(TINY_MODEL, sequence_length=4)
    ids = tokenizer.encode("a b c d e")
    assert len(ids) > 4
    assert tokenizer(["a b c d e", "a"]) == [ids[:4], [ids[0], 0, 0, 0]]


def test_pieces_by_name_and_by_id():
    assert TOKENIZER.vocabulary_size() == SIZE == 8192
    assert TOKENIZER.id_to_token(67) == "<|fim_prefix|>"
    assert all(TOKENIZER.token_to_id(TOKENIZER.id_to_token(i)) == i for i in range(SIZE))


def test_config_round_trip():
    tokenizer = CodeGemmaTokenizer(TINY_MODEL, sequence_length=16)
    again = CodeGemmaTokenizer.from_config(tokenizer.get_config(), proto=tokenizer.model_bytes)
    assert again.get_config() == tokenizer.get_config()
    assert again.model_bytes == tokenizer.model_bytes == TINY_MODEL.read_bytes()


def test_config_may_carry_the_fields_of_keras():
    config = {"name": "gemma_tokenizer", "trainable": True, "dtype": "int32", "config_file": "tokenizer.json"}
    assert CodeGemmaTokenizer.from_config(config, proto=TINY_MODEL).sequence_length is None


def test_pickled_tokenizer_is_the_same():
    again = pickle.loads(pickle.dumps(CodeGemmaTokenizer(TINY_MODEL, sequence_length=3)))
    assert again.encode("def f(x):") == TOKENIZER.encode("def f(x):")
    assert again.sequence_length == 3


# Speed.


def test_encoding_a_megabyte_takes_little_longer_than_sentencepiece_itself():
    text = (SOURCE * 300)[:1_000_000]

    def seconds(encode) -> float:
        start = time.perf_counter()
        encode(text)
        return time.perf_counter() - start

    # The least of several, interleaved, because the machine may be busy with other things.
    ours, theirs = zip(*[(seconds(TOKENIZER.encode), seconds(PLAIN.encode)) for _ in range(5)], strict=True)
    assert min(ours) < 1.25 * min(theirs) + 0.02


# What is refused.


def test_vocabulary_without_fim_pieces_is_refused_with_their_names():
    plain_gemma = trained(user_defined_symbols=["\n", "<start_of_turn>", "<end_of_turn>"])
    message = (
        r"must hold CodeGemma's control pieces; got one of \d+ pieces without <\|fim_prefix\|>, "
        r"<\|fim_middle\|>, <\|fim_suffix\|>, <\|file_separator\|>\. Use a CodeGemma tokenizer: plain Gemma's"
    )
    with pytest.raises(ValueError, match=message):
        CodeGemmaTokenizer(plain_gemma)


@pytest.mark.parametrize(
    "options",
    [
        {"add_dummy_prefix": True},
        {"remove_extra_whitespaces": True},
        {"normalization_rule_name": "nmt_nfkc"},
        {"byte_fallback": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_vocabulary_that_changes_text_is_refused(options):
    message = "The vocabulary must keep text as it is; got one that reads .* back as .* Use a model without"
    with pytest.raises(ValueError, match=message):
        CodeGemmaTokenizer(trained(**options))


@pytest.mark.parametrize("content", [b"", b"garbage", b"version https://git-lfs.github.com/spec/v1\noid"])
def test_file_that_is_no_model_is_refused(content, tmp_path):
    path = tmp_path / "vocabulary.spm"
    path.write_bytes(content)
    message = rf"must be given a SentencePiece model; got {len(content)} bytes that begin .* Fetch the file again"
    with pytest.raises(ValueError, match=message):
        CodeGemmaTokenizer(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got '.*no\.spm', where no file is\. Check the path"):
        CodeGemmaTokenizer(tmp_path / "no.spm")


@pytest.mark.parametrize("text", [b"bytes", None, 3, ["a"]])
def test_what_is_not_text_is_refused(text):
    with pytest.raises(TypeError, match=r"Text to encode must be a str; got .* Decode bytes first"):
        TOKENIZER.encode(text)


def test_one_text_in_place_of_a_batch_is_refused():
    with pytest.raises(TypeError, match=r"encode_batch must be given a list of texts; got one str: 'abc'\. Call"):
        TOKENIZER.encode_batch("abc")


@pytest.mark.parametrize("parse_special", [False, True])
def test_lone_surrogate_is_refused_with_its_place(parse_special):
    message = r"must be valid Unicode; got the lone surrogate '\\udcff' at character 3\. Read the file as UTF-8"
    with pytest.raises(ValueError, match=message):
        TOKENIZER.encode("abc\udcffd", parse_special=parse_special)


@pytest.mark.parametrize("wrong", [-1, SIZE, 2**40])
def test_ids_outside_the_vocabulary_are_refused_with_their_place(wrong):
    message = rf"Token ids must lie in \[0, 8192\), the vocabulary; got {wrong} at position 1\. Check that"
    with pytest.raises(ValueError, match=message):
        TOKENIZER.decode([5, wrong])
    with pytest.raises(ValueError, match="Token ids must lie in"):
        TOKENIZER.id_to_token(wrong)


@pytest.mark.parametrize("ids", [[1.5], ["a"], [[1, 2]], [None], np.array([1.0]), np.array([[1]])])
def test_ids_that_are_not_integers_are_refused(ids):
    with pytest.raises(TypeError, match=r"Token ids must be integers; got .* Convert them to int, and use"):
        TOKENIZER.decode(ids)


def test_single_id_in_place_of_a_list_is_refused():
    with pytest.raises(TypeError, match=r"Token ids must be a list or an array of integers; got int: 5\. Put a"):
        TOKENIZER.decode(5)  # pyright: ignore[reportArgumentType]


def test_unknown_piece_is_refused():
    with pytest.raises(ValueError, match=r"must be a piece of the vocabulary; got '<nope>', which is none\. Use"):
        TOKENIZER.token_to_id("<nope>")


@pytest.mark.parametrize("length", [0, -1])
def test_sequence_length_below_one_is_refused(length):
    with pytest.raises(ValueError, match=rf"must be at least 1, or None for no padding; got {length}\. Give a"):
        CodeGemmaTokenizer(TINY_MODEL, sequence_length=length)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"spm": 1}, r"A tokenizer config must have no fields but .*; got \['spm'\]\. Remove them"),
        ({"add_bos": True}, "must leave add_bos and add_eos off, .* got add_bos=True, .* Set them to false"),
        ({"proto": None}, "must have its SentencePiece model; got a config without one and no proto. Pass"),
    ],
)
def test_config_that_cannot_be_read_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        CodeGemmaTokenizer.from_config(config)


def test_missing_tensorflow_text_is_named_with_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras_codegemma.tensorflow_tokenizer", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    message = r"must have tensorflow and tensorflow-text installed; .* Install the extra keras-codegemma\[tf\]"
    with pytest.raises(ImportError, match=message):
        TOKENIZER.to_tensorflow()


# In tf.data.


def spread(texts: Iterable[str]) -> list[str]:
    return [a + b for a in texts for b in texts]


@pytest.mark.tensorflow
def test_tensorflow_tokenizer_gives_the_same_ids():
    texts = spread(
        [
            "",
            *unusual,
            *CONTROL_PIECES,
            "<|fim_",
            "prefix|>",
            "<",
            "\u2581",
            "def f(x):\n    return x",
            "\ufffe",
        ]
    )
    assert TOKENIZER.to_tensorflow()(texts).to_list() == TOKENIZER.encode_batch(texts)


@pytest.mark.tensorflow
def test_tensorflow_tokenizer_works_inside_tf_data():
    import tensorflow as tf

    texts = ["a <|fim_prefix|> b", "", "é\n"]
    dataset = tf.data.Dataset.from_tensor_slices(texts)
    encode = TOKENIZER.to_tensorflow()
    assert [ids.numpy().tolist() for ids in dataset.map(encode)] == TOKENIZER.encode_batch(texts)
    assert next(iter(dataset.batch(3).map(encode))).to_list() == TOKENIZER.encode_batch(texts)


@pytest.mark.tensorflow
def test_tensorflow_tokenizer_decodes_without_control_pieces():
    converter = TOKENIZER.to_tensorflow()
    ids = TOKENIZER.encode("<bos>aé<|file_separator|><eos><pad>", parse_special=True)
    assert converter.detokenize(ids).numpy().decode() == "aé"
    assert [text.decode() for text in converter.detokenize([ids, ids]).numpy()] == ["aé", "aé"]
    ragged = converter(["x = 1", "y<|fim_prefix|>"])
    assert converter.detokenize(ragged).numpy().tolist() == [b"x = 1", b"y<|fim_prefix|>"]


@pytest.mark.tensorflow
def test_tensorflow_tokenizer_fails_on_what_is_not_utf8_and_on_unknown_ids():
    import tensorflow as tf

    converter = TOKENIZER.to_tensorflow()
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid formatting on input string"):
        converter([b"fine", b"not \xff UTF-8"])
    with pytest.raises(tf.errors.OutOfRangeError, match="Invalid id: 8192"):
        converter.detokenize([8192])


# The vocabulary of the published models.


@pytest.fixture(scope="module")
def real() -> CodeGemmaTokenizer:
    return CodeGemmaTokenizer(REAL_MODEL)


@pytest.mark.shared
def test_real_special_ids_are_the_published_ones(real):
    assert real.vocabulary_size() == 256_000
    assert (real.fim_prefix_id, real.fim_middle_id, real.fim_suffix_id, real.file_separator_id) == (
        67,
        68,
        69,
        70,
    )
    assert (real.pad_token_id, real.end_token_id, real.start_token_id, real.unk_token_id) == (0, 1, 2, 3)
    assert (real.start_of_turn_id, real.end_of_turn_id) == (106, 107)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        # Quoted in KerasHub's tests and docstrings.
        ("The quick brown fox.", [651, 4320, 8426, 25341, 235265]),
        ("<bos>", [235322, 14084, 235313]),
        # Listed from the vocabulary: a blank at the end of a prefix, tabs, long runs of spaces, a tag.
        ("import ", [809, 235248]),
        ("\t", [226]),
        ("\t\t", [255969]),
        (" " * 40, [168, 146]),
        ("<table>", [169]),
    ],
)
def test_real_ids_are_the_published_ones(real, text, ids):
    assert real.encode(text) == ids
    assert real.decode(ids) == text


@pytest.mark.shared
def test_real_ids_of_kerashubs_docstring(real):
    assert real.encode(" Keras is deep learning library")[:2] == [214064, 603]


@pytest.mark.shared
def test_real_parts_apart_have_the_ids_of_the_written_text(real):
    plain = sentencepiece.SentencePieceProcessor(model_file=str(REAL_MODEL))
    for cut in range(0, len(SOURCE), 97):
        context_files = [("a b.py", SOURCE[-cut:])]
        parts = fim.format(SOURCE[:cut], SOURCE[cut:], path="fim.py", context_files=context_files)
        assert real.encode_parts(parts) == plain.encode("".join(parts))


@pytest.mark.shared
@given(text=kept_text)
def test_real_vocabulary_keeps_every_text_and_no_command_comes_from_it(real, text):
    ids = real.encode(text)
    assert real.decode(ids) == text
    assert real.vocabulary.control_ids.isdisjoint(ids)
