"""What a repository's metadata declare as its licence: Python, npm, Cargo, Maven, NuGet."""

import email.parser
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree

from training.corpus import licence_texts

_FILES = frozenset({"PKG-INFO", "pyproject.toml", "setup.cfg", "package.json", "Cargo.toml", "pom.xml"})
_XML_ENDINGS = (".nuspec", ".csproj", "Directory.Build.props")

NAMES = {
    "0bsd": "0BSD",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache software": "Apache-2.0",
    "apache software 2.0": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    "boost software 1.0": "BSL-1.0",
    "bsd 2 clause": "BSD-2-Clause",
    "2 clause bsd": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "bsd 3": "BSD-3-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "3 clause bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "revised bsd": "BSD-3-Clause",
    "cc0 1.0 universal": "CC0-1.0",
    "eclipse public 2.0": "EPL-2.0",
    "expat": "MIT",
    "gpl 2": "GPL-2.0-only",
    "gpl 3": "GPL-3.0-only",
    "gnu general public 3": "GPL-3.0-only",
    "isc": "ISC",
    "iscl": "ISC",
    "lgpl 3": "LGPL-3.0-only",
    "lgpl 2.1": "LGPL-2.1-only",
    "mit": "MIT",
    "mozilla public 2.0": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "psf": "PSF-2.0",
    "python software foundation": "PSF-2.0",
    "unlicense": "Unlicense",
    "zlib": "Zlib",
    "zlib/libpng": "Zlib",
}
"""Usual names, as `_plain` writes them. "BSD" alone is left out: it does not say which. "Apache" alone is the second
version in practice: the first was withdrawn before any of these registries."""

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Universal Permissive License (UPL)": "UPL-1.0",
    "Zero-Clause BSD (0BSD)": "0BSD",
    "zlib/libpng License": "Zlib",
}
"""PyPI's classifiers that name one SPDX licence (PEP 639 lists which do not, "BSD License" among them)."""

_PROPRIETARY = "LicenseRef-Proprietary"
_NOISE = re.compile(r"\b(the|licen[cs]es?|licensed|under|version|v|of|terms)\b|[,;()\"']")
_DOCTYPE = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


def is_metadata(path: str) -> bool:
    """Whether a path below a repository's root is a file of metadata; wheels have theirs in `*.dist-info`."""
    if path.count("/") > 1:
        return False
    name = PurePosixPath(path).name
    if "/" not in path:
        return name in _FILES or name.endswith(_XML_ENDINGS)
    folder = path.partition("/")[0]
    return (name == "METADATA" and folder.endswith(".dist-info")) or (
        name == "PKG-INFO" and folder.endswith(".egg-info")
    )


def statements(texts: Mapping[str, str]) -> Iterator[str]:
    """What the metadata say, as SPDX expressions where names could be read as such; the surest come first.

    Args:
        texts: by path.
    """
    for path, text in sorted(texts.items(), key=lambda item: (item[0].count("/"), item[0])):
        if is_metadata(path):
            for statement in _statements_of(PurePosixPath(path).name, text):
                yield NAMES.get(_plain(statement), statement)


def _plain(name: str) -> str:
    """A name without what people write around it: "The MIT License (MIT)" and "MIT" are one."""
    words = _NOISE.sub(" ", re.sub(r"\bv(?=\d)", "", name.lower()).replace("-", " ")).split()
    if len(words) > 1 and words[-1] in words[:-1]:
        words.pop()
    return " ".join(words)


def _statements_of(name: str, text: str) -> Iterator[str]:
    try:
        if name in ("PKG-INFO", "METADATA"):
            yield from _core_metadata(text)
        elif name == "pyproject.toml":
            yield from _pyproject(tomllib.loads(text))
        elif name == "Cargo.toml":
            yield from _cargo(tomllib.loads(text))
        elif name == "setup.cfg":
            yield from _setup_cfg(text)
        elif name == "package.json":
            yield from _npm(json.loads(text))
        else:
            yield from _xml(text)
    except (ValueError, RecursionError, ConfigError, ElementTree.ParseError):
        return  # damaged metadata state nothing


def _core_metadata(text: str) -> Iterator[str]:
    message = email.parser.HeaderParser().parsestr(text)
    yield from message.get_all("License-Expression", [])
    classifiers = [value.rpartition(" :: ")[2] for value in message.get_all("Classifier", []) if "License ::" in value]
    yield from _license_field(" ".join(message.get_all("License", [])))
    yield from _classified(classifiers)


def _license_field(value: str) -> Iterator[str]:
    """A short name as it is; some put the licence's whole text there."""
    if len(value) > 200:
        yield from licence_texts.of_text(value)
    elif value:
        yield value


def _classified(classifiers: list[str]) -> Iterator[str]:
    """Several classifiers: the choice between them is not stated, so all must hold."""
    named = [value for value in classifiers if value not in ("OSI Approved", "License")]
    if named and all(value in _CLASSIFIERS for value in named):
        yield " AND ".join(_CLASSIFIERS[value] for value in named)


def _pyproject(data: Mapping[str, Any]) -> Iterator[str]:
    project = _table(data, "project")
    poetry = _table(_table(data, "tool"), "poetry")
    for licence in (project.get("license"), _table(project, "license").get("text"), poetry.get("license")):
        if isinstance(licence, str):
            yield from _license_field(licence)
    classifiers = [value for value in project.get("classifiers", ()) if isinstance(value, str)]
    yield from _classified([value.rpartition(" :: ")[2] for value in classifiers if value.startswith("License ::")])


def _cargo(data: Mapping[str, Any]) -> Iterator[str]:
    for table in (_table(data, "package"), _table(_table(data, "workspace"), "package")):
        if isinstance(licence := table.get("license"), str):
            yield licence


def _table(data: Any, name: str) -> Mapping[str, Any]:
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _setup_cfg(text: str) -> Iterator[str]:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    for key in ("license_expression", "license"):
        if value := parser.get("metadata", key, fallback=""):
            yield from _license_field(value)
    values = parser.get("metadata", "classifiers", fallback="").splitlines()
    yield from _classified([value.rpartition(" :: ")[2].strip() for value in values if "License ::" in value])


def _npm(data: Any) -> Iterator[str]:
    """`license` as an expression; before 2015 an object, or `licenses`, a list of which one may be chosen."""
    if not isinstance(data, Mapping):
        return
    licence, choices = data.get("license"), data.get("licenses")
    if isinstance(licence, Mapping):
        licence = licence.get("type")
    if isinstance(licence, str) and not licence.upper().startswith("SEE LICEN"):
        yield _PROPRIETARY if licence.upper() == "UNLICENSED" else licence
    elif isinstance(choices, list):
        types = [choice.get("type") if isinstance(choice, Mapping) else choice for choice in choices]
        names = [name for name in types if isinstance(name, str)]
        yield " OR ".join(NAMES.get(_plain(name), name) for name in names)


def _xml(text: str) -> Iterator[str]:
    """Maven's `licenses/license/name` (one may be chosen), NuGet's `license type="expression"`, MSBuild's property.

    Documents that define entities are not read: they can be made to unfold without end.
    """
    if _DOCTYPE.search(text):
        return
    root = ElementTree.fromstring(text)
    names: list[str] = []
    for element in root.iter():
        tag, value = element.tag.rpartition("}")[2], (element.text or "").strip()
        if tag == "PackageLicenseExpression" or (tag == "license" and element.get("type") == "expression"):
            yield value
        elif tag == "license":
            names += [(child.text or "").strip() for child in element if child.tag.endswith("name")]
    if names:
        yield " OR ".join(NAMES.get(_plain(name), name) for name in names)
