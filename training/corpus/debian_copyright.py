"""Reads `debian/copyright` in its machine-readable form: which licence Debian's maintainers found for which files.

The format is Debian's "Machine-readable debian/copyright file", version 1.0 (DEP-5): paragraphs as in mail headers, of
which each `Files` paragraph has patterns and a licence, and the last paragraph that matches a path decides. Older,
free-form files say nothing here: they are not guessed at.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

PATH = "debian/copyright"
"""Below a source tree's root."""

_FORMAT = re.compile(r"copyright-format|dep-?5", re.IGNORECASE)
_NAMES = {
    "0bsd": "0BSD",
    "apache-2": "Apache-2.0",
    "artistic-1": "Artistic-1.0",
    "artistic-2": "Artistic-2.0",
    "boost": "BSL-1.0",
    "boost-1.0": "BSL-1.0",
    "bsd-2-clauses": "BSD-2-Clause",
    "bsd-3-clauses": "BSD-3-Clause",
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "mpl-1.1": "MPL-1.1",
    "mpl-2": "MPL-2.0",
    "psf-2": "PSF-2.0",
    "python": "Python-2.0",
    "zlib/libpng": "Zlib",
}
"""Short names that differ from SPDX's by more than case. "public-domain" and names of a package's own stay unknown."""

_GNU = re.compile(r"(a|l)?gpl-(\d)(?:\.(\d))?(\+)?", re.IGNORECASE)
_WORDS = re.compile(r" (and|or) ", re.IGNORECASE)
_GROUPS = re.compile(r" ?, ?(and|or) ", re.IGNORECASE)
_EXCEPTION = re.compile(r" with .*", re.IGNORECASE)
_ATOMS = re.compile(r"\\[*?\\]|.", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """A `Files` paragraph.

    Attributes:
        patterns: of paths; "*" and "?" match "/" too, and a leading dot.
        licence: as an SPDX expression where its short names could be read as such; else as it is written.
    """

    patterns: tuple[str, ...]
    licence: str

    def matches(self, path: str) -> bool:
        """Whether one of the patterns is the whole path."""
        return any(_compiled(pattern).fullmatch(path) for pattern in self.patterns)


def paragraphs(text: str) -> tuple[Paragraph, ...]:
    """The `Files` paragraphs in their order; none if the file is not in the machine-readable form."""
    head, *rest = _fields(text) or [{}]
    if not _FORMAT.search(head.get("format", "") or head.get("format-specification", "")):
        return ()
    found = []
    for fields in rest:
        files, licence = fields.get("files", "").split(), fields.get("license", "").split("\n", 1)[0].strip()
        if files:
            found.append(Paragraph(patterns=tuple(files), licence=expression(licence)))
    return tuple(found)


def expression(licence: str) -> str:
    """Debian's "GPL-2+ or Expat, and Zlib" as "(GPL-2.0-or-later OR MIT) AND (Zlib)".

    A comma binds less than the words. What stands after "with" only adds permissions and is left out.
    """
    parts = _GROUPS.split(" ".join(licence.split()))
    groups = [_joined(_WORDS.split(part)) for part in parts[::2]]
    words = [word.upper() for word in parts[1::2]]
    if not words:
        return groups[0]
    return " ".join([f"({groups[0]})", *(f"{word} ({group})" for word, group in zip(words, groups[1:], strict=True))])


def _joined(names_and_words: list[str]) -> str:
    return " ".join(_spdx(part) if index % 2 == 0 else part.upper() for index, part in enumerate(names_and_words))


def _spdx(name: str) -> str:
    name = _EXCEPTION.sub("", name.strip())
    if match := _GNU.fullmatch(name):
        family, major, minor, later = match.groups()
        return f"{(family or '').upper()}GPL-{major}.{minor or 0}-{'or-later' if later else 'only'}"
    return _NAMES.get(name.lower(), name)


def _fields(text: str) -> list[dict[str, str]]:
    """The paragraphs of a control file: fields by lower-case name, continued lines joined by line ends."""
    found: list[dict[str, str]] = [{}]
    name = ""
    for line in text.removeprefix("\ufeff").splitlines():
        if not line.strip():
            name = ""
            if found[-1]:
                found.append({})
        elif line[0] in " \t":
            if name:
                found[-1][name] += f"\n{line.strip()}"
        elif line[0] != "#":
            head, colon, value = line.partition(":")
            name = head.strip().lower() if colon else ""
            if name:
                found[-1][name] = value.strip()
    return [fields for fields in found if fields]


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """As `fnmatch.translate` does it, each star gives back nothing once its text is found: else time is not bounded."""
    parts: list[list[str]] = [[]]
    for atom in _ATOMS.findall(pattern.removeprefix("./")):
        if atom == "*":
            parts.append([])
        else:
            parts[-1].append("." if atom == "?" else re.escape(atom[-1]))
    first, *middles = ["".join(part) for part in parts]
    last = f".*{middles.pop()}" if middles else ""
    return re.compile("".join([first, *(f"(?>.*?{middle})" for middle in middles if middle), last]), re.DOTALL)
