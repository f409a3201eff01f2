"""The values that travel through the corpus pipeline."""

import hashlib

import pytest

from training.corpus.document import Document, document_id, ending_of, language_named, language_of


def _document(**changes: str) -> Document:
    values = {"repository": "pypi:a", "path": "src/a.py", "revision": "1.0", "licence": "MIT", "language": "python"}
    return Document(**{**values, "text": "x = 1\n", **changes})


def test_the_id_is_a_hash_of_repository_revision_and_path():
    expected = hashlib.blake2b(b"pypi:a\x001.0\x00src/a.py", digest_size=16).hexdigest()
    assert _document().id == expected
    assert document_id(repository="pypi:a", revision="1.0", path="src/a.py") == expected
    assert len(expected) == 32


def test_text_has_no_part_in_the_id_and_the_origin_has():
    assert _document(text="other").id == _document().id
    assert len({_document(**change).id for change in ({}, {"path": "b"}, {"revision": "2"}, {"repository": "c"})}) == 4


def test_an_id_exists_for_names_that_are_not_utf_8():
    assert len(_document(path="a\udcff.py").id) == 32


@pytest.mark.parametrize(("text", "size"), [("", 0), ("ab\n", 3), ("é€😀", 2 + 3 + 4)])
def test_size_counts_bytes_of_utf_8(text: str, size: int):
    assert _document(text=text).size_bytes == size


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a/b.py", "python"),
        ("b.pyi", "python"),
        ("b.JS", "javascript"),
        ("b.mjs", "javascript"),
        ("b.d.ts", "typescript"),
        ("b.tsx", "typescript"),
        ("B.java", "java"),
        ("B.kt", "kotlin"),
        ("build.gradle.kts", "kotlin"),
        ("b.go", "go"),
        ("b.h", "cpp"),
        ("b.hpp", "cpp"),
        ("b.c", "c"),
        ("B.cs", "csharp"),
        ("b.rs", "rust"),
        ("README.md", "markdown"),
        ("CMakeLists.txt", "cmake"),
        ("Makefile", "make"),
        ("a.py/LICENSE", "unknown"),
        (".py", "python"),
        ("py", "unknown"),
        ("b.", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_name_says_the_language(path: str, language: str):
    assert language_of(path) == language


@pytest.mark.parametrize(
    ("name", "language"), [("C++", "cpp"), ("C#", "csharp"), ("Python", "python"), ("Zig", "zig"), (" ", "unknown")]
)
def test_other_data_sets_names_become_ours(name: str, language: str):
    assert language_named(name) == language


@pytest.mark.parametrize("language", ["python", "java", "kotlin", "go", "csharp", "rust", "javascript", "typescript"])
def test_the_ending_of_a_language_says_the_language(language: str):
    assert language_of("x" + ending_of(language)) == language


def test_a_language_without_files_has_no_ending():
    assert ending_of("english") == ""
