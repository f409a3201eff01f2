"""What the origins offer becomes rows: by small files of each form, written by hand."""

import bz2
import gzip
import io
import json
import tarfile

import pytest

from keras_codegemma.evaluation.fetching.forms import FORMS


def _rows(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.decode().splitlines()]


def test_lines_and_gzipped_lines_stay_as_they_are() -> None:
    assert FORMS["lines"]([b'{"a":1}\n']) == b'{"a":1}\n'
    assert FORMS["gzip"]([gzip.compress(b'{"a":1}\n')]) == b'{"a":1}\n'


def test_the_first_200_lines_are_taken() -> None:
    content = FORMS["first-200-lines"]([b"".join(b"%d\n" % number for number in range(300))])
    assert content.splitlines() == [b"%d" % number for number in range(200)]


def test_stop_words_get_a_line_per_language() -> None:
    given = b'{"Go": ["\\nfunc", "struct"], "Rust": ["\\n}"]}'
    assert _rows(FORMS["stop-words"]([given])) == [
        {"language": "Go", "stop_words": ["\nfunc", "struct"]},
        {"language": "Rust", "stop_words": ["\n}"]},
    ]


def test_piqa_gets_its_labels() -> None:
    questions = '{"goal": "é", "sol1": "x"}\n{"goal": "b", "sol1": "y"}\n'.encode()
    content = FORMS["piqa"]([questions, b"1\n0\n"])
    assert _rows(content) == [{"goal": "é", "sol1": "x", "label": 1}, {"goal": "b", "sol1": "y", "label": 0}]
    assert "é".encode() in content
    with pytest.raises(ValueError, match="shorter"):
        FORMS["piqa"]([questions, b"1\n"])


def test_hellaswag_is_six_lines_a_problem() -> None:
    text = "q one\n2\na\nb\nc\nd\nq two\n0\ne\nf\ng\nh\n"
    assert _rows(FORMS["hellaswag"]([bz2.compress(text.encode())])) == [
        {"query": "q one", "label": 2, "endings": ["a", "b", "c", "d"]},
        {"query": "q two", "label": 0, "endings": ["e", "f", "g", "h"]},
    ]


def test_mmlu_is_read_by_subject_from_an_archive() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (
            ("top/data/mmlu/test/law_test.csv", '"Q, two\nlines",1,2,3,4,C\n'),
            ("top/data/mmlu/test/algebra_test.csv", "Q,a,b,c,d,A\n"),
            ("top/data/mmlu/dev/law_dev.csv", "D,a,b,c,d,B\n"),
            ("top/other/test/law_test.csv", "X,a,b,c,d,B\n"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    rows = _rows(FORMS["mmlu-test"]([packed.getvalue()]))
    assert [(row["subject"], row["question"], row["answer"]) for row in rows] == [
        ("algebra", "Q", "A"),
        ("law", "Q, two\nlines", "C"),
    ]
    assert [row["subject"] for row in _rows(FORMS["mmlu-dev"]([packed.getvalue()]))] == ["law"]
