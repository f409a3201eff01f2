"""Bytes to text: encodings that are told apart, and bytes that are no text."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.decoding import NotTextError, decode

TEXT = "naïve = 'é'\r\n\tx = 'some more plain text'\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.encode("cp1252"),
    ],
)
def test_known_encodings_give_the_text_with_its_line_ends(data: bytes):
    assert decode(data) == TEXT


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])))
def test_utf_8_comes_back(text: str):
    if not text.startswith("\ufeff"):
        assert decode(text.encode()) == text


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("# -*- coding: koi8-r -*-\n# ", "koi8-r"),
        ("# coding=shift_jis\n# ", "shift_jis"),
        ('<?xml version="1.0" encoding="windows-1251"?>', "cp1251"),
        ('<meta charset="euc-jp">', "euc-jp"),
    ],
)
def test_a_declared_encoding_is_believed(head: str, encoding: str):
    text = head + ("Привет, мир" if encoding in ("koi8-r", "cp1251") else "日本語のコメント")
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["shift_jis", "gb18030", "big5", "euc-kr", "koi8-r", "cp1251", "cp1253"])
def test_an_encoding_that_nothing_declares_is_not_guessed(encoding: str):
    words = {
        "shift_jis": "日本語のコメント",
        "gb18030": "中文注释在这里",
        "big5": "中文註解在這裡",
        "euc-kr": "한국어주석",
    }
    text = "x = 1  # " + words.get(encoding, "Привет" if encoding != "cp1253" else "Καλημέρα")
    with pytest.raises(NotTextError) as caught:
        decode(text.encode(encoding) * 20)
    assert caught.value.reason == "not-utf-8"


@pytest.mark.parametrize("name", ["rot13", "zip", "unicode_escape", "idna", "nonsense", "hex"])
def test_codecs_that_are_no_encodings_of_text_are_not_used(name: str):
    data = f"# coding: {name}\n".encode() + bytes(range(128, 256)) * 3
    with pytest.raises(NotTextError) as caught:
        decode(data)
    assert caught.value.reason == "not-utf-8"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a\0b", "null-bytes"),
        (codecs.BOM_UTF16_LE + "a\0b".encode("utf-16-le"), "null-bytes"),
        (codecs.BOM_UTF16_LE + b"odd", "not-utf-8"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", "not-utf-8"),
        (codecs.BOM_UTF8 + b"\xff", "not-utf-8"),
        (bytes(range(1, 128)) * 2, "not-text"),
        (bytes(range(128, 256)), "not-utf-8"),
    ],
)
def test_what_is_no_text_says_why(data: bytes, reason: str):
    with pytest.raises(NotTextError) as caught:
        decode(data)
    assert caught.value.reason == reason


def test_a_page_break_and_an_escape_are_text():
    text = "a\f\n\x1b[0m" + "b" * 100
    assert decode(text.encode()) == text


@given(st.binary(max_size=400))
def test_any_bytes_are_text_or_not(data: bytes):
    try:
        outcome = decode(data)
    except NotTextError as error:
        outcome = error.reason
    assert outcome in ("null-bytes", "not-utf-8", "not-text") or "\0" not in outcome
