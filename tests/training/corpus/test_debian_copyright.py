"""Machine-readable `debian/copyright`: which licence holds for which file."""

import fnmatch
import io
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import debian_copyright, licences
from training.corpus.document import RawFile
from training.corpus.reading import archives, folders

TEXT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: thing
# A comment: of no field.
Source: https://example.org

Files: *
Copyright: 2001-2020 A. Author
           2010 B. Author
License: Expat

Files: debian/*
Copyright: 2012 C. Maintainer
License: GPL-2+

Files: third/party.c
 third/?arty.h
Copyright: 1990 D. Author
License: BSD-3-clause or Artistic-2.0, and Zlib
 A text that goes on.
 .
 Files: not/a/field

License: Expat
 Permission is hereby granted ...

Files: odd.c
Copyright: nobody
License: public-domain
"""


def in_files(text: str) -> dict[str, bytes]:
    return {"debian/copyright": text.encode()}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Expat", "MIT"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("AGPL-3", "AGPL-3.0-only"),
        ("GPL-3.0+", "GPL-3.0-or-later"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("Apache-2.0 with LLVM exception", "Apache-2.0"),
        ("GPL-1+ or Artistic-1.0", "GPL-1.0-or-later OR Artistic-1.0"),
        ("Expat and   Zlib", "MIT AND Zlib"),
        # Without the comma "and" binds more; the comma turns that round.
        ("Expat or GPL-2 and Zlib", "MIT OR (GPL-2.0-only AND Zlib)"),
        ("Expat or GPL-2, and Zlib", "(MIT OR GPL-2.0-only) AND Zlib"),
        ("public-domain", None),
        ("Expat and mine", None),
        ("", None),
    ],
)
def test_short_names_become_spdx_expressions(written: str, expected: str | None):
    assert licences.normalised(debian_copyright.expression(written)) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/main.c", "MIT"),
        ("debian/rules", "GPL-2.0-or-later"),
        ("debian/patches/deep/one", "GPL-2.0-or-later"),
        ("third/party.c", "(BSD-3-Clause OR Artistic-2.0) AND Zlib"),
        ("third/warty.h", "(BSD-3-Clause OR Artistic-2.0) AND Zlib"),
        ("third/party.cc", "MIT"),
        ("odd.c", None),
    ],
)
def test_the_last_paragraph_that_matches_decides(path: str, expected: str | None):
    licence_of = licences.of_paths(in_files(TEXT))
    assert licence_of is not None
    assert licence_of(path) == expected


def test_the_repository_s_licence_is_that_of_all_files():
    assert licences.of_repository(in_files(TEXT)) == "MIT"


def test_other_metadata_and_the_survey_both_hold():
    same = in_files(TEXT) | {"package.json": b'{"license": "MIT"}'}
    other = in_files(TEXT) | {"package.json": b'{"license": "ISC"}'}
    assert licences.of_repository(same) == "MIT"
    assert licences.of_repository(other) == "ISC AND MIT"
    licence_of = licences.of_paths(other)
    assert licence_of is not None
    assert licence_of("src/main.c") == "ISC AND MIT"


@pytest.mark.parametrize(
    "text",
    [
        "This package was debianized by someone.\n\nIt is under the GPL.\n",
        "Files: *\nLicense: Expat\n",
        "Format: something-else\n\nFiles: *\nLicense: Expat\n",
        "",
        "\n\n:\n : \n",
    ],
)
def test_free_form_files_say_nothing(text: str):
    assert debian_copyright.paragraphs(text) == ()
    assert licences.of_repository(in_files(text)) is None
    assert licences.of_paths(in_files(text)) is None


def test_the_older_field_and_line_ends_are_read():
    text = "\ufeffFormat-Specification: http://dep.debian.net/deps/dep5/\r\n\r\nFiles: *\r\nLicense: ISC\r\n"
    assert licences.of_repository(in_files(text)) == "ISC"


def test_a_survey_without_a_paragraph_for_all_leaves_the_rest_to_other_metadata():
    text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: a.c\nLicense: GPL-2\n"
    licence_of = licences.of_paths(in_files(text) | {"package.json": b'{"license": "MIT"}'})
    assert licence_of is not None
    assert (licence_of("a.c"), licence_of("b.c")) == ("GPL-2.0-only", "MIT")


def test_escapes_stand_for_the_characters():
    paragraph = debian_copyright.Paragraph(patterns=(r"a\*b\?c\\d",), licence="MIT")
    assert paragraph.matches(r"a*b?c\d")
    assert not paragraph.matches(r"axb?c\d")


@given(st.text("ab*?/.", max_size=12), st.text("ab/.", max_size=12))
def test_patterns_match_as_in_a_shell_but_across_folders(pattern: str, path: str):
    paragraph = debian_copyright.Paragraph(patterns=(f"x{pattern}",), licence="MIT")
    assert paragraph.matches(f"x{path}") == fnmatch.fnmatchcase(f"x{path}", f"x{pattern}")


def test_patterns_made_to_be_slow_are_not():
    paragraph = debian_copyright.Paragraph(patterns=("*a" * 60 + "b",), licence="MIT")
    started = time.process_time()
    assert not paragraph.matches("a" * 4000)
    assert time.process_time() - started < 2


def test_files_of_a_tree_carry_their_own_licences(tmp_path: Path):
    for name, text in {"debian/copyright": TEXT, "main.c": "int a;\n", "third/party.c": "int b;\n"}.items():
        path = tmp_path / "thing-1.0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(tmp_path / "thing-1.0", "thing-1.0")
    (tmp_path / "thing.tar.gz").write_bytes(packed.getvalue())
    expected = {
        "debian/copyright": "GPL-2.0-or-later",
        "main.c": "MIT",
        "third/party.c": "(BSD-3-Clause OR Artistic-2.0) AND Zlib",
    }
    for items in (folders.read(tmp_path / "thing-1.0"), archives.read(tmp_path / "thing.tar.gz")):
        found = {item.path: item.licence for item in items if isinstance(item, RawFile)}
        assert found == expected
    given = folders.read(tmp_path / "thing-1.0", licence="ISC")
    assert {item.licence for item in given} == {"ISC"}
