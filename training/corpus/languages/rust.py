"""Rust: the modules a file declares and the paths it names. `rust_modules` finds the files.

Better than matching text: `use` trees are taken apart, whatever lines they cover; paths in the code that begin with
`crate`, `self` or `super` count like imports; inside `mod tests { … }` they begin one module deeper. What stands inside
a macro has no tree, so that modules declared there (`cfg_if! { … mod unix; … }`) are read from the text.
"""

import re
from collections.abc import Iterator, Mapping

from tree_sitter import Node

from training.corpus.languages.facts import WEAK, Edge, Facts, Found, Import
from training.corpus.languages.grammars import Tree
from training.corpus.languages.rust_modules import Modules

_ITEMS = ("struct", "enum", "union", "trait", "type", "const", "static", "function")
_QUERY = f"""
(use_declaration argument: (_) @use)
(extern_crate_declaration name: (_) @crate)
(mod_item !body) @mod
(macro_invocation (token_tree) @macro)
(scoped_identifier path: [(crate) (super) (self)]) @path
(scoped_type_identifier path: [(crate) (super) (self)]) @path
(source_file [{" ".join(f"({kind}_item name: (_) @declared)" for kind in _ITEMS)}])
(macro_definition name: (_) @declared)
"""
QUERIES = {"rust": _QUERY}
_MOD_IN_MACRO = re.compile(r"(?<![\w!#])mod\s+([a-zA-Z_]\w*)\s*;")
_LONGER = ("scoped_identifier", "scoped_type_identifier")


def read(tree: Tree, found: Found) -> Facts:
    """Modules, paths and items of a Rust file.

    `Import.kind` is "mod" (target: "name" or "inline/name"; names: the file of a `#[path]`), "pub use", "use" or
    "path"; the names of a `use` are those it gives to what it brings.
    """
    imports = {_mod(tree, node) for node in found.get("mod", ())}
    for node in found.get("macro", ()):
        for name in _MOD_IN_MACRO.findall(tree.text(node)):
            imports.add(Import("/".join([*_inline(tree, node), name]), (), "mod"))
    imports |= {Import(tree.text(node), (), "use") for node in found.get("crate", ())}
    for node in found.get("use", ()):
        parent = node.parent
        is_public = parent is not None and any(child.type == "visibility_modifier" for child in parent.children)
        inline = _inline(tree, node)
        for path, name in _flat(tree, node, ""):
            imports.add(Import(_from_file(path, inline), (name,), "pub use" if is_public else "use"))
    for node in found.get("path", ()):
        longest = node
        while (parent := longest.parent) is not None and parent.type in _LONGER:
            longest = parent
        imports.add(Import(_from_file("".join(tree.text(longest).split()), _inline(tree, node)), (), "path"))
    declared = {tree.text(node) for node in found.get("declared", ())}
    return Facts(imports=tuple(sorted(imports)), declared=tuple(sorted(declared)))


def resolve(files: Mapping[str, Facts], others: Mapping[str, str]) -> Iterator[Edge]:
    """Edges between the files of a repository's crates; to a module only declared, a weak one.

    Args:
        files: of all Rust files, by path.
        others: texts of other files by path; Cargo.toml is looked for.
    """
    modules = Modules(files, others)
    for path, facts in files.items():
        weights: dict[str, float] = dict.fromkeys(modules.children(path).values(), WEAK)
        for item in facts.imports:
            if item.kind != "mod":
                for target, weight in modules.find(item.target, path):
                    weights[target] = max(weight, weights.get(target, 0))
        yield from (Edge(path, target, weight) for target, weight in weights.items() if target != path)


def _flat(tree: Tree, node: Node, before: str) -> Iterator[tuple[str, str]]:
    """The paths of a use tree, each with the name that it gives; "*" for all."""
    if node.type == "use_list":
        for child in node.named_children:
            yield from _flat(tree, child, before)
    elif node.type == "scoped_use_list":
        path, inner = node.child_by_field_name("path"), node.child_by_field_name("list")
        prefix = _then(before, tree.text(path)) if path else before
        if inner:
            yield from _flat(tree, inner, prefix)
    elif node.type == "use_as_clause":
        path, alias = node.child_by_field_name("path"), node.child_by_field_name("alias")
        if path and alias:
            yield _then(before, tree.text(path)), tree.text(alias)
    elif node.type == "use_wildcard":
        inner = node.named_children
        yield (_then(before, tree.text(inner[0])) if inner else before), "*"
    elif "comment" not in node.type:
        path = _then(before, tree.text(node))
        path = path.removesuffix("::self") if path != "self" else path
        yield path, path.rpartition("::")[2]


def _then(before: str, path: str) -> str:
    path = "".join(path.split())
    return f"{before}::{path}" if before else path


def _mod(tree: Tree, node: Node) -> Import:
    name = node.child_by_field_name("name")
    target = "/".join([*_inline(tree, node), tree.text(name) if name else ""])
    place = ()
    above = node.prev_named_sibling
    while above is not None and (above.type == "attribute_item" or "comment" in above.type):
        text = tree.text(above)
        if above.type == "attribute_item" and text.replace(" ", "").startswith("#[path="):
            place = (text.split('"')[1],) if text.count('"') == 2 else ()
        above = above.prev_named_sibling
    return Import(target, place, "mod")


def _inline(tree: Tree, node: Node) -> list[str]:
    """The modules around a node that are written in the file itself."""
    names: list[str] = []
    above = node.parent
    while above is not None:
        if above.type == "mod_item" and (name := above.child_by_field_name("name")):
            names.insert(0, tree.text(name))
        above = above.parent
    return names


def _from_file(path: str, inline: list[str]) -> str:
    """A path as it would be written outside the file's inline modules."""
    first, colons, rest = path.partition("::")
    left = list(inline)
    if not left or first not in ("self", "super"):
        return path
    while first == "super" and left:
        left.pop()
        first, colons, rest = rest.partition("::") if rest.startswith("super") else ("self", colons, rest)
    if first == "super":
        return f"super{colons}{rest}"
    return "::".join(["self", *left, *([rest] if rest else [])])
