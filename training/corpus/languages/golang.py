"""Go: packages are folders, imported by the path of the module and of the folder.

Better than matching text: the module's path is read from go.mod; an import leads to every file of the package, with a
full weight to those that declare a name the code takes from it; files of one package, which import nothing from each
other, are related by the names they declare and use.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from training.corpus.languages.facts import STRONG, WEAK, Edge, Facts, Found, Import, code
from training.corpus.languages.grammars import Tree
from training.corpus.languages.paths import folder

_QUERY = """
(package_clause (package_identifier) @package)
(import_spec) @import
(source_file [(function_declaration name: (_) @declared) (type_declaration [(type_spec name: (_) @declared)
  (type_alias name: (_) @declared)])])
(source_file (var_declaration [(var_spec name: (_) @declared) (var_spec_list (var_spec name: (_) @declared))]))
(source_file (const_declaration (const_spec name: (_) @declared)))
"""
QUERIES = {"go": _QUERY}
_MODULE = re.compile(r"^\s*module\s+\"?([^\s\"]+)", re.MULTILINE)
_SELECTION = re.compile(rb"\b(\w+)\s*\.\s*(\w+)")


def read(tree: Tree, found: Found) -> Facts:
    """The package, imports with the names taken from them, and package-level names of a Go file."""
    taken: defaultdict[str, set[str]] = defaultdict(set)
    if "import" in found:
        for operand, name in _SELECTION.findall(code(tree, found)):
            taken[operand.decode("utf-8", "replace")].add(name.decode("utf-8", "replace"))
    imports = []
    for node in found.get("import", ()):
        path, alias = node.child_by_field_name("path"), node.child_by_field_name("name")
        target = tree.text(path).strip('"`') if path else ""
        imports.append(Import(target, tuple(sorted(_taken(taken, target, tree.text(alias) if alias else "")))))
    declared = {tree.text(node) for node in found.get("declared", ())}
    packages = tuple(tree.text(node) for node in found.get("package", ())[:1])
    return Facts(imports=tuple(imports), packages=packages, declared=tuple(sorted(declared - {"_", "init", "main"})))


def resolve(files: Mapping[str, Facts], others: Mapping[str, str]) -> Iterator[Edge]:
    """Edges between the files of a repository's packages.

    Args:
        files: of all Go files, by path.
        others: texts of other files by path; go.mod is looked for. Without one, the module's path is guessed: what
            stands in imports before the folders of the repository most often.
    """
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in files:
        folders[folder(path)].append(path)
    declaring: dict[str, dict[str, list[str]]] = {place: _declaring(files, paths) for place, paths in folders.items()}
    modules = _modules(others) or _guessed(files, folders)
    for path, facts in files.items():
        weights: dict[str, float] = {}
        package = facts.packages[0].removesuffix("_test") if facts.packages else ""
        for word in facts.words:
            for target in declaring[folder(path)].get(word, ()):
                is_of_test = target.endswith("_test.go")
                if (package in files[target].packages and not is_of_test) or (is_of_test and path.endswith("_test.go")):
                    weights[target] = STRONG
        for item in facts.imports:
            place = _place(item.target, modules, folders)
            for target in _package_files(folders.get(place or "", ())) if place is not None else ():
                strong = any(target in declaring[place or ""].get(name, ()) for name in item.names)
                weights[target] = max(weights.get(target, 0), STRONG if strong else WEAK)
        yield from (Edge(path, target, weight) for target, weight in weights.items() if target != path)


def _taken(taken: Mapping[str, set[str]], target: str, alias: str) -> set[str]:
    """Names selected from an import: by its alias, or by the last part of its path as packages are usually named."""
    if alias:
        return taken.get(alias, set())
    parts = [part for part in target.split("/") if not re.fullmatch(r"v\d+", part)] or [""]
    last = parts[-1].removesuffix(".git")
    guesses = {last, last.split(".")[0], last.removeprefix("go-"), last.removesuffix("-go"), last.split("-")[-1]}
    return set().union(*(taken.get(guess, set()) for guess in guesses))


def _declaring(files: Mapping[str, Facts], paths: list[str]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        for name in files[path].declared:
            found[name].append(path)
    return found


def _modules(others: Mapping[str, str]) -> list[tuple[str, str]]:
    """(module's path, its folder), the longest first."""
    found = []
    for path, text in others.items():
        if path.rpartition("/")[2] == "go.mod" and (match := _MODULE.search(text)):
            found.append((match[1], folder(path)))
    return sorted(found, key=lambda item: (-len(item[0]), item))


def _guessed(files: Mapping[str, Facts], folders: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """The module's path by what most different imports have before a folder of the repository; else by the root's name.

    Paths of other modules seldom end with folders of this one.
    """
    votes: defaultdict[str, set[str]] = defaultdict(set)
    root = {name for path in folders.get("", ()) for name in files[path].packages}
    for target in {item.target for facts in files.values() for item in facts.imports}:
        parts = target.split("/")
        for end in range(1, len(parts) + 1) if "." in parts[0] else ():
            rest = "/".join(parts[end:])
            if rest in folders and (rest or parts[-1] in root):
                votes["/".join(parts[:end])].add(rest)
    if not votes:
        return []
    return [(max(votes, key=lambda module: (len(votes[module]), -len(module), module)), "")]


def _place(target: str, modules: list[tuple[str, str]], folders: Mapping[str, list[str]]) -> str | None:
    """The folder that an import path names."""
    for module, root in modules:
        if target == module or target.startswith(f"{module}/"):
            rest = target[len(module) + 1 :]
            return f"{root}/{rest}".strip("/")
    return None


def _package_files(paths: list[str] | tuple[()]) -> Iterator[str]:
    return (path for path in paths if not path.endswith("_test.go"))
