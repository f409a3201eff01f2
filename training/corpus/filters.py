"""Decides which files become documents: size, encoding, language, vendored, generated, minified, quality, licence.

Each refusal has a name (`REASONS`); the first that holds, in that order, is counted. The numbers come from published
pipelines, and the settings say from which; they are our reading of the papers, not measured anew:

- Codex (Chen et al. 2021, arXiv 2107.03374, section 3.1): mean line above 100 characters, longest above 1000, or a
  small share of alphanumeric characters.
- StarCoder2 (Lozhkov et al. 2024, arXiv 2402.19173, section 3.1): the same lines with exempt languages, at least 25%
  alphabetic characters, at most 100 000 lines, encoded data, markers of generated files.
- Gopher (Rae et al. 2021, arXiv 2112.11446, table A1): repeated lines.
"""

import re
from dataclasses import dataclass, field

from keras_codegemma.fim import CONTROL_PIECES
from training.corpus import generated, licences
from training.corpus.decoding import NotTextError, decode
from training.corpus.document import Document, Dropped, RawFile, document_id, language_of

SOURCE_LANGUAGES = frozenset(
    {
        *("python", "javascript", "typescript", "java", "kotlin", "go", "cpp", "csharp", "rust", "c", "cython"),
        *("bash", "batch", "clojure", "cmake", "css", "dart", "dockerfile", "elixir", "erlang", "fortran", "groovy"),
        *("haskell", "html", "julia", "lua", "make", "ocaml", "perl", "php", "powershell", "protobuf", "r", "ruby"),
        *("scala", "scss", "sql", "swift", "vue", "zig"),
    }
)
TEXT_LANGUAGES = frozenset({"markdown", "restructuredtext", "text", "tex"})
DATA_LANGUAGES = frozenset({"toml", "yaml", "json", "xml", "ini", "gomod", "svg", "jupyter"})

REASONS = (
    *("too-large", "empty", "lfs-pointer", "null-bytes", "not-utf-8", "not-text", "language-not-wanted", "vendored"),
    *("generated", "too-many-lines", "minified", "long-line", "encoded-data", "low-alphabetic", "repeated-lines"),
    *("licence-unknown", "licence-not-allowed"),
)
"""Every reason, in the order of the checks."""


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """What passes.

    Attributes:
        most_bytes: of a file. The Stack (Kocetkov et al. 2022, arXiv 2211.15533) left out files above 1 MB.
        languages: as `document.language_of` names them; None takes all, files of no known language included.
        licences: SPDX names; None takes all, unknown ones included.
        keep_vendored: whether copies of other projects' code stay.
        keep_generated: whether code that programs wrote stays.
        most_lines: StarCoder2.
        most_mean_line_chars: Codex; of lines that are not blank, in source languages only, and not in files shorter
            than the longest line allowed.
        most_line_chars: Codex; in source languages only.
        most_encoded_chars: StarCoder2; the longest run of base64, hexadecimal or Unicode escapes.
        most_encoded_rate: StarCoder2; share of such runs.
        least_alphabetic_rate: StarCoder2; letters to characters that are no blanks.
        most_repeated_rate: share of lines that stood in the file before, blank and short ones aside. Gopher's limit
            for web pages is 0.30; tests, changelogs and references of real projects reach 0.7, so this is ours.
    """

    most_bytes: int = 1 << 20
    languages: frozenset[str] | None = field(default=SOURCE_LANGUAGES | TEXT_LANGUAGES | {"toml", "yaml"})
    licences: frozenset[str] | None = field(default=licences.PERMISSIVE)
    keep_vendored: bool = False
    keep_generated: bool = False
    most_lines: int = 100_000
    most_mean_line_chars: float = 100.0
    most_line_chars: int = 1000
    most_encoded_chars: int = 1024
    most_encoded_rate: float = 0.5
    least_alphabetic_rate: float = 0.25
    most_repeated_rate: float = 0.75

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_rate") and not 0 <= value <= 1:
                raise ValueError(f"A rate lies in [0, 1]; got {name}={value}. Give a share, not a percentage.")
            if name.startswith("most_") and not value > 0:
                raise ValueError(f"A limit is above 0; got {name}={value}. Give a larger one.")


class FileFilter:
    """Makes documents of files, or says why not. Calling it has no effects, so that workers can share it."""

    def __init__(self, settings: FilterSettings | None = None) -> None:
        self.settings = settings or FilterSettings()

    def __call__(self, raw: RawFile) -> Document | Dropped:
        """The file as a document, or the first reason against it."""
        language = raw.language or language_of(raw.path)
        if reason := self._by_name_and_size(raw, language):
            return _dropped(raw, language, raw.licence, *reason)
        try:
            text = decode(raw.data)
        except NotTextError as error:
            return _dropped(raw, language, raw.licence, error.reason, str(error))
        licence = licences.of_file(text, repository=raw.licence)
        for check in (self._generated, self._lines, self._content):
            if reason := check(raw.path, text, language):
                return _dropped(raw, language, licence, *reason)
        if reason := self._licence(licence):
            return _dropped(raw, language, licence, *reason)
        return Document(
            repository=raw.repository,
            path=raw.path,
            revision=raw.revision,
            licence=licence,
            language=language,
            text=text,
        )

    def _by_name_and_size(self, raw: RawFile, language: str) -> tuple[str, str] | None:
        settings = self.settings
        if len(raw.data) > settings.most_bytes:
            return "too-large", f"above {settings.most_bytes}"
        if not raw.data or raw.data.isspace():
            return "empty", ""
        if raw.data.startswith(b"version https://git-lfs.github.com/spec/"):
            return "lfs-pointer", ""
        if settings.languages is not None and language not in settings.languages:
            return "language-not-wanted", language
        if not settings.keep_vendored and (part := generated.vendored_part(raw.path)):
            return "vendored", part
        if not settings.keep_generated and generated.is_generated_name(raw.path):
            return "generated", "name"
        return None

    def _generated(self, path: str, text: str, language: str) -> tuple[str, str] | None:
        if self.settings.keep_generated or language in TEXT_LANGUAGES:
            return None
        marker = generated.marker(text)
        return ("generated", marker) if marker else None

    def _lines(self, path: str, text: str, language: str) -> tuple[str, str] | None:
        settings = self.settings
        lines = text.split("\n")
        if len(lines) > settings.most_lines:
            return "too-many-lines", str(len(lines))
        if language in SOURCE_LANGUAGES and language != "html":
            longest = max(map(len, lines))
            filled = len(lines) - lines.count("")
            mean = len(text) / max(1, filled)
            if generated.is_minified_name(path) or (
                mean > settings.most_mean_line_chars and len(text) > settings.most_line_chars
            ):
                return "minified", f"{filled} lines of {mean:.0f} characters"
            if longest > settings.most_line_chars:
                return "long-line", str(longest)
        return self._repeated(lines)

    def _repeated(self, lines: list[str]) -> tuple[str, str] | None:
        counted = [line for line in lines if len(line) > _SHORT_LINE_CHARS]
        if len(counted) < _FEW_LINES:
            return None
        rate = 1 - len(set(counted)) / len(counted)
        return ("repeated-lines", f"{rate:.2f}") if rate > self.settings.most_repeated_rate else None

    def _content(self, path: str, text: str, language: str) -> tuple[str, str] | None:
        settings = self.settings
        packed = text.encode().translate(None, b" \t\r\n\f\v")
        letters = len(packed) - len(packed.translate(None, _LETTERS))
        if language not in DATA_LANGUAGES and letters < settings.least_alphabetic_rate * len(packed):
            return "low-alphabetic", f"{letters / len(packed):.2f}"
        return self._encoded(text, digits=len(packed) - len(packed.translate(None, _DIGITS)))

    def _encoded(self, text: str, *, digits: int) -> tuple[str, str] | None:
        runs = [match.end() - match.start() for match in _BASE64.finditer(text)]
        if digits > _DIGITS_OF_TABLES * len(text):
            runs += [match.end() - match.start() for match in _HEXADECIMAL.finditer(text)]
        if "\\u" in text:
            runs += [match.end() - match.start() for match in _ESCAPES.finditer(text)]
        if runs and max(runs) > self.settings.most_encoded_chars:
            return "encoded-data", f"{max(runs)} characters in one run"
        if sum(runs) > self.settings.most_encoded_rate * len(text):
            return "encoded-data", f"{sum(runs) / len(text):.2f} of the file"
        return None

    def _licence(self, licence: str | None) -> tuple[str, str] | None:
        allowed = self.settings.licences
        if allowed is None:
            return None
        if licence is None:
            return "licence-unknown", ""
        return None if licences.is_allowed(licence, allowed=allowed) else ("licence-not-allowed", licence)


def control_pieces(text: str) -> dict[str, int]:
    """How often a text spells the tokenizer's commands (`fim.CONTROL_PIECES`), by piece.

    Such text stays and stays text, because pieces are joined by ids; reports count it.
    """
    if "<" not in text:
        return {}
    counts = {piece: text.count(piece) for piece in CONTROL_PIECES}
    return {piece: count for piece, count in counts.items() if count}


_SHORT_LINE_CHARS = 12
"""Closing brackets, `else:`, `return None` and the like repeat in all code."""
_FEW_LINES = 40
_LETTERS = bytes(range(ord("A"), ord("Z") + 1)) + bytes(range(ord("a"), ord("z") + 1)) + bytes(range(0x80, 0x100))
"""ASCII letters, and all bytes of UTF-8 beyond: nearly all of those are letters of other scripts."""
_DIGITS = b"0123456789"
_DIGITS_OF_TABLES = 0.15
"""A table of bytes as "0x1f, " has about 1 digit and a half in 6 characters, so below this none covers half a file."""
_BASE64 = re.compile(r"[a-zA-Z0-9+/\n=]{64,}")
_HEXADECIMAL = re.compile(r"(?:(?:\b0x|\\x|\b)[0-9a-fA-F]{2}[,\s]*){8,}")
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}")


def _dropped(raw: RawFile, language: str, licence: str | None, reason: str, detail: str) -> Dropped:
    return Dropped(
        document_id=document_id(repository=raw.repository, revision=raw.revision, path=raw.path),
        repository=raw.repository,
        path=raw.path,
        language=language,
        licence=licence,
        size_bytes=len(raw.data),
        stage="filter",
        reason=reason,
        detail=detail,
    )
