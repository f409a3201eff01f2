"""The SPDX expression of a repository, from its own metadata and licence texts, and whether a list allows it.

What is declared (`licence_metadata`) and what the licence files say (`licence_texts`) must agree: a text that the
declaration does not name is added to it with AND, so that a GPL text beside a declared MIT is not overlooked; so is
what `debian/copyright` says of files in general. What is not understood is None, never a guess.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

from license_expression import ExpressionError, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing

from training.corpus import debian_copyright, licence_metadata, licence_texts

METADATA_BYTES = 1 << 18
"""A file of metadata above this size is not read for its licence."""

PERMISSIVE = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "BlueOak-1.0.0", "CC0-1.0", "HPND", "ISC"),
        *("MIT", "MIT-0", "MIT-CMU", "NCSA", "PSF-2.0", "PostgreSQL", "Python-2.0", "UPL-1.0", "Unicode-3.0"),
        *("Unlicense", "X11", "Zlib"),
    }
)
"""Licences that ask for notices at most; a selection from the Blue Oak Council's list of permissive licences."""

_HEADER = re.compile(
    r"^[^\w\n]{0,12}(?:rem |dnl )?SPDX-License-Identifier:[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE
)
_HEADER_CHARS = 4096
_COMMENT_ENDS = re.compile(r"(\*/|-->|--%>|#\}|[\"'])+\s*$")


def is_metadata(path: str) -> bool:
    """Whether a path below a repository's root may name its licence."""
    return path == debian_copyright.PATH or licence_metadata.is_metadata(path) or licence_texts.is_licence_file(path)


def of_repository(files: Mapping[str, bytes]) -> str | None:
    """The licence of a repository, None if unknown.

    Args:
        files: contents by path; those for which `is_metadata` holds matter.
    """
    texts = {path: data.decode("utf-8", "replace") for path, data in sorted(files.items())}
    declared = _first_declared(texts)
    found = licence_texts.of_files(texts)
    if (surveyed := _surveyed(texts)) is not None:
        declared = surveyed if declared is None else _both(declared, surveyed)
    if declared is None:
        return " AND ".join(sorted(found)) or None if licence_texts.all_recognised(texts) else None
    named = {_base(symbol) for symbol in _symbols(declared)}
    extra = sorted(name for name in found if _base(name) not in named)
    return normalised(" AND ".join(f"({part})" for part in (declared, *extra)))


def _first_declared(texts: Mapping[str, str]) -> str | None:
    for statement in licence_metadata.statements(texts):
        if (expression := normalised(statement)) is not None:
            return expression
    return None


def of_paths(files: Mapping[str, bytes]) -> Callable[[str], str | None] | None:
    """The licences that `debian/copyright` gives for parts of a repository; None where there are none.

    Args:
        files: contents by path, as for `of_repository`.

    Returns:
        A function from a path to the licence of that file alone, None where it is not understood. A path that only
        the paragraph for all files matches, or none, has the repository's licence, as `of_repository` gave it.
    """
    paragraphs = _paragraphs({path: data.decode("utf-8", "replace") for path, data in files.items()})
    special = [paragraph for paragraph in paragraphs if paragraph.patterns != ("*",)]
    if not special:
        return None
    whole = of_repository(files)

    @lru_cache(maxsize=4096)
    def licence_of(path: str) -> str | None:
        last = next((paragraph for paragraph in reversed(paragraphs) if paragraph.matches(path)), None)
        return whole if last is None or last.patterns == ("*",) else normalised(last.licence)

    return licence_of


def _paragraphs(texts: Mapping[str, str]) -> tuple[debian_copyright.Paragraph, ...]:
    return debian_copyright.paragraphs(texts.get(debian_copyright.PATH, ""))


def _surveyed(texts: Mapping[str, str]) -> str | None:
    """What `debian/copyright` says of all files."""
    general = [paragraph for paragraph in _paragraphs(texts) if paragraph.patterns == ("*",)]
    return normalised(general[-1].licence) if general else None


def _both(declared: str, surveyed: str) -> str | None:
    """Two statements of one repository's licence: both hold, unless they name the same."""
    if {_base(name) for name in _symbols(declared)} == {_base(name) for name in _symbols(surveyed)}:
        return declared
    return normalised(f"({declared}) AND ({surveyed})")


def of_file(text: str, *, repository: str | None) -> str | None:
    """The licence of one file: its SPDX header if it has one, else the repository's.

    A header that is not understood gives None.
    """
    if "SPDX-License-Identifier" not in (head := text[:_HEADER_CHARS]):
        return repository
    found = [_COMMENT_ENDS.sub("", match).strip() for match in _HEADER.findall(head)]
    return normalised(" AND ".join(f"({expression})" for expression in found)) if any(found) else repository


@lru_cache(maxsize=4096)
def normalised(expression: str) -> str | None:
    """An SPDX expression with current names; None for what is none. "LicenseRef-..." names pass, and no list has them.

    "MIT/Apache-2.0", which Cargo once took, is read as OR.
    """
    expression = " OR ".join(part.strip() for part in expression.split("/")).strip()
    if not expression:
        return None
    try:
        tree = _spdx().parse(expression)
        unknown = {str(key) for key in _spdx().unknown_license_keys(tree)}
    except (ExpressionError, ValueError, IndexError, TypeError, AttributeError):
        return None  # the parser fails in these ways on "()" and the like
    if any(not key.startswith(("LicenseRef-", "DocumentRef-")) for key in unknown):
        return None
    return tree.render() if tree is not None else None


@lru_cache(maxsize=4096)
def is_allowed(expression: str, *, allowed: frozenset[str]) -> bool:
    """Whether a list allows an expression: one side of OR suffices, AND needs all.

    Exceptions ("WITH ...") only add permissions, so the licence before them decides.

    Args:
        expression: as `normalised` gives it.
        allowed: SPDX names.
    """
    return _allows(_spdx().parse(expression), allowed)


def _allows(tree: Any, allowed: frozenset[str]) -> bool:
    if isinstance(tree, LicenseWithExceptionSymbol):
        return tree.license_symbol.key in allowed
    if isinstance(tree, LicenseSymbol):
        return tree.key in allowed
    verdicts = [_allows(part, allowed) for part in tree.args]
    return any(verdicts) if tree.operator.strip() == "OR" else all(verdicts)


def _symbols(expression: str) -> list[str]:
    return [str(key) for key in _spdx().license_keys(_spdx().parse(expression))]


def _base(name: str) -> str:
    """A licence without what its text does not tell: GPL-3.0-only and GPL-3.0-or-later have one text."""
    return name.removesuffix("-only").removesuffix("-or-later")


@cache
def _spdx() -> Any:
    return get_spdx_licensing()
