"""What travels through the corpus pipeline: a file as read, a document of text, and the record of a dropped file."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

_ENDINGS = {
    "bash": "sh bash",
    "batch": "bat cmd",
    "c": "c",
    "clojure": "clj cljs cljc",
    "cmake": "cmake",
    "cpp": "cpp cc cxx c++ h hh hpp hxx h++ inl ipp tpp cppm ixx cu cuh",
    "csharp": "cs csx",
    "css": "css",
    "cython": "pyx pxd pxi",
    "dart": "dart",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "fortran": "f for f77 f90 f95 f03 f08",
    "go": "go",
    "groovy": "groovy gradle",
    "haskell": "hs",
    "html": "html htm xhtml",
    "ini": "ini cfg conf properties",
    "java": "java",
    "javascript": "js mjs cjs jsx",
    "json": "json jsonl ndjson json5",
    "julia": "jl",
    "jupyter": "ipynb",
    "kotlin": "kt kts",
    "lua": "lua",
    "markdown": "md markdown mdx",
    "matlab": "m",
    "ocaml": "ml mli",
    "perl": "pl pm",
    "php": "php",
    "powershell": "ps1 psm1 psd1",
    "protobuf": "proto",
    "python": "py pyi pyw",
    "r": "r",
    "restructuredtext": "rst",
    "ruby": "rb rake gemspec",
    "rust": "rs",
    "scala": "scala sc sbt",
    "scss": "scss sass less",
    "sql": "sql",
    "svg": "svg",
    "swift": "swift",
    "tex": "tex sty",
    "text": "txt text",
    "toml": "toml",
    "typescript": "ts tsx mts cts",
    "vue": "vue",
    "xml": "xml xsd xsl xslt csproj nuspec props targets pom",
    "yaml": "yaml yml",
    "zig": "zig",
}
_BY_ENDING = {ending: language for language, endings in _ENDINGS.items() for ending in endings.split()}
_OTHER_NAMES = {
    "c#": "csharp",
    "c++": "cpp",
    "golang": "go",
    "js": "javascript",
    "jupyter-notebook": "jupyter",
    "jupyter notebook": "jupyter",
    "py": "python",
    "rst": "restructuredtext",
    "shell": "bash",
    "ts": "typescript",
    "tsx": "typescript",
}
_BY_NAME = {
    "cmakelists.txt": "cmake",
    "dockerfile": "dockerfile",
    "gemfile": "ruby",
    "go.mod": "gomod",
    "gnumakefile": "make",
    "makefile": "make",
    "rakefile": "ruby",
    "cargo.lock": "toml",
    "pipfile": "toml",
}
UNKNOWN_LANGUAGE = "unknown"
"""The language of a path whose name says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFile:
    """A file as a reader found it.

    Attributes:
        repository: what it belongs to, e.g. "pypi:requests" or "folder:myrepo".
        path: posix, relative to the repository's root, no leading "./".
        revision: version, commit, or SHA-256 of the archive.
        licence: SPDX expression of the repository, None if unknown.
        data: the file's bytes.
        language: where the source states one (a table's column); the path's name says it otherwise.
    """

    repository: str
    path: str
    revision: str
    licence: str | None
    data: bytes
    language: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A file as text.

    Attributes:
        repository: as in `RawFile`.
        path: as in `RawFile`.
        revision: as in `RawFile`.
        licence: as in `RawFile`.
        language: as `language_of` names it.
        text: the decoded file; its line ends are kept.
    """

    repository: str
    path: str
    revision: str
    licence: str | None
    language: str
    text: str

    @property
    def id(self) -> str:
        """Where the document comes from, as 32 hexadecimal characters; its text has no part in it."""
        return document_id(repository=self.repository, revision=self.revision, path=self.path)

    @property
    def size_bytes(self) -> int:
        """Length of the text in UTF-8."""
        return len(self.text) if self.text.isascii() else len(self.text.encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A file that goes no further.

    Attributes:
        document_id: as `document_id` gives it.
        repository: as in `RawFile`.
        path: as in `RawFile`; of an archive that cannot be read, the archive's own name.
        language: as `language_of` names it.
        licence: as in `RawFile`.
        size_bytes: of the file, as far as it is known.
        stage: of the pipeline: "read", "filter", "safety", "duplicates", "decontamination" and so on.
        reason: a short name in kebab case, e.g. "too-large".
        detail: what a reader of the report may want to know, e.g. the id of the duplicate that was kept.
    """

    document_id: str
    repository: str
    path: str
    language: str
    licence: str | None
    size_bytes: int
    stage: str
    reason: str
    detail: str = ""


def document_id(*, repository: str, revision: str, path: str) -> str:
    r"""BLAKE2b (128 bits) of repository, revision and path with "\0" between, as 32 hexadecimal characters."""
    origin = "\0".join((repository, revision, path)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(origin, digest_size=16).hexdigest()


def language_of(path: str) -> str:
    """The language that a file's name says, in lower case; `UNKNOWN_LANGUAGE` if it says none.

    Headers (.h) count as C++, whose grammar reads those of C as well; .c files are "c".
    """
    name = PurePosixPath(path).name.lower()
    if name in _BY_NAME:
        return _BY_NAME[name]
    return _BY_ENDING.get(name.rpartition(".")[2], UNKNOWN_LANGUAGE) if "." in name else UNKNOWN_LANGUAGE


def language_named(name: str) -> str:
    """A language's name in another data set ("C++", "Python") as ours ("cpp", "python")."""
    lower = name.strip().lower()
    return _OTHER_NAMES.get(lower, lower) or UNKNOWN_LANGUAGE


def ending_of(language: str) -> str:
    """The first ending of a language's files with its dot, for texts that have no path; empty if there is none."""
    endings = _ENDINGS.get(language, "")
    return f".{endings.split()[0]}" if endings else ""
