"""Other files of the same repository, to be shown to the model beside the file it completes. Plain Python.

Which files: those that git knows or would add, else those under the file's folder; text in a programming language, of
moderate size, no hidden ones. In which order: those that the file imports, then those in its own language, then the
nearest. The same files give the same result.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from keras_codegemma.fim import ContextFile

MAX_FILES = 32
MAX_FILE_BYTES = 100_000
MAX_LISTED_FILES = 20_000
"""Where a tree is larger, its rest is not looked at: a completion must not take minutes."""

_LANGUAGES = (
    {".py", ".pyi", ".pyx"},
    {".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".cu", ".cuh", ".m", ".mm"},
    {".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".vue", ".svelte"},
    {".java", ".kt", ".kts", ".scala", ".groovy"},
    {".cs", ".fs", ".vb"},
    *({suffix} for suffix in (".go", ".rs", ".rb", ".php", ".swift", ".dart", ".lua", ".jl", ".hs", ".ml", ".zig")),
    *({suffix} for suffix in (".sh", ".r", ".sql", ".pl", ".ex", ".exs", ".erl", ".clj", ".nim", ".proto")),
)
_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "venv", "site-packages", "build", "dist", "target", "vendor"}
_IMPORT_LINE = re.compile(
    r"^[ \t]*(?:from|import|#[ \t]*include|require|use|using|mod|export|const|let|var)\b.*$", re.MULTILINE
)
_WORD = re.compile(r"\w+")


def find_neighbours(file: Path, text: str, *, max_chars: int, max_files: int = MAX_FILES) -> list[ContextFile]:
    """(path, text) of other files, the most useful last, where the model looks most.

    Args:
        file: the file being completed.
        text: its contents, for its imports.
        max_chars: of all texts together; a file that does not fit is left out, and smaller ones are still tried.
        max_files: the most files.

    Returns:
        Paths relative to the repository, with forward slashes, and texts with lines that end in \\n.
    """
    own = file.resolve()
    root = repository_root(file)
    own_name = PurePosixPath(own.relative_to(root).as_posix())
    imported = set(_WORD.findall(" ".join(_IMPORT_LINE.findall(text))))
    names = sorted(
        (name for name in list_files(root) if name != own_name and _is_source(name, own_name)),
        key=lambda name: _rank(name, own_name, imported),
    )
    found: list[ContextFile] = []
    for name in names:
        if len(found) == max_files:
            break
        contents = read_text(root / name, max_bytes=min(MAX_FILE_BYTES, 4 * max_chars))
        if contents and len(contents) <= max_chars:
            found.append((str(name), contents))
            max_chars -= len(contents)
    return found[::-1]


def path_in_repository(file: Path) -> str:
    """The file's path relative to its repository, with forward slashes."""
    return file.resolve().relative_to(repository_root(file)).as_posix()


def repository_root(file: Path) -> Path:
    """The nearest folder above the file that has `.git`, else the file's own folder."""
    folder = file.resolve().parent
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)


def list_files(root: Path, *, hidden: bool = False) -> list[PurePosixPath]:
    """Files of a repository, relative to its root: those that git knows or would add, else those in its folder.

    Args:
        root: of the repository.
        hidden: whether to list what has a name that starts with a dot, too.
    """
    names = _listed_by_git(root) if (root / ".git").exists() else None
    if names is None:
        names = _walked(root)
    # Hidden files hold settings and secrets, also where git keeps them.
    paths = [PurePosixPath(name) for name in names]
    return [path for path in paths if hidden or not any(part.startswith(".") for part in path.parts)]


def is_source(name: PurePosixPath) -> bool:
    """Whether a file's name says that it is in a programming language."""
    return any(name.suffix.lower() in language for language in _LANGUAGES)


def _listed_by_git(root: Path) -> list[str] | None:
    """What git keeps or would add, or None where it cannot say."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        result = subprocess.run(command, capture_output=True, timeout=10, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    names = {os.fsdecode(name) for name in result.stdout.split(b"\0") if name}
    return sorted(names)[:MAX_LISTED_FILES]


def _walked(root: Path) -> Iterable[str]:
    names: list[str] = []
    for folder, subfolders, files in os.walk(root):
        # Hidden folders are left out here too: to walk through a virtual environment takes long.
        subfolders[:] = sorted(name for name in subfolders if name not in _SKIPPED_FOLDERS and not name.startswith("."))
        names += [(Path(folder) / name).relative_to(root).as_posix() for name in sorted(files)]
        if len(names) >= MAX_LISTED_FILES:
            break
    return names[:MAX_LISTED_FILES]


def _is_source(name: PurePosixPath, own: PurePosixPath) -> bool:
    return name.suffix.lower() == own.suffix.lower() != "" or is_source(name)


def _same_language(name: PurePosixPath, own: PurePosixPath) -> bool:
    first, second = name.suffix.lower(), own.suffix.lower()
    return first == second or any(first in language and second in language for language in _LANGUAGES)


def _rank(name: PurePosixPath, own: PurePosixPath, imported: set[str]) -> tuple[bool, bool, int, str]:
    """Sorts the most useful first."""
    # A package is imported by the name of its folder.
    module = name.parent.name if name.stem in ("__init__", "index", "mod") else name.stem
    same_language = _same_language(name, own)
    return (not (same_language and module in imported), not same_language, _distance(name, own), str(name))


def _distance(first: PurePosixPath, second: PurePosixPath) -> int:
    """Folders up and down from one file to the other."""
    a, b = first.parent.parts, second.parent.parts
    shared = 0
    while shared < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 1
    return len(a) + len(b) - 2 * shared


def read_text(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> str | None:
    """A file's text, or None where it is no plain text file of moderate size."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > max_bytes:
            return None
        contents = path.read_bytes()
        text = None if b"\0" in contents else contents.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    return None if text is None else "\n".join(_lines(text))


def _lines(text: str) -> Iterator[str]:
    return iter(re.split(r"\r\n|\n|\r", text))
