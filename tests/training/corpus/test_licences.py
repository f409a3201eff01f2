"""A repository's licence from its metadata and texts, and what a list allows."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import licence_texts, licences

MIT = """The MIT License

Copyright (c) 2020 A. Author

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software.

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED.
"""
BSD = """Redistribution and use in source and binary forms, with or without
# modification, are permitted provided that the following conditions are met:
# * Redistributions of source code must retain the above copyright notice.
# * Redistributions in binary form must reproduce the above copyright notice.
"""
NAMES = "* Neither the name may be used to endorse or promote products derived from this software."
GPL = "GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007\n"


def of(files: Mapping[str, str]) -> str | None:
    return licences.of_repository({path: text.encode() for path, text in files.items()})


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("PKG-INFO", "Metadata-Version: 2.4\nLicense-Expression: Apache-2.0 OR MIT\n", "Apache-2.0 OR MIT"),
        ("PKG-INFO", "License: MIT License\n", "MIT"),
        ("PKG-INFO", "License: The MIT License (MIT)\n", "MIT"),
        ("PKG-INFO", "License: Apache License, Version 2.0\n", "Apache-2.0"),
        ("PKG-INFO", "License: BSD\n", None),
        ("PKG-INFO", "License: BSD-3-Clause\n", "BSD-3-Clause"),
        ("PKG-INFO", "License: New BSD License\n", "BSD-3-Clause"),
        ("PKG-INFO", f"License: {MIT.replace(chr(10), ' ')}\n", "MIT"),
        ("PKG-INFO", "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("PKG-INFO", "Classifier: License :: OSI Approved :: BSD License\n", None),
        (
            "PKG-INFO",
            "Classifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)\n",
            "MIT AND GPL-3.0-only",
        ),
        ("p-1.dist-info/METADATA", "License-Expression: MIT\n", "MIT"),
        ("p.egg-info/PKG-INFO", "License-Expression: MIT\n", "MIT"),
        ("pyproject.toml", '[project]\nlicense = "MIT"\n', "MIT"),
        ("pyproject.toml", '[project]\nlicense = {text = "ISC"}\n', "ISC"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}\n', None),
        ("pyproject.toml", '[tool.poetry]\nlicense = "MIT"\n', "MIT"),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]\n', "MIT"),
        ("pyproject.toml", "[project\n", None),
        ("setup.cfg", "[metadata]\nlicense = Apache 2.0\n", "Apache-2.0"),
        ("setup.cfg", "[metadata]\nclassifiers =\n  License :: OSI Approved :: ISC License (ISCL)\n", "ISC"),
        ("setup.cfg", "no section\n", None),
        ("package.json", '{"license": "(MIT OR Apache-2.0)"}', "MIT OR Apache-2.0"),
        ("package.json", '{"license": {"type": "MIT"}}', "MIT"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}', "MIT OR GPL-2.0-only"),
        ("package.json", '{"license": "UNLICENSED"}', "LicenseRef-Proprietary"),
        ("package.json", '{"license": "SEE LICENSE IN X"}', None),
        ("package.json", "[]", None),
        ("package.json", "{", None),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("Cargo.toml", '[package]\nlicense = "Apache-2.0 WITH LLVM-exception"\n', "Apache-2.0 WITH LLVM-exception"),
        ("Cargo.toml", '[workspace.package]\nlicense = "MIT"\n', "MIT"),
        (
            "pom.xml",
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><licenses><license><name>Apache License, Version 2.0'
            "</name></license></licenses></project>",
            "Apache-2.0",
        ),
        ("p.nuspec", '<package><metadata><license type="expression">MIT</license></metadata></package>', "MIT"),
        ("p.csproj", "<Project><PackageLicenseExpression>MIT</PackageLicenseExpression></Project>", "MIT"),
        ("pom.xml", '<!DOCTYPE x [<!ENTITY a "a">]><licenses><license><name>MIT</name></license></licenses>', None),
        ("pom.xml", "<project>", None),
        ("LICENSE", MIT, "MIT"),
        ("COPYING.txt", BSD, "BSD-2-Clause"),
        ("LICENSE.md", BSD + NAMES, "BSD-3-Clause"),
        ("LICENSE", "All rights reserved.", None),
        ("LICENSE", MIT + "The Commons Clause applies.", None),
        ("LICENSE", MIT * 5 + "Written by many. " * 100, "MIT"),
        ("LICENSE", MIT + "You may not use this on Tuesdays. " * 100, None),
        ("src/LICENSE", MIT, None),
        ("LICENSES/MIT.txt", MIT, "MIT"),
        ("license.py", MIT, None),
    ],
)
def test_one_file_names_the_licence(path: str, text: str, expected: str | None):
    assert of({path: text}) == expected


def test_every_file_that_counts_is_asked_for():
    for path in ("PKG-INFO", "a.dist-info/METADATA", "pom.xml", "LICENSE-MIT", "COPYING", "UNLICENSE", "LICENCE.rst"):
        assert licences.is_metadata(path)
    for path in ("a/b/PKG-INFO", "src/METADATA", "licensing.md", "README", "vendor/LICENSE", "a/package.json"):
        assert not licences.is_metadata(path)


def test_a_text_that_the_declaration_does_not_name_is_added():
    assert of({"package.json": '{"license": "MIT"}', "COPYING": GPL * 400}) == "MIT AND GPL-3.0-only"


def test_a_text_that_the_declaration_names_changes_nothing():
    files = {"Cargo.toml": '[package]\nlicense = "MIT OR Apache-2.0"\n', "LICENSE-MIT": MIT}
    assert of(files) == "MIT OR Apache-2.0"
    assert of({"package.json": '{"license": "GPL-3.0-or-later"}', "COPYING": GPL * 400}) == "GPL-3.0-or-later"


def test_an_unclear_declaration_leaves_the_decision_to_the_text():
    assert of({"PKG-INFO": "License: BSD\n", "LICENSE": BSD + NAMES}) == "BSD-3-Clause"


def test_texts_that_are_not_all_known_name_no_licence():
    assert of({"LICENSE": MIT, "LICENSE-2": "Ask the author."}) is None
    assert of({"LICENSE": MIT, "LICENSE-2": BSD}) == "BSD-2-Clause AND MIT"


def test_nothing_names_nothing():
    assert of({}) is None
    assert of({"README.md": MIT}) is None


def test_our_own_licence_is_recognised(pytestconfig: pytest.Config):
    text = (pytestconfig.rootpath / "LICENSE").read_text("utf-8")
    assert licence_texts.of_text(text) == ("Apache-2.0",)


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND (Apache-2.0 OR GPL-2.0-only)", True),
        ("(MIT AND GPL-2.0-only) OR (ISC AND Zlib)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("LicenseRef-Proprietary", False),
    ],
)
def test_the_list_is_applied_to_the_expression(expression: str, allowed: bool):
    assert licences.is_allowed(expression, allowed=licences.PERMISSIVE) is allowed


@pytest.mark.parametrize(
    ("written", "expected"),
    [("mit", "MIT"), ("GPL-3.0+", "GPL-3.0-or-later"), ("MIT OR", None), ("", None), ("Whatever", None), ("()", None)],
)
def test_expressions_are_written_in_one_way(written: str, expected: str | None):
    assert licences.normalised(written) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n", "ISC"),
        ("# SPDX-License-Identifier: MIT\n", "MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */", "GPL-2.0-only WITH Linux-syscall-note"),
        ("// SPDX-License-Identifier: (GPL-2.0+ OR MIT)\n", "GPL-2.0-or-later OR MIT"),
        ("<!-- SPDX-License-Identifier: MIT -->", "MIT"),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: ISC\n", "MIT AND ISC"),
        ("# SPDX-License-Identifier: Mine\n", None),
        ("x" * 5000 + "# SPDX-License-Identifier: MIT\n", "ISC"),
    ],
)
def test_a_file_s_own_header_comes_before_the_repository_s(text: str, expected: str | None):
    assert licences.of_file(text, repository="ISC") == expected


@given(st.text("MIT ()ANDOR/WH+-.0", max_size=30))
def test_any_text_is_an_expression_or_none(text: str):
    expression = licences.normalised(text)
    if expression is not None:
        assert licences.normalised(expression) == expression
        assert licences.is_allowed(expression, allowed=frozenset({"MIT"})) in (True, False)


def test_damaged_metadata_leave_the_other_files_to_speak():
    assert of({"package.json": "{", "LICENSE": MIT}) == "MIT"
    deep = '{"license": ' + "[" * 100_000
    assert of({"package.json": deep, "LICENSE": MIT}) == "MIT"
    assert of({"package.json": json.dumps({"license": 5}), "LICENSE": MIT}) == "MIT"
