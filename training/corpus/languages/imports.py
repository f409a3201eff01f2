"""All files of a repository at once: what each says, and which needs which."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from training.corpus.document import Document
from training.corpus.languages import cpp, csharp, ecmascript, golang, jvm, python, rust
from training.corpus.languages.facts import Edge, Facts, Found, code, find, words
from training.corpus.languages.grammars import Tree, parse

Read = Callable[[Tree, Found], Facts]
Resolve = Callable[[Mapping[str, Facts], Mapping[str, str]], Iterator[Edge]]
_FAMILIES: tuple[tuple[frozenset[str], Read, Resolve], ...] = (
    (frozenset({"python"}), python.read, python.resolve),
    (frozenset({"javascript", "typescript"}), ecmascript.read, ecmascript.resolve),
    (frozenset({"java", "kotlin"}), jvm.read, jvm.resolve),
    (frozenset({"go"}), golang.read, golang.resolve),
    (frozenset({"c", "cpp"}), cpp.read, cpp.resolve),
    (frozenset({"csharp"}), csharp.read, csharp.resolve),
    (frozenset({"rust"}), rust.read, rust.resolve),
)
"""Languages whose files import each other."""

_QUERIES = {
    grammar: query
    for family in (python, ecmascript, jvm, golang, cpp, csharp, rust)
    for grammar, query in family.QUERIES.items()
}
"""What each grammar is asked for."""

_CONFIGURATION = ("package.json", "tsconfig.json", "tsconfig.base.json", "jsconfig.json", "go.mod", "Cargo.toml")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """What the files of a repository say.

    Attributes:
        facts: by path, of the files that have a grammar.
        edges: who needs whom, in no order; none from a file to itself, none twice.
    """

    facts: Mapping[str, Facts]
    edges: tuple[Edge, ...]


def read_repository(documents: Sequence[Document]) -> Repository:
    """Parses the documents of one revision of a repository and resolves their imports.

    Args:
        documents: with different paths.
    """
    others = {item.path: item.text for item in documents if item.path.rpartition("/")[2] in _CONFIGURATION}
    known: dict[bytes, str] = {}
    facts: dict[str, Facts] = {}
    edges: list[Edge] = []
    for languages, read, resolve in _FAMILIES:
        files: dict[str, Facts] = {}
        for document in documents:
            if document.language in languages and (tree := parse(document)):
                found = find(tree, _QUERIES[tree.grammar])
                files[document.path] = replace(read(tree, found), words=words(code(tree, found), known))
        edges += resolve(files, others)
        facts |= files
    return Repository(facts=facts, edges=tuple(edges))
