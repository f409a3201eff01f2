"""A training example between reading and tokenizing: files as pieces of text and control pieces, and back to files.

    <bos> file <|file_separator|> file <|file_separator|> … file end

A file is its path line and its text, or its path line and one of the two layouts of `keras_codegemma/fim.py`. The end
is that of the package's own `fit`: `<|file_separator|>` after a middle, as the published models write it, and `<eos>`
after a file that was left whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from keras_codegemma import fim
from keras_codegemma.fim import Part, Sentinel
from training.corpus.document import Document

START = "<bos>"
END = "<eos>"

ROLES = ("target", "context")
SHAPES = ("files", "context")
"""Every file infilled by its own chance, or whole files before one that may be infilled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fragment:
    """A document, or what is between two places of one that is too long for a row.

    Attributes:
        document: the whole of it.
        start: the first character.
        end: the character after the last.
        cut: what the document was split at where the fragment ends (`fitting.CUTS`); None at the document's end.
    """

    document: Document
    start: int
    end: int
    cut: str | None = None

    @property
    def text(self) -> str:
        """The characters of this fragment."""
        return self.document.text[self.start : self.end]

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the document."""
        return self.start == 0 and self.end == len(self.document.text)


def whole(document: Document) -> Fragment:
    """All of a document."""
    return Fragment(document=document, start=0, end=len(document.text))


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A stretch of an example.

    Attributes:
        kind: "path" (path line before a sentinel), "file" (path line and text, tokenized as one), "prefix", "suffix",
            "middle", or "control" (a control piece).
        text: its characters; of a control piece, its name.
    """

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenFile:
    """One file of an example.

    Attributes:
        fragment: where it comes from.
        role: "target", which is infilled by chance, or "context", which never is.
        layout: "psm", "spm", or None where it was left whole.
        span_kind: how the middle was chosen (`spans.KINDS`), or None.
        pieces: its pieces in order, without what stands between files.
    """

    fragment: Fragment
    role: str
    layout: str | None
    span_kind: str | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """Files that a model reads one after another.

    Attributes:
        files: at least one.
        shape: one of `SHAPES`.
    """

    files: tuple[WrittenFile, ...]
    shape: str

    def pieces(self) -> Iterator[Piece]:
        """Everything that is written, from `<bos>` to the end."""
        yield Piece(kind="control", text=START)
        for file in self.files[:-1]:
            yield from file.pieces
            yield Piece(kind="control", text=Sentinel.FILE_SEPARATOR.value)
        yield from self.files[-1].pieces
        yield Piece(kind="control", text=self.end)

    @property
    def end(self) -> str:
        """The control piece that ends it."""
        return END if self.files[-1].layout is None else Sentinel.FILE_SEPARATOR.value


def parts(pieces: Iterable[Piece]) -> list[Part | None]:
    """The pieces of an example as `fim` wants them; None for `<bos>` and `<eos>`, which it does not know."""
    sentinels = {sentinel.value: sentinel for sentinel in Sentinel}
    return [sentinels.get(piece.text) if piece.kind == "control" else piece.text for piece in pieces]


def read_files(parts: Iterable[Part | None]) -> tuple[tuple[str, str], ...]:
    """(path, text) of every file of an example, with middles put back; the path is empty where none is written.

    Args:
        parts: of a whole example as `parts` gives them, or as decoded from ids: text, sentinels, and None for `<bos>`
            and `<eos>`.

    Raises:
        ValueError: not an example.
    """
    files: list[list[Part]] = [[]]
    ended = False
    for part in parts:
        if ended:
            raise ValueError(f"An example must end at <eos>; got {part!r:.80} after it. Read examples one by one.")
        if part is None:
            ended = files != [[]]
        elif part is Sentinel.FILE_SEPARATOR:
            files.append([])
        else:
            files[-1].append(part)
    if not files[-1]:
        del files[-1]  # the separator that ends a middle
    return tuple(_read_file(file) for file in files)


def _read_file(file: list[Part]) -> tuple[str, str]:
    if any(isinstance(part, Sentinel) for part in file):
        infill = fim.parse(file)
        return infill.path or "", infill.prefix + (infill.middle or "") + infill.suffix
    path, newline, text = "".join(file).partition("\n")
    if not newline:
        raise ValueError(
            f"A file of an example must begin with its path and a line feed; got {path!r:.80}. Give what "
            "`Example.pieces` writes."
        )
    return path, text
