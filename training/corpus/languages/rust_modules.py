"""The crates of a repository as trees of modules, and which file a Rust path leads to.

Better than matching text: modules are followed from the roots of crates through their declarations, `#[path]`
included, as the compiler does; a path leads to the file that defines a name, through `pub use`, not to the root that
hands it on; crates of the same workspace are found by the names in their Cargo.toml.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from training.corpus.languages.facts import STRONG, WEAK, Facts
from training.corpus.languages.paths import folder, joined

_ROOT = re.compile(
    r"(^|/)(src/(lib|main)\.rs|src/bin/[^/]+\.rs|src/bin/[^/]+/main\.rs|build\.rs"
    r"|(tests|examples|benches)/[^/]+\.rs|(tests|examples|benches)/[^/]+/main\.rs)$"
)
_HANDED_ON = 4
"""How many `pub use` are followed for one name."""


class Modules:
    """The module of every file.

    Args:
        files: all Rust files, by path.
        others: texts of other files by path.
    """

    def __init__(self, files: Mapping[str, Facts], others: Mapping[str, str]) -> None:
        self._files = files
        self._children: dict[str, dict[str, str]] = {}
        self._parent: dict[str, str] = {}
        self._root: dict[str, str] = {}
        self._crates: dict[str, str] = {}
        extra = [root for path, text in sorted(others.items()) for root in self._crate(path, text)]
        roots = sorted({path for path in files if _ROOT.search(path)}.union(extra), key=_root_order)
        for root in roots:
            self._grow(root, root)
        for path in sorted(files):
            if path not in self._root:
                self._grow(path, path)

    def children(self, path: str) -> Mapping[str, str]:
        """The files of the modules that a file declares, by name."""
        return self._children.get(path, {})

    def find(self, target: str, importer: str) -> Iterator[tuple[str, float]]:
        """The files that a path in a file leads to, with weights: weak are those that only hand a name on."""
        first, _, rest = target.removeprefix("::").partition("::")
        place = self._start(first, importer)
        if place is not None:
            yield from self._walk(place, rest.split("::") if rest else [], hops=_HANDED_ON)

    def _start(self, first: str, importer: str) -> str | None:
        if first == "crate" or first == "$crate":
            return self._root[importer]
        if first == "self":
            return importer
        if first == "super":
            return self._parent.get(importer)
        own = self.children(importer).get(first) or self._crates.get(first)
        return own or self.children(self._root[importer]).get(first)

    def _walk(self, place: str, names: list[str], *, hops: int) -> Iterator[tuple[str, float]]:
        index = 0
        while index < len(names):
            name = names[index]
            if name == "super":
                following = self._parent.get(place)
            else:
                following = place if name == "self" else self.children(place).get(name)
            if following is None:
                break
            place, index = following, index + 1
        definer = self._handed_on(place, names[index:], hops=hops)
        if definer is None:
            yield place, STRONG
        else:
            yield place, WEAK
            yield from definer

    def _handed_on(self, place: str, names: list[str], *, hops: int) -> list[tuple[str, float]] | None:
        """Where a name comes from that a file does not declare but brings in."""
        if not names or not hops or names[0] in self._files[place].declared:
            return None
        for item in self._files[place].imports:
            if item.kind in ("pub use", "use") and names[0] in item.names:
                first, _, rest = item.target.partition("::")
                start = self._start(first, place)
                if start is not None and (start != place or rest):
                    return list(self._walk(start, [*(rest.split("::") if rest else []), *names[1:]], hops=hops - 1))
        for item in self._files[place].imports:
            if item.kind == "pub use" and item.names == ("*",):
                first, _, rest = item.target.partition("::")
                start = self._start(first, place)
                found = self._descend(start, rest.split("::") if rest else []) if start else None
                if found and found != place and names[0] in self._files[found].declared:
                    return [(found, STRONG)]
        return None

    def _descend(self, place: str, names: list[str]) -> str | None:
        for name in names:
            following = self.children(place).get(name)
            if following is None:
                return None
            place = following
        return place

    def _grow(self, path: str, root: str) -> None:
        """Follows the modules that a file declares, and theirs; a file that several crates share belongs to one."""
        waiting = [(path, root)]
        while waiting:
            path, root = waiting.pop()
            if path in self._root or path not in self._files:
                continue
            self._root[path] = root
            children = self._children[path] = {}
            for item in self._files[path].imports:
                found = self._declared(item.target, item.names, path, is_root=path == root)
                if item.kind == "mod" and found:
                    children[item.target.rpartition("/")[2]] = found
                    self._parent.setdefault(found, path)
                    waiting.append((found, root))

    def _declared(self, target: str, place: tuple[str, ...], path: str, *, is_root: bool) -> str | None:
        base = folder(path)
        if place:
            found = joined(base, place[0])
            return found if found in self._files else None
        stem = path.rpartition("/")[2].removesuffix(".rs")
        inner = base if is_root or stem == "mod" else f"{base}/{stem}" if base else stem
        prefix = f"{inner}/{target}" if inner else target
        return next((name for name in (f"{prefix}.rs", f"{prefix}/mod.rs") if name in self._files), None)

    def _crate(self, path: str, text: str) -> Iterator[str]:
        """Takes a crate's name from its Cargo.toml, and gives roots that it puts in unusual places."""
        if path.rpartition("/")[2] != "Cargo.toml":
            return
        try:
            manifest = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError):
            return
        package, library = _table(manifest, "package"), _table(manifest, "lib")
        place = joined(folder(path), str(library.get("path", "src/lib.rs")))
        name = library.get("name") or package.get("name")
        if isinstance(name, str) and place is not None and place in self._files:
            self._crates.setdefault(name.replace("-", "_"), place)
            yield place
        for kind in ("bin", "test", "example", "bench"):
            tables = manifest.get(kind)
            for table in tables if isinstance(tables, list) else ():
                place = joined(folder(path), str(table.get("path", ""))) if isinstance(table, dict) else None
                if place is not None and place in self._files:
                    yield place


def _table(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, dict) else {}


def _root_order(path: str) -> tuple[bool, str]:
    """Libraries first: what they share with a program is theirs."""
    return not path.endswith("lib.rs"), path
