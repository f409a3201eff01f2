"""Which file an import of JavaScript or TypeScript names, as Node, TypeScript and bundlers look for it.

Better than matching text: extensions and index files are tried in the tools' order; ".js" in TypeScript means the .ts
file; packages of the same repository are found by the names in their package.json, and by its `exports` and `imports`;
`paths` and `baseUrl` of tsconfig.json are followed.
"""

import json
import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from training.corpus.languages.paths import folder, joined

_ENDINGS = (".ts", ".tsx", ".d.ts", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".d.mts", ".d.cts")
_SOURCES = {".js": (".ts", ".tsx", ".d.ts", ".jsx"), ".mjs": (".mts", ".d.mts"), ".cjs": (".cts", ".d.cts")}
_SOURCES[".jsx"] = (".tsx",)
_BUILT = re.compile(r"^(dist|lib|build|out|es|esm|cjs|types)(/(esm|cjs|es|types|src))?/")
_ALIASES = {"@/": ("src/", ""), "~/": ("src/", ""), "@@/": ("",), "~~/": ("",)}
"""What bundlers' templates call a project's sources; tried where no tsconfig.json says it."""

_NOT_JSON = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)


class Resolver:
    """Finds the files that imports name.

    Args:
        files: paths of all scripts.
        others: texts of other files by path.
    """

    def __init__(self, files: Container[str], others: Mapping[str, str]) -> None:
        self._files = files
        self._packages: dict[str, tuple[str, dict[str, Any]]] = {}
        self._manifests: dict[str, dict[str, Any]] = {}
        self._configs: dict[str, dict[str, Any]] = {}
        for path in sorted(others, key=lambda path: (path.count("/"), path)):
            name = path.rpartition("/")[2]
            if name == "package.json" and (manifest := _parsed(others[path])):
                self._manifests[folder(path)] = manifest
                if isinstance(manifest.get("name"), str):
                    self._packages.setdefault(manifest["name"], (folder(path), manifest))
            elif re.fullmatch(r"(ts|js)config(\.base)?\.json", name) and (config := _parsed(others[path])):
                options = config.get("compilerOptions")
                if isinstance(options, dict) and (options.keys() & {"paths", "baseUrl"}):
                    self._configs[folder(path)] = options

    def find(self, target: str, importer: str) -> str | None:
        """The file that an import in a file names; None if it is none of the repository."""
        target = target.partition("?")[0].partition("!")[0] if not target.startswith("!") else target
        places = self._relative(target, importer) if target.startswith(".") else self._named(target, importer)
        return next((found for place in places if (found := self._file(place)) and found != importer), None)

    def _relative(self, target: str, importer: str) -> Iterator[str]:
        place = joined(folder(importer), target)
        if place is not None:
            yield place

    def _named(self, target: str, importer: str) -> Iterator[str]:
        if target.startswith("/"):
            yield target[1:]
        yield from self._mapped(target, importer)
        yield from self._own(target, importer)
        parts = target.split("/")
        for count in (2, 1):
            if found := self._packages.get("/".join(parts[:count])):
                yield from _entries(*found, "/".join(parts[count:]))
        for alias, roots in _ALIASES.items():
            if target.startswith(alias):
                for base in _above(importer):
                    yield from (f"{base}{root}{target.removeprefix(alias)}" for root in roots)

    def _mapped(self, target: str, importer: str) -> Iterator[str]:
        """By `paths`, then `baseUrl`, of the nearest tsconfig.json above that has them."""
        inside = [place for place in self._configs if not place or importer.startswith(f"{place}/")]
        for place in sorted(inside, key=lambda place: (-len(place), place)):
            options = self._configs[place]
            base = joined(place, str(options.get("baseUrl", ".")))
            paths = options.get("paths")
            for pattern, replacements in (paths if isinstance(paths, dict) else {}).items():
                star = _star(pattern, target)
                for replacement in replacements if star is not None and isinstance(replacements, list) else ():
                    if (found := joined(base or "", str(replacement).replace("*", star or "", 1))) is not None:
                        yield found
            if "baseUrl" in options and (found := joined(base or "", target)) is not None:
                yield found

    def _own(self, target: str, importer: str) -> Iterator[str]:
        """`imports` of the package that the file belongs to: names that begin with "#"."""
        if not target.startswith("#"):
            return
        for base in _above(importer):
            imports = self._manifests.get(base.rstrip("/"), {}).get("imports")
            if isinstance(imports, dict):
                for pattern, value in imports.items():
                    if (star := _star(pattern, target)) is not None:
                        yield from (joined(base, path.replace("*", star)) or "" for path in _strings(value))

    def _file(self, place: str) -> str | None:
        """A file by its path, with or without ending, or a folder by its index."""
        if place in self._files:
            return place
        stem, dot, ending = place.rpartition(".")
        for other in _SOURCES.get(f"{dot}{ending}", ()):
            if stem + other in self._files:
                return stem + other
        for middle in ("", "/index"):
            for ending in _ENDINGS:
                found = f"{place}{middle}{ending}".lstrip("/")
                if found in self._files:
                    return found
        manifest = self._manifests.get(place)
        main = manifest.get("main") if manifest else None
        inner = joined(place, main) if isinstance(main, str) else None
        return self._file(inner) if inner and inner != place else None


def _entries(place: str, manifest: Mapping[str, Any], rest: str) -> Iterator[str]:
    """The files that may be meant by a package's name and what follows it; built files stand for their sources."""
    exports = manifest.get("exports")
    wanted = f"./{rest}" if rest else "."
    found: list[str] = []
    if isinstance(exports, dict) and any(str(key).startswith(".") for key in exports):
        for pattern, value in exports.items():
            if (star := _star(pattern, wanted)) is not None:
                found += [path.replace("*", star) for path in _strings(value)]
    elif exports is not None and not rest:
        found += _strings(exports)
    if not rest:
        found += [manifest[key] for key in ("source", "module", "main", "types") if isinstance(manifest.get(key), str)]
    for path in [*found, rest, f"src/{rest}", "src/index" if not rest else f"lib/{rest}"]:
        plain = path.removeprefix("./")
        for candidate in (plain, _BUILT.sub("src/", plain), _BUILT.sub("", plain)):
            if (inner := joined(place, candidate)) is not None:
                yield inner


def _star(pattern: str, target: str) -> str | None:
    """What "*" of a pattern stands for; empty where it has none and is the target; None if it does not fit."""
    before, star, after = pattern.partition("*")
    if not star:
        return "" if pattern == target else None
    fits = target.startswith(before) and target.endswith(after) and len(target) >= len(before) + len(after)
    return target[len(before) : len(target) - len(after)] if fits else None


def _strings(value: Any) -> list[str]:
    """All paths in a value of `exports`: conditions nest."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [path for item in inner for path in _strings(item)]


def _above(path: str) -> Iterator[str]:
    """The folders around a file, the nearest first, each with "/" at its end; the root is empty."""
    place = folder(path)
    while place:
        yield f"{place}/"
        place = folder(place)
    yield ""


def _parsed(text: str) -> dict[str, Any] | None:
    """JSON with comments and commas too many; None if it cannot be read, so that the file has no say."""
    try:
        found = json.loads(_NOT_JSON.sub(lambda match: match[1] or "", text))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
