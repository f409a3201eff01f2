"""Python: modules by their dotted names, as absolute and relative imports name them.

Better than matching text: imports are found wherever they stand (in functions, `try`, `if TYPE_CHECKING`) and however
many lines they take, not those in strings or behind the top N lines; `from a import b` is told apart by whether b is a
module; dots are counted from the importing package; a root of absolute imports is a folder that is no package itself,
so `import json` is never the repository's own `package/json.py`. Folders inside a package are packages even where their
`__init__.py` is missing: empty files do not get as far as here.
"""

from collections.abc import Iterator, Mapping

from tree_sitter import Node

from training.corpus.languages.facts import Edge, Facts, Found, Import
from training.corpus.languages.grammars import Tree
from training.corpus.languages.paths import folder, joined, nearest

_QUERY = """
(import_statement name: (dotted_name) @module)
(import_statement name: (aliased_import name: (dotted_name) @module))
(import_from_statement) @from
((call function: [(identifier) (attribute)] @loader arguments: (argument_list . (string (string_content) @loaded)))
  (#match? @loader "^(__import__|importlib[.]import_module|import_module)$"))
(module (function_definition name: (identifier) @declared))
(module (class_definition name: (identifier) @declared))
(module (decorated_definition definition: (_ name: (identifier) @declared)))
(module (expression_statement (assignment left: (identifier) @declared)))
"""
QUERIES = {"python": _QUERY}
_ENDINGS = (".py", "/__init__.py", ".pyi", "/__init__.pyi", ".pyw")


def read(tree: Tree, found: Found) -> Facts:
    """The imports and top-level names of a module."""
    imports = [Import(tree.text(node).replace(" ", "")) for node in found.get("module", ())]
    imports += [Import(tree.text(node)) for node in found.get("loaded", ())]
    imports += [_from(tree, node) for node in found.get("from", ())]
    declared = {tree.text(node) for node in found.get("declared", ())}
    return Facts(imports=tuple(imports), declared=tuple(sorted(declared)))


def resolve(files: Mapping[str, Facts], others: Mapping[str, str]) -> Iterator[Edge]:
    """Edges between the modules of a repository.

    Args:
        files: of all Python files, by path.
        others: not needed.
    """
    modules = _Modules(files)
    for path, facts in files.items():
        found = {target for item in facts.imports for target in modules.targets(item, path)}
        yield from (Edge(path, target) for target in found if target != path)


def _from(tree: Tree, node: Node) -> Import:
    module = node.child_by_field_name("module_name")
    names = [child.child_by_field_name("name") or child for child in node.children_by_field_name("name")]
    target = tree.text(module).replace(" ", "") if module else ""
    return Import(target, tuple(tree.text(name) for name in names), "from")


class _Modules:
    """The modules of a repository by their last names."""

    def __init__(self, files: Mapping[str, Facts]) -> None:
        self._files = files
        marked = {folder(path) for path in files if path.endswith(("/__init__.py", "/__init__.pyi"))}
        self._packages: set[str] = set()
        for path in files:
            folders = _folders_of(path)
            outermost = next((index for index, place in enumerate(folders) if place in marked), len(folders))
            self._packages.update(folders[outermost:])
        self._roots: dict[str, list[str]] = {}
        for path in files:
            for root, name in self._names(path):
                self._roots.setdefault(name, []).append(root)

    def targets(self, item: Import, importer: str) -> Iterator[str]:
        """The files that an import names."""
        bare = item.target.lstrip(".")
        level = len(item.target) - len(bare)
        if level:
            base = folder(importer)
            for _ in range(level - 1):
                base = folder(base)
            module = joined(base, bare.replace(".", "/")) if bare else base
            if module is None:
                return
        else:
            module = self._absolute(bare, importer, item.names)
            if module is None:
                return
        own = self._file(module)
        inner = [self._file(f"{module}/{name}" if module else name) for name in item.names]
        yield from (path for path in inner if path)
        if own and (not inner or not all(inner)):
            yield own

    def _absolute(self, name: str, importer: str, names: tuple[str, ...]) -> str | None:
        """The path, without ending, of a module that is imported by its full name."""
        roots = self._roots.get(name)
        if not roots:
            # A package without __init__.py is known by the modules in it.
            roots = next((found for inner in names if (found := self._roots.get(f"{name}.{inner}"))), None)
        tail = name.replace(".", "/")
        if not roots:
            return None
        # A root that the importer lies below comes first: `import celery` in t/worker is not t/bin/celery.py.
        above = [root for root in roots if not root or importer.startswith(f"{root}/")]
        candidates = [f"{root}/{tail}" if root else tail for root in above or roots]
        beside = joined(folder(importer), tail)
        if beside in candidates and folder(importer) not in self._packages:
            return beside  # a script's own folder comes first
        return nearest(sorted(set(candidates)), importer)

    def _names(self, path: str) -> Iterator[tuple[str, str]]:
        """Every (root, dotted name) that a file can be imported by: a root is no package."""
        parts = _without_ending(path).split("/")
        for start in range(len(parts) - 1, -1, -1):
            root = "/".join(parts[:start])
            if root not in self._packages:
                yield root, ".".join(parts[start:])

    def _file(self, module: str) -> str | None:
        return next((f"{module}{ending}" for ending in _ENDINGS if f"{module}{ending}" in self._files), None)


def _folders_of(path: str) -> list[str]:
    """The folders a path lies in, from the outermost."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _without_ending(path: str) -> str:
    for ending in sorted(_ENDINGS, key=len, reverse=True):
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path
