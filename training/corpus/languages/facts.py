"""What a file says about others: its imports as written, what it declares, and the words of its code."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from tree_sitter import Node

from training.corpus.languages.grammars import Tree, kinds

_QUOTED = re.compile(r"comment$|^(string|multiline_string|string_literal|raw_string)_?(content|fragment)$|^char")
_LITERAL = re.compile(r"^(interpreted|raw)_string_literal_content$|^string_literal_content$|^verbatim_string_literal$")
_WORD = re.compile(rb"[A-Za-z_\x80-\xff][\w\x80-\xff]*")
STRONG, WEAK = 1.0, 0.1
"""Weights of edges. A weak one is by a package as a whole or by a place in a tree of modules: it orders where nothing
stronger does, and gives way first in a cycle."""


Found = Mapping[str, Sequence[Node]]
"""Nodes of a document by the names that queries give them: a language's own, and "quoted" for comments and quotes."""


class Import(NamedTuple):
    """An import as written.

    Attributes:
        target: of a module, file or package, in the language's own notation.
        names: what is taken from it, where the language says so.
        kind: what the language's module needs to know; empty for the usual kind.
    """

    target: str
    names: tuple[str, ...] = ()
    kind: str = ""


class Edge(NamedTuple):
    """A file needs another one.

    Attributes:
        importer: path of the file that needs.
        imported: path of the file that is needed.
        weight: how much, above 0.
    """

    importer: str
    imported: str
    weight: float = STRONG


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What one file says.

    Attributes:
        imports: in no order.
        packages: packages or namespaces that it belongs to, as declared.
        declared: names that other files can use: of top-level types, functions, values.
        words: names used in the code, comments and strings left out; sorted. Those declared are among them.
    """

    imports: tuple[Import, ...] = ()
    packages: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    words: tuple[str, ...] = field(default=(), repr=False)


def find(tree: Tree, query: str) -> Found:
    """What a language asks for and what is in quotes, in one pass: passes take longer than what they look for."""
    return tree.captures(query + _quoted(tree.grammar))


def code(tree: Tree, found: Found) -> bytes:
    """The text of a document without its comments and without what is in quotes."""
    quoted = sorted(node.byte_range for node in found.get("quoted", ()))
    parts, at = [], 0
    for start, end in quoted:
        if start >= at:
            parts.append(tree.source[at:start])
        at = max(at, end)
    return b" ".join([*parts, tree.source[at:]])


def words(text: bytes, known: dict[bytes, str]) -> tuple[str, ...]:
    """The different words of code, sorted.

    Args:
        text: as `code` gives it.
        known: words of other files of the repository, added to: files share their words.
    """
    found = []
    for word in set(_WORD.findall(text)):
        name = known.get(word)
        if name is None:
            name = known[word] = word.decode("utf-8", "replace")
        found.append(name)
    return tuple(sorted(found))


@cache
def _quoted(grammar: str) -> str:
    named = sorted(kind for kind in kinds(grammar) if _QUOTED.search(kind) or _LITERAL.search(kind))
    return f"[{' '.join(f'({kind})' for kind in named)}] @quoted"
