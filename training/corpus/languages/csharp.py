"""C#: types by the namespaces that files declare.

Better than matching text: `using` names a namespace, not a file, so text cannot lead to one. Here a file needs those
that declare, in a namespace it can see, a type that its code names: its own namespace and those around it, the
namespaces it uses, and those that any file uses globally. All parts of a partial type count.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from training.corpus.languages.facts import Edge, Facts, Found, Import
from training.corpus.languages.grammars import Tree
from training.corpus.languages.paths import in_test_folder

_TYPES = ("class", "interface", "struct", "enum", "record", "delegate")
_QUERY = f"""
(using_directive) @using
(namespace_declaration name: (_) @namespace)
(file_scoped_namespace_declaration name: (_) @namespace)
{" ".join(f"({kind}_declaration name: (identifier) @declared)" for kind in _TYPES)}
"""
QUERIES = {"csharp": _QUERY}


def read(tree: Tree, found: Found) -> Facts:
    """The namespaces that a file uses and declares, and its types, inner ones too."""
    imports = tuple(_using(tree.text(node)) for node in found.get("using", ()))
    packages = {"".join(tree.text(node).split()) for node in found.get("namespace", ())}
    declared = {tree.text(node) for node in found.get("declared", ())}
    return Facts(imports=imports, packages=tuple(sorted(packages)), declared=tuple(sorted(declared)))


def resolve(files: Mapping[str, Facts], others: Mapping[str, str]) -> Iterator[Edge]:
    """Edges between the files of a repository.

    Args:
        files: of all C# files, by path.
        others: not needed.
    """
    types: defaultdict[str, list[str]] = defaultdict(list)
    for path, facts in files.items():
        for name in facts.declared:
            types[name].append(path)
    everywhere = {item.target for facts in files.values() for item in facts.imports if item.kind == "global"}
    for path, facts in files.items():
        visible = everywhere | {""} | {around for name in facts.packages for around in _around(name)}
        for item in facts.imports:
            visible.update((item.target, item.target.rpartition(".")[0]) if item.kind == "type" else (item.target,))
        own, is_test = set(facts.declared), in_test_folder(path)
        targets = {
            target
            for word in facts.words
            for target in types.get(word, ())
            if not visible.isdisjoint(files[target].packages or ("",))
            and (is_test or not in_test_folder(target))
            and (word not in own or not set(files[target].packages).isdisjoint(facts.packages))
        }
        yield from (Edge(path, target) for target in sorted(targets - {path}))


def _using(text: str) -> Import:
    """A using directive; an alias and `using static` name a type, whose namespace is what comes before."""
    words = text.replace("=", " = ").rstrip("; ").split()
    target = words[-1].removeprefix("global::").partition("<")[0] if len(words) > 1 else ""
    kind = "type" if "static" in words or "=" in words else "global" if words[0] == "global" else ""
    return Import(target, (), kind)


def _around(namespace: str) -> Iterator[str]:
    while namespace:
        yield namespace
        namespace = namespace.rpartition(".")[0]
