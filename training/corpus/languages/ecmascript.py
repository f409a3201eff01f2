"""JavaScript and TypeScript, which import each other: the imports of a file. `ecmascript_paths` finds the files.

Better than matching text: `import`, `export … from`, `require`, `import()`, `import x = require()`, `jest.mock` and the
types `import("…")` are told from strings and comments that look like them, wherever they stand.
"""

from collections.abc import Iterator, Mapping

from training.corpus.languages.ecmascript_paths import Resolver
from training.corpus.languages.facts import Edge, Facts, Found, Import
from training.corpus.languages.grammars import Tree

_QUERY = """
(import_statement source: (string) @source)
(export_statement source: (string) @source)
((call_expression function: [(identifier) (import) (member_expression)] @loader
  arguments: (arguments . [(string) (template_string)] @loaded))
  (#match? @loader "^(require|import|require[.]resolve|(jest|vi)[.](mock|unmock|doMock|requireActual|importActual))$"))
(program [(function_declaration name: (_) @declared) (class_declaration name: (_) @declared)
  (lexical_declaration (variable_declarator name: (identifier) @declared))
  (variable_declaration (variable_declarator name: (identifier) @declared))])
(export_statement declaration: [(function_declaration name: (_) @declared) (class_declaration name: (_) @declared)
  (lexical_declaration (variable_declarator name: (identifier) @declared))])
"""
_TYPESCRIPT = """
(import_require_clause source: (string) @source)
(export_statement declaration: [(interface_declaration name: (_) @declared) (enum_declaration name: (_) @declared)
  (type_alias_declaration name: (_) @declared) (abstract_class_declaration name: (_) @declared)])
(program [(interface_declaration name: (_) @declared) (enum_declaration name: (_) @declared)
  (type_alias_declaration name: (_) @declared)])
((comment) @reference (#match? @reference "^///\\\\s*<reference\\\\s+path"))
"""
QUERIES = {"javascript": _QUERY, "typescript": _QUERY + _TYPESCRIPT, "tsx": _QUERY + _TYPESCRIPT}


def read(tree: Tree, found: Found) -> Facts:
    """The imports and top-level names of a script."""
    nodes = (*found.get("source", ()), *found.get("loaded", ()))
    targets = {tree.text(node)[1:-1] for node in nodes if not node.named_children or node.named_child_count == 1}
    targets |= {_referenced(tree.text(node)) for node in found.get("reference", ())}
    declared = {tree.text(node) for node in found.get("declared", ())}
    imports = tuple(Import(target) for target in sorted(targets) if target and "${" not in target)
    return Facts(imports=imports, declared=tuple(sorted(declared)))


def resolve(files: Mapping[str, Facts], others: Mapping[str, str]) -> Iterator[Edge]:
    """Edges between the scripts of a repository.

    Args:
        files: of all JavaScript and TypeScript files, by path.
        others: texts of other files by path; package.json, tsconfig.json and jsconfig.json are looked for.
    """
    resolver = Resolver(files, others)
    for path, facts in files.items():
        found = {target for item in facts.imports if (target := resolver.find(item.target, path))}
        yield from (Edge(path, target) for target in found if target != path)


def _referenced(comment: str) -> str:
    path = comment.partition("=")[2].strip(" '\"").partition('"')[0].partition("'")[0]
    return path if path.startswith(".") else f"./{path}"
