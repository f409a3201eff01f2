"""Java and Kotlin, which import each other's classes: names by the package that a file declares.

Better than matching text by path: a class is found by its declared package, whatever folder it lies in, and by every
top-level name of its file; classes of the same package, which need no import, are found by the names that the code
uses; of `import a.b.*` the files whose names are used, not all of a folder; static imports and imports of inner
classes lead to the class around them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from training.corpus.languages.facts import Edge, Facts, Found, Import
from training.corpus.languages.grammars import Tree
from training.corpus.languages.paths import in_test_folder, module_of, shared_depth

_JAVA = """
(package_declaration (_) @package)
(import_declaration) @import
(program [(class_declaration name: (_) @declared) (interface_declaration name: (_) @declared)
  (enum_declaration name: (_) @declared) (record_declaration name: (_) @declared)
  (annotation_type_declaration name: (_) @declared)])
"""
_KOTLIN = """
(package_header (_) @package)
(import) @import
(source_file [(class_declaration name: (_) @declared) (object_declaration name: (_) @declared)
  (function_declaration name: (_) @declared) (property_declaration (variable_declaration . (identifier) @declared))
  (type_alias . (identifier) @declared)])
(file_annotation (constructor_invocation (user_type (identifier) @annotation)
  (value_arguments (value_argument (string_literal (string_content) @facade))))
  (#eq? @annotation "JvmName"))
"""
QUERIES = {"java": _JAVA, "kotlin": _KOTLIN}


def read(tree: Tree, found: Found) -> Facts:
    """The package, imports and top-level names of a Java or Kotlin file."""
    package = "".join("".join(tree.text(node).split()) for node in found.get("package", ())[:1])
    declared = {tree.text(node) for node in (*found.get("declared", ()), *found.get("facade", ()))}
    imports = tuple(_import(tree.text(node)) for node in found.get("import", ()))
    return Facts(imports=imports, packages=(package,), declared=tuple(sorted(declared)))


def resolve(files: Mapping[str, Facts], others: Mapping[str, str]) -> Iterator[Edge]:
    """Edges between the classes' files of a repository.

    Args:
        files: of all Java and Kotlin files, by path.
        others: not needed.
    """
    packages: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, facts in files.items():
        for name in (*facts.declared, *_facade(path)):
            packages[facts.packages[0]][name].append(path)
    for path, facts in files.items():
        targets = set(_used(packages.get(facts.packages[0], {}), facts, path))
        for item in facts.imports:
            targets.update(_imported(packages, item, facts, path))
        yield from (Edge(path, target) for target in targets if target != path)


def _import(text: str) -> Import:
    """An import declaration, without its alias, which nothing outside the file needs."""
    words = text.partition("//")[0].rstrip("; \n").split()
    words = words[: words.index("as")] if "as" in words else words
    kind = "static" if "static" in words[:2] else ""
    name = "".join(word for word in words if word not in ("import", "static")).rstrip(";")
    return Import(name.removesuffix(".*"), (), "wildcard" if name.endswith(".*") else kind)


def _imported(
    packages: Mapping[str, Mapping[str, list[str]]], item: Import, facts: Facts, importer: str
) -> Iterator[str]:
    if item.kind == "wildcard" and item.target in packages:
        yield from _used(packages[item.target], facts, importer)
        return
    parts = item.target.split(".")
    # The longest package that is known; what follows is a class, then perhaps a member.
    for end in range(len(parts) - 1, -1, -1):
        names = packages.get(".".join(parts[:end]))
        if names and parts[end] in names:
            yield from _near(names[parts[end]], importer)
            return


def _used(names: Mapping[str, list[str]], facts: Facts, importer: str) -> Iterator[str]:
    for word in facts.words:
        if word in names:
            yield from _near(names[word], importer)


def _near(paths: list[str], importer: str) -> list[str]:
    """Of the files that declare a name, those of the nearest module: repositories keep variants of one class.

    Tests are no candidates for what is none itself.
    """
    if not in_test_folder(importer):
        paths = [path for path in paths if not in_test_folder(path)]
    if len(paths) < 2:
        return paths
    depths = {module: shared_depth(f"{module}/", importer) for module in map(module_of, paths)}
    deepest = max(depths.values())
    return [path for path in paths if depths[module_of(path)] == deepest]


def _facade(path: str) -> tuple[str, ...]:
    """The class that holds a Kotlin file's functions, as Java names it."""
    name = path.rpartition("/")[2]
    return (f"{name.removesuffix('.kt')}Kt",) if name.endswith(".kt") else ()
