"""Names that are safe to use, on any input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.document import document_id
from training.corpus.reading.origin import Origin, UnsafeNameError, clean_path, printable


@given(st.text())
def test_a_clean_path_stays_below_the_root_and_on_one_line(name: str):
    try:
        path = clean_path(name)
    except UnsafeNameError as error:
        reason = error.reason
    else:
        reason = None
    if reason:
        assert reason in ("path-traversal", "bad-name")
        return
    parts = path.split("/")
    assert all(part not in ("", ".", "..") for part in parts)
    assert path.encode().decode() == path
    assert not set(path) & {"\n", "\0", "\\"}
    assert clean_path(path) == path


@pytest.mark.parametrize("name", ["", ".", "./", "a\rb", "a\x7f", "\udcff"])
def test_names_that_are_none(name: str):
    with pytest.raises(UnsafeNameError, match="bad-name"):
        clean_path(name)


@given(st.text())
def test_a_bad_name_is_printed_in_ascii(name: str):
    assert printable(name).isascii()
    assert printable(name).isprintable() or not name


def test_a_dropped_file_has_the_id_that_it_would_have_had():
    origin = Origin(repository="r", revision="1", licence="MIT")
    dropped = origin.dropped("a.py", reason="too-large", size_bytes=5, detail="d")
    assert dropped.document_id == document_id(repository="r", revision="1", path="a.py")
    assert (dropped.stage, dropped.language, dropped.licence, dropped.size_bytes) == ("read", "python", "MIT", 5)
