"""Syntax of documents: what they import from each other, what a middle may cover, where they may be cut.

Read in this order: `grammars` (parse trees), `nodes` (middles and cuts), `facts` (what a file says), the languages
(`python`, `ecmascript`, `jvm`, `golang`, `cpp`, `csharp`, `rust`), `imports` (all files of a repository at once).
"""

from training.corpus.languages.imports import Repository, read_repository
from training.corpus.languages.nodes import middle_nodes, split_points

__all__ = ["Repository", "middle_nodes", "read_repository", "split_points"]
