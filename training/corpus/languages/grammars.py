"""Parse trees of documents: which grammar reads which language, and from bytes back to characters.

C has no grammar of its own here; that of C++ reads it, with error nodes where C names something `class` or `new`.
Tree-sitter never refuses a text: what it cannot read becomes an error node, and the rest of the tree is as usual.
"""

import importlib
import threading
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
_KEPT_BYTES = 6_000_000
"""Source whose trees are kept, of the repository at hand: a document is asked for when its repository is ordered and
again when it is infilled or cut. A tree takes 27 times its text, so that these take 160 MB."""


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
    if known := _trees.get(document):
        return known
    source = document.text.encode("utf-8", "replace")
    parsed = Parser(language(name)).parse(source)
    tree = Tree(grammar=name, root=parsed.root_node, source=source)
    _trees.put(document, tree)
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


class _Trees(threading.local):
    """The first trees of one repository, as many as there is room for, and the latest one; each thread has its own."""

    def __init__(self) -> None:
        self._repository = ""
        self._kept: dict[int, tuple[Document, Tree]] = {}
        self._latest: tuple[Document, Tree] | None = None
        self._room = _KEPT_BYTES

    def get(self, document: Document) -> Tree | None:
        """The tree of a document; of the same one: an equal one may be of another build."""
        # Documents that are kept stay alive, so that no other has the number of one.
        known = self._kept.get(id(document)) or self._latest
        return known[1] if known and known[0] is document else None

    def put(self, document: Document, tree: Tree) -> None:
        """Keeps a tree; those of another repository go."""
        if document.repository != self._repository:
            self._repository, self._room = document.repository, _KEPT_BYTES
            self._kept.clear()
        if len(tree.source) <= self._room:
            self._room -= len(tree.source)
            self._kept[id(document)] = document, tree
        else:
            self._latest = document, tree


_trees = _Trees()
