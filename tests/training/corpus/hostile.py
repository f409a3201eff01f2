"""Sources that want to break a build, each with the files they should be counted as and the reasons."""

import bz2
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keras_codegemma import fim
from tests.training.corpus.made_corpus import module

Reasons = dict[tuple[str, str], int]
"""How many files should be dropped, by stage and reason."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the bad input is.

    Attributes:
        line_bytes: of the line without an end.
        bomb_bytes: what the bombs unpack to.
        cycle_files: that import each other in a circle.
        nesting: brackets inside brackets.
    """

    line_bytes: int
    bomb_bytes: int
    cycle_files: int
    nesting: int


SMALL = Sizes(line_bytes=5 << 20, bomb_bytes=20 << 20, cycle_files=40, nesting=2000)
FULL = Sizes(line_bytes=100_000_000, bomb_bytes=1 << 30, cycle_files=5000, nesting=20_000)


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """One source.

    Attributes:
        path: of the folder or file; it need not be there.
        kept: how many files end up in the corpus.
        reasons: for the others.
    """

    path: Path
    kept: int = 0
    reasons: Reasons


def write(folder: Path, sizes: Sizes) -> list[Hostile]:
    """Makes all of them below a folder."""
    folder.mkdir(parents=True)
    return [
        _contents(folder / "contents", sizes),
        _links(folder / "links"),
        _cycle(folder / "cycle", sizes.cycle_files),
        *_empty(folder),
        *_broken(folder),
        *_bombs(folder, sizes.bomb_bytes),
        *_tables(folder),
        Hostile(path=folder / "missing", reasons={("read", "missing"): 1}),
    ]


def _contents(folder: Path, sizes: Sizes) -> Hostile:
    """Text that is none, or that looks like the pipeline's own commands."""
    sentinels = "".join(f"x = {piece!r}\n" for piece in fim.CONTROL_PIECES)
    kept = {
        "sentinels.py": (module(200) + sentinels).encode(),
        f"{fim.Sentinel.FIM_MIDDLE.value}.py": module(201).encode(),
        "western.py": (module(202) + "# déjà vu\n").encode("cp1252"),
        "marked.py": b"\xff\xfe" + module(203).encode("utf-16-le"),
        "declared.py": ("# coding: shift_jis\n" + module(204) + "# 日本語\n").encode("shift_jis"),
        "deep.py": (module(205) + "x = " + "call(\n" * sizes.nesting + ")\n" * sizes.nesting).encode(),
        "torn.py": module(206).encode() + b"def f(:\n  '''\n ((((\n\r\r\n\x0c",
    }
    dropped = {
        "null.py": (module(210).encode() + b"\0", "filter", "null-bytes"),
        "mixed.py": (
            module(211).encode() + "# 日本語 й\n".encode() + "# 日本語\n".encode("shift_jis"),
            "filter",
            "not-utf-8",
        ),
        "cut.py": (b"\xff\xfe" + module(212).encode("utf-16-le")[:-1], "filter", "not-utf-8"),
        "lone.py": (b"# coding: utf-7\n" + module(213).encode() + b"# +2AA- \xe9\n", "filter", "not-utf-8"),
        "noise.py": (bytes(range(1, 32)) * 100, "filter", "not-text"),
        "line.py": (b"x" * sizes.line_bytes, "read", "too-large"),
        "line_that_is_read.py": (b"x = 1;" * 170_000, "filter", "minified"),
        "bars.py": (module(214).encode() + "# ▁\n".encode(), "vocabulary", "not-exact"),
        "▁.py": (module(215).encode(), "vocabulary", "not-exact"),
        "line\nend.py": (module(216).encode(), "read", "bad-name"),
    }
    _write_all(folder, kept | {name: data for name, (data, *_) in dropped.items()})
    return Hostile(path=folder, kept=len(kept), reasons=_counted([key for _, *key in dropped.values()]))


def _links(folder: Path) -> Hostile:
    """Loops of links to files and to folders, and a link out of the folder."""
    _write_all(folder, {"a.py": module(220).encode()})
    for name, target in (("one.py", "two.py"), ("two.py", "one.py"), ("up", ".."), ("here", "."), ("out", "/etc")):
        (folder / name).symlink_to(target)
    return Hostile(path=folder, kept=1, reasons={("read", "link"): 5})


def _cycle(folder: Path, count: int) -> Hostile:
    """Each file imports the next, the last the first."""
    files = {f"m{n}.py": f"import m{(n + 1) % count}\n{module(1000 + n, functions=2)}".encode() for n in range(count)}
    _write_all(folder, files)
    return Hostile(path=folder, kept=count, reasons={})


def _empty(folder: Path) -> list[Hostile]:
    """Sources without a file."""
    (folder / "nothing" / "below").mkdir(parents=True)
    with tarfile.open(folder / "nothing.tar.gz", "w:gz"):
        pass
    (folder / "nothing.jsonl").touch()
    names = ("nothing", "nothing.tar.gz", "nothing.jsonl")
    return [Hostile(path=folder / name, reasons={("read", "empty-repository"): 1}) for name in names]


def _broken(folder: Path) -> list[Hostile]:
    """Archives that end early or never were ones; what stands before the damage stays."""
    whole = _tar({"a.py": module(230).encode(), "b.py": module(231, functions=200).encode()})
    other = _tar({"a.py": module(235).encode(), "b.py": module(231, functions=200).encode()})
    made = _zip({"a.py": module(232).encode(), "b.py": module(233).encode()})
    files = {
        "cut.tar.gz": (gzip.compress(whole, mtime=0)[:-2000], 1),
        "cut.tar.bz2": (bz2.compress(whole)[:-10], 0),
        "cut.tar": (other[:4000], 1),
        "cut.zip": (made[:-60], 0),
        "no.tar.gz": (b"<html>404</html>", 0),
        "no.whl": (b"", 0),
        "no.parquet": (b"PAR1 nothing PAR1", 0),
    }
    _write_all(folder, {name: data for name, (data, _) in files.items()})
    broken: Reasons = {("read", "broken-archive"): 1}
    found = [Hostile(path=folder / name, kept=kept, reasons=broken) for name, (_, kept) in files.items()]
    _write_all(folder, {"wrong.zip": _zip({"c.py": module(234).encode()}, spoil=True)})
    return [*found, Hostile(path=folder / "wrong.zip", reasons={("read", "broken-member"): 1})]


def _bombs(folder: Path, size: int) -> list[Hostile]:
    """A tar of one file of zeros, a zip of many, and an archive that climbs out and links in circles."""
    before = module(240).encode()
    with tarfile.open(folder / "bomb.tar.gz", "w:gz") as archive:
        _add(archive, "before.py", io.BytesIO(before), len(before))
        _add(archive, "bomb.py", _Zeros(), size)
        _add(archive, "after.py", io.BytesIO(before), len(before))
    part = 1 << 20
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for number in range(size // part):
            zipped.writestr(f"{number}.py", bytes(part))
    unpacked = max(_SMALL_ARCHIVE_BYTES, _ARCHIVE_RATIO * (folder / "bomb.zip").stat().st_size)
    climbing = {"../../out.py": before, "/etc/out.py": before, "a.py": module(241).encode()}
    links = []
    for name, target in (("x.py", "y.py"), ("y.py", "x.py")):
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, target
        links.append(link)
    (folder / "climbs.tar").write_bytes(_tar(climbing, *links))
    return [
        Hostile(path=folder / "bomb.tar.gz", kept=1, reasons={("read", "too-large"): 1, ("read", "archive-bomb"): 1}),
        Hostile(
            # Zeros above the limits are not unpacked; those before are no text.
            path=folder / "bomb.zip",
            reasons={("filter", "null-bytes"): unpacked // part, ("read", "archive-bomb"): 1},
        ),
        Hostile(path=folder / "climbs.tar", kept=1, reasons={("read", "path-traversal"): 2, ("read", "link"): 2}),
    ]


_SMALL_ARCHIVE_BYTES, _ARCHIVE_RATIO = 16 << 20, 200
"""What an archive may unpack to, whatever its own size and as a multiple of it (`Limits`)."""


def _tables(folder: Path) -> list[Hostile]:
    """Rows that are no JSON, no object, no text, or have names that no file may have."""
    good = {"repository": "table/good", "path": "a.py", "text": module(250)}
    lines = [
        json.dumps(good),
        "{half",
        "[" * 100_000,
        '"text"',
        json.dumps({"path": "b.py", "text": 7}),
        json.dumps({"path": "c.py", "text": "x\ud800"}),
        json.dumps({"path": "../d.py", "text": module(251)}),
        json.dumps({"path": "e\ud800.py", "text": module(252)}),
        json.dumps({"repository": "r\ud800", "path": "f.py", "text": module(253)}),
        json.dumps({"repository": "two\nlines", "path": "g.py", "text": module(254)}),
        json.dumps({"repository": "r", "path": "h.py", "licence": "\ud800", "text": module(255)}),
        json.dumps({"repository": "r", "path": "i", "language": "\ud800", "text": module(256)}),
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    reasons: Reasons = {
        ("read", "broken-row"): 8,
        ("read", "no-text"): 1,
        ("read", "path-traversal"): 1,
        ("read", "bad-name"): 1,
    }
    return [Hostile(path=folder / "rows.jsonl", kept=1, reasons=reasons)]


def total(sources: list[Hostile]) -> Reasons:
    """The reasons of all sources together."""
    return _counted([key for source in sources for key, count in source.reasons.items() for _ in range(count)])


def _counted(keys: list) -> Reasons:
    counts: Reasons = {}
    for stage, reason in keys:
        counts[stage, reason] = counts.get((stage, reason), 0) + 1
    return counts


class _Zeros(io.RawIOBase):
    """Zeros without end."""

    def read(self, size: int = -1, /) -> bytes:
        return bytes(size)


def _add(archive: tarfile.TarFile, name: str, data: io.RawIOBase | io.BytesIO, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    archive.addfile(info, data)  # type: ignore[arg-type] # it only reads


def _tar(files: Mapping[str, bytes], *infos: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            _add(archive, name, io.BytesIO(data), len(data))
        for info in infos:
            archive.addfile(info)
    return buffer.getvalue()


def _zip(files: Mapping[str, bytes], *, spoil: bool = False) -> bytes:
    """A zip archive; a spoiled one has a byte of its first member changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    data = bytearray(buffer.getvalue())
    if spoil:
        data[100] ^= 1
    return bytes(data)


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
