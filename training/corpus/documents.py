"""The documents of a repository in the order a model reads them; `fitting` then joins them up to a row's length.

1. Imports are read from parse trees and resolved to files (`languages`).
2. Each test that has a subject (`unit_tests`) follows it directly; several follow it by path. For the order of all
   others such a test and its subject are one file, whose imports are those of the subject: a test may stand before
   files that it imports beside its subject, its subject and what that imports stand before it.
3. What is imported comes before what imports it, related files side by side (`dependencies`). Files that no import
   relates to another come by path where nothing related is ready.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from training.corpus import dependencies, report_order, unit_tests
from training.corpus.document import Document
from training.corpus.languages import read_repository
from training.corpus.languages.facts import Edge


@dataclass(frozen=True, kw_only=True)
class OrderSettings:
    """How the documents of a repository are ordered.

    Attributes:
        by: "imports" as this module says; "report" for the two heuristics of CodeGemma's report on plain text
            (`report_order`), to compare with; "path".
    """

    by: Literal["imports", "report", "path"] = "imports"

    def __post_init__(self) -> None:
        if self.by not in ("imports", "report", "path"):
            raise ValueError(f"Documents are ordered by imports, report or path; got {self.by!r}. Choose one of them.")


def order(documents: Iterable[Document], settings: OrderSettings | None = None) -> tuple[Document, ...]:
    """The documents of one repository, each exactly once, in an order that does not depend on how they came.

    Args:
        documents: of one repository. Revisions follow each other by name, none relates to another; so does what has
            the name of a file that is there already.
        settings: by imports if not given.
    """
    settings = settings or OrderSettings()
    remaining = sorted(documents, key=lambda document: (document.revision, document.path, document.text))
    ordered: list[Document] = []
    while remaining:
        revision, later, by_path = remaining[0].revision, [], dict[str, Document]()
        for document in remaining:
            if document.revision == revision and document.path not in by_path:
                by_path[document.path] = document
            else:
                later.append(document)
        ordered += (by_path[path] for path in _ordered_paths(list(by_path.values()), settings.by))
        remaining = later
    return tuple(ordered)


def _ordered_paths(documents: Sequence[Document], by: str) -> list[str]:
    if by == "path":
        return [document.path for document in documents]
    if by == "report":
        return report_order.order(documents)
    repository = read_repository(documents)
    languages = {document.path: document.language for document in documents if document.path in repository.facts}
    subject_of = unit_tests.subjects(languages, repository)
    tests_of: defaultdict[str, list[str]] = defaultdict(list)
    for test in sorted(subject_of):
        tests_of[subject_of[test]].append(test)
    edges = [
        Edge(edge.importer, subject_of.get(edge.imported, edge.imported), edge.weight)
        for edge in repository.edges
        if edge.importer not in subject_of
    ]
    alone = [document.path for document in documents if document.path not in subject_of]
    ordered = dependencies.order(alone, (edge for edge in edges if edge.importer != edge.imported))
    return [path for subject in ordered for path in (subject, *tests_of.get(subject, ()))]
