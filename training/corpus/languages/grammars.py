"""Parse trees of documents: which grammar reads which language, and from bytes back to characters.

C has no grammar of its own here; that of C++ reads it, with error nodes where C names something `class` or `new`.
Tree-sitter never refuses a text: what it cannot read becomes an error node, and the rest of the tree is as usual.
"""

import importlib
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from tree_sitter import Language, Node, Parser, Query, QueryCursor

from training.corpus.document import Document

_GRAMMARS = {
    "python": ("tree_sitter_python", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "java": ("tree_sitter_java", "language"),
    "kotlin": ("tree_sitter_kotlin", "language"),
    "go": ("tree_sitter_go", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "csharp": ("tree_sitter_c_sharp", "language"),
    "rust": ("tree_sitter_rust", "language"),
}
_SAME_GRAMMAR = {"c": "cpp"}
_REMEMBERED = 4
"""Trees of the latest documents, which are asked for by one use after the other; a tree takes 30 times its text."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A parsed document.

    Attributes:
        grammar: name of the grammar.
        root: the whole text's node.
        source: the text in UTF-8, "?" where it has half a surrogate pair. Offsets of nodes count its bytes.
    """

    grammar: str
    root: Node
    source: bytes

    def text(self, node: Node) -> str:
        """What stands at a node."""
        return self.source[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def captures(self, query: str) -> dict[str, list[Node]]:
        """Nodes by the names that a query gives them, in no order."""
        return QueryCursor(_query(self.grammar, query)).captures(self.root)

    def characters(self, offsets: Sequence[int] | np.ndarray) -> np.ndarray:
        """Which character each byte offset is; one inside a character becomes the next character."""
        offsets = np.asarray(offsets, np.int64)
        return offsets if self.source.isascii() else self._characters_before[offsets]

    @cached_property
    def _characters_before(self) -> np.ndarray:
        begins = (np.frombuffer(self.source, np.uint8) & 0xC0) != 0x80
        return np.concatenate([[0], np.cumsum(begins)])


def grammar_of(document: Document) -> str | None:
    """The name of the grammar that reads a document; None if none does."""
    if document.language == "typescript" and document.path.lower().endswith(".tsx"):
        return "tsx"
    name = _SAME_GRAMMAR.get(document.language, document.language)
    return name if name in _GRAMMARS else None


def parse(document: Document) -> Tree | None:
    """A document's tree; None where there is no grammar."""
    name = grammar_of(document)
    if name is None:
        return None
    for known, tree in _latest.trees:
        if known is document:
            return tree
    source = document.text.encode("utf-8", "replace")
    parsed = Parser(language(name)).parse(source)
    tree = Tree(grammar=name, root=parsed.root_node, source=source)
    _latest.trees.append((document, tree))
    return tree


@cache
def language(grammar: str) -> Language:
    """A grammar by name."""
    module, function = _GRAMMARS[grammar]
    return Language(getattr(importlib.import_module(module), function)())


@cache
def kinds(grammar: str) -> frozenset[str]:
    """The names of a grammar's nodes, those of punctuation and keywords left out."""
    of = language(grammar)
    numbers = range(of.node_kind_count)
    named = [of.node_kind_for_id(n) for n in numbers if of.node_kind_is_named(n) and of.node_kind_is_visible(n)]
    return frozenset(name for name in named if name)


@cache
def _query(grammar: str, source: str) -> Query:
    return Query(language(grammar), source)


class _Latest(threading.local):
    """The latest trees of a thread."""

    def __init__(self) -> None:
        self.trees: deque[tuple[Document, Tree]] = deque(maxlen=_REMEMBERED)


_latest = _Latest()
