"""Recognises licences by their texts: by phrases that each one has and the others lack.

A phrase book and no distance to whole texts, because a file often holds several licences, and each of them must be
found. A file whose words are for the most part of no known licence is not recognised: extra terms change a licence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_FILE = re.compile(r"(un)?licen[cs]e([-_. ].*)?|copying([-_. ].*)?|.+[-_.]licen[cs]e(\.(txt|md|rst))?", re.IGNORECASE)
_NOT_TEXT = (
    ".py",
    ".js",
    ".ts",
    ".json",
    ".html",
    ".go",
    ".rs",
    ".java",
    ".rb",
    ".sh",
    ".cs",
    ".h",
    ".c",
    ".yml",
    ".yaml",
)
_KNOWN_SHARE = 0.5
"""Words of the recognised licences to words of the file, at least. Copyright lines of many authors are common."""


@dataclass(frozen=True, kw_only=True)
class _Text:
    """What tells one licence: phrases that it has, phrases that it must lack, and about how many words it has."""

    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    words: int


_MIT_GRANT = "permission is hereby granted free of charge to any person obtaining a copy"
_MIT_NOTICE = "permission notice shall be included in all copies or substantial portions"
_BSD_GRANT = "redistribution and use in source and binary forms with or without modification are permitted"
_BSD_SOURCE = "must retain the above copyright notice"
_BSD_BINARY = "must reproduce the above copyright notice"
_BSD_NAMES = "used to endorse or promote products derived from this software"
_BSD_ADVERTISING = "all advertising materials mentioning features"
_ISC_GRANT = (
    "permission to use copy modify and or distribute this software for any purpose with or without fee is hereby"
)

_TEXTS: Mapping[str, _Text] = {
    "0BSD": _Text(has=(_ISC_GRANT,), lacks=("provided that the above copyright notice",), words=100),
    "AGPL-3.0-only": _Text(has=("gnu affero general public license version 3 19 november 2007",), words=5500),
    "Apache-2.0": _Text(has=("apache license version 2.0 january 2004", "grant of patent license"), words=1500),
    "Artistic-2.0": _Text(has=("the artistic license 2.0",), words=1400),
    "BSD-2-Clause": _Text(has=(_BSD_GRANT, _BSD_SOURCE, _BSD_BINARY), lacks=(_BSD_NAMES, _BSD_ADVERTISING), words=190),
    "BSD-3-Clause": _Text(has=(_BSD_GRANT, _BSD_SOURCE, _BSD_BINARY, _BSD_NAMES), lacks=(_BSD_ADVERTISING,), words=220),
    "BSD-4-Clause": _Text(has=(_BSD_GRANT, _BSD_SOURCE, _BSD_BINARY, _BSD_ADVERTISING), words=250),
    "BSL-1.0": _Text(has=("boost software license version 1.0",), words=220),
    "CC-BY-4.0": _Text(has=("creative commons attribution 4.0 international public license",), words=2400),
    "CC-BY-SA-4.0": _Text(
        has=("creative commons attribution sharealike 4.0 international public license",), words=2700
    ),
    "CC0-1.0": _Text(has=("cc0 1.0 universal",), words=1000),
    "EPL-2.0": _Text(has=("eclipse public license v 2.0",), words=2200),
    "GPL-2.0-only": _Text(has=("gnu general public license version 2 june 1991",), words=2900),
    "GPL-3.0-only": _Text(has=("gnu general public license version 3 29 june 2007",), words=5600),
    "HPND": _Text(
        has=("permission to use copy modify and distribute this software and its documentation for any purpose",),
        lacks=("paid", "without written agreement"),
        words=140,
    ),
    "ISC": _Text(has=(_ISC_GRANT, "provided that the above copyright notice"), words=120),
    "LGPL-2.1-only": _Text(has=("gnu lesser general public license version 2.1 february 1999",), words=4400),
    "LGPL-3.0-only": _Text(has=("gnu lesser general public license version 3 29 june 2007",), words=1200),
    "MIT": _Text(has=(_MIT_GRANT, _MIT_NOTICE, "to deal in the software without restriction"), words=160),
    "MIT-0": _Text(has=(_MIT_GRANT, "to deal in the software without restriction"), lacks=(_MIT_NOTICE,), words=130),
    "MPL-2.0": _Text(has=("mozilla public license version 2.0",), words=2400),
    "NCSA": _Text(has=("to deal with the software without restriction", _MIT_GRANT), words=250),
    "PSF-2.0": _Text(has=("python software foundation license version 2",), words=450),
    "PostgreSQL": _Text(
        has=("this software and its documentation for any purpose without fee and without a written agreement",),
        words=150,
    ),
    "UPL-1.0": _Text(has=("the universal permissive license upl version 1.0",), words=250),
    "Unicode-3.0": _Text(has=("unicode license v3",), words=300),
    "Unlicense": _Text(has=("this is free and unencumbered software released into the public domain",), words=210),
    "Zlib": _Text(
        has=("this software is provided as is without any express or implied warranty", "must not be misrepresented"),
        words=140,
    ),
}

_RESTRICTIONS = (
    "commons clause",
    "business source license",
    "server side public license",
    "elastic license",
    "shall be used for good not evil",
    "non commercial use only",
    "noncommercial",
    "all rights are reserved by",
)
"""Phrases of terms that take back what a known text grants."""

_PUNCTUATION = re.compile(r"[^\w.]+|\.(?!\d)|_")


def is_licence_file(path: str) -> bool:
    """Whether a path below the root names a licence's text: LICENSE, COPYING, LICENSES/ (REUSE), a wheel's."""
    folder, _, name = path.rpartition("/")
    in_place = folder in ("", "LICENSES") or folder.split("/")[0].endswith(".dist-info")
    if not in_place or name.lower().endswith(_NOT_TEXT):
        return False
    return folder == "LICENSES" or bool(_FILE.fullmatch(PurePosixPath(name).name))


def of_text(text: str) -> tuple[str, ...]:
    """SPDX names of the licences in a text, sorted; empty if there is none or the text has terms of its own."""
    plain = " ".join(_PUNCTUATION.sub(" ", text.lower()).split())
    if any(phrase in plain for phrase in _RESTRICTIONS):
        return ()
    found = tuple(name for name, licence in _TEXTS.items() if _matches(licence, plain))
    known = sum(_TEXTS[name].words * plain.count(_TEXTS[name].has[0]) for name in found)  # some files repeat one
    return found if known >= _KNOWN_SHARE * (plain.count(" ") + 1) else ()


def _matches(licence: _Text, plain: str) -> bool:
    return all(phrase in plain for phrase in licence.has) and not any(phrase in plain for phrase in licence.lacks)


def of_files(texts: Mapping[str, str]) -> set[str]:
    """The licences of all licence files among `texts` (by path)."""
    return {name for path, text in texts.items() if is_licence_file(path) for name in of_text(text)}


def all_recognised(texts: Mapping[str, str]) -> bool:
    """Whether every licence file among `texts` (by path) is recognised; True if there is none."""
    return all(of_text(text) for path, text in texts.items() if is_licence_file(path))
