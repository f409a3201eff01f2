"""Archives, good and hostile: every member is one `RawFile` or one `Dropped`, and nothing ends the build."""

import bz2
import gzip
import hashlib
import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import reading
from training.corpus.document import Dropped, RawFile
from training.corpus.reading import archives
from training.corpus.reading.origin import Limits

FILES = {"a.py": b"x = 1\n", "b/c.txt": b"text", "b/empty": b""}
PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": None}


def tar_bytes(files: Mapping[str, bytes], *infos: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in infos:
            archive.addfile(info)
    return buffer.getvalue()


def packed(data: bytes, ending: str) -> bytes:
    if ending == ".zst":
        return pyarrow.compress(data, codec="zstd", asbytes=True)
    return PACKERS[ending](data)


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read(path: Path, **limits: float) -> tuple[dict[str, bytes], list[Dropped]]:
    items = list(archives.read(path, limits=Limits(**limits) if limits else None))
    files = {item.path: item.data for item in items if isinstance(item, RawFile)}
    dropped = [item for item in items if isinstance(item, Dropped)]
    assert len(files) + len(dropped) == len(items)
    return files, dropped


def reasons(dropped: list[Dropped]) -> Counter[str]:
    return Counter(item.reason for item in dropped)


@pytest.mark.parametrize("ending", PACKERS)
def test_a_tar_is_read_however_it_is_packed(tmp_path: Path, ending: str):
    path = write(tmp_path / f"p-1.tar{ending}", packed(tar_bytes(FILES), ending))
    assert read(path) == (FILES, [])


@pytest.mark.parametrize("name", ["p.zip", "p-1-py3-none-any.whl"])
def test_a_zip_is_read(tmp_path: Path, name: str):
    assert read(write_zip(tmp_path / name, FILES)) == (FILES, [])


@pytest.mark.parametrize(("name", "ending"), [("p-1.crate", ".gz"), ("p-1.tgz", ".gz"), ("p_1.orig.tar.xz", ".xz")])
def test_the_folder_that_all_files_share_is_left_out_of_paths(tmp_path: Path, name: str, ending: str):
    inside = {f"p-1/{path}": data for path, data in FILES.items()}
    assert read(write(tmp_path / name, packed(tar_bytes(inside), ending)))[0] == FILES
    assert read(write_zip(tmp_path / "p.zip", inside))[0] == FILES


def test_debian_s_own_folder_is_kept(tmp_path: Path):
    path = write(tmp_path / "p_1-1.debian.tar.xz", lzma.compress(tar_bytes({"debian/rules": b"x"})))
    assert set(read(path)[0]) == {"debian/rules"}


def test_files_carry_the_archive_s_name_hash_and_licence(tmp_path: Path):
    files = {"p-1/package.json": b'{"license": "MIT"}', "p-1/a.js": b"1"}
    path = write(tmp_path / "p-1.tgz", gzip.compress(tar_bytes(files)))
    items = [item for item in archives.read(path) if isinstance(item, RawFile)]
    assert {item.repository for item in items} == {"archive:p-1.tgz"}
    assert {item.revision for item in items} == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert {item.licence for item in items} == {"MIT"}
    (item, _) = archives.read(path, repository="npm:p", revision="1", licence="ISC")
    assert (item.repository, item.revision, item.licence) == ("npm:p", "1", "ISC")


def test_the_general_reader_finds_archives_by_name_and_by_content(tmp_path: Path):
    for name in ("p.tar", "noname", "p.jar"):
        data = tar_bytes(FILES) if name != "p.jar" else write_zip(tmp_path / "z", FILES).read_bytes()
        path = write(tmp_path / name, data)
        assert len(list(reading.read(path))) == len(FILES)


NAMES = st.text("ab./\\", min_size=1, max_size=8)


@given(names=st.lists(NAMES, max_size=8), kind=st.sampled_from(["tar", "zip"]))
def test_every_member_is_seen_once(tmp_path_factory: pytest.TempPathFactory, names: list[str], kind: str):
    """Whatever the names, the number of files in is the number of items out, and no path leaves the root."""
    folder = tmp_path_factory.mktemp("archive")
    buffer = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name), None)
        count = len(names)
    else:
        names = list(dict.fromkeys(name for name in names if not name.endswith("/")))
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name), b"")
        count = len(names)
    items = list(archives.read(write(folder / f"p.{kind}", buffer.getvalue())))
    if not count:
        assert [item.reason for item in items if isinstance(item, Dropped)] == ["empty-repository"]
        return
    assert len(items) == count
    paths = [item.path for item in items if isinstance(item, RawFile)]
    assert len(set(paths)) == len(paths)
    assert not any(path.startswith("/") or ".." in path.split("/") or "\\" in path for path in paths)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil", "path-traversal"),
        ("a/../../evil", "path-traversal"),
        ("/etc/passwd", "path-traversal"),
        ("..\\evil", "path-traversal"),
        ("C:\\evil", "path-traversal"),
        ("a\nb", "bad-name"),
        ("a/..", "bad-name"),
    ],
)
def test_a_name_that_is_not_safe_is_dropped(tmp_path: Path, name: str, reason: str):
    tar = write(tmp_path / "p.tar", tar_bytes({"ok": b"1", name: b"2"}))
    for path in (tar, write_zip(tmp_path / "p.zip", {"ok": b"1", name: b"2"})):
        files, dropped = read(path)
        assert files == {"ok": b"1"}
        assert reasons(dropped) == {reason: 1}


def test_a_harmless_detour_in_a_name_is_resolved(tmp_path: Path):
    assert read(write(tmp_path / "p.tar", tar_bytes({"./a/../b": b"1", "c": b"2"})))[0] == {"b": b"1", "c": b"2"}


def test_the_second_member_of_a_name_is_dropped(tmp_path: Path):
    data = tar_bytes({"a": b"1", "./a": b"2"})
    files, dropped = read(write(tmp_path / "p.tar", data))
    assert files == {"a": b"1"}
    assert reasons(dropped) == {"repeated-path": 1}


def test_links_and_devices_are_dropped(tmp_path: Path):
    infos = []
    for name, kind in (("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("c", tarfile.CHRTYPE), ("f", tarfile.FIFOTYPE)):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        infos.append(info)
    files, dropped = read(write(tmp_path / "p.tar", tar_bytes(FILES, *infos)))
    assert files == FILES
    assert reasons(dropped) == {"link": 2, "special-file": 2}


def test_a_link_in_a_zip_is_dropped(tmp_path: Path):
    info = zipfile.ZipInfo("s")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert reasons(read(tmp_path / "p.zip")[1]) == {"link": 1}


def test_a_member_of_100_mb_is_dropped_without_being_held(tmp_path: Path):
    path = tmp_path / "p.tar"
    info = tarfile.TarInfo("big")
    info.size = 100 << 20
    with path.open("wb") as file:
        file.write(info.tobuf())
        file.seek(info.size, io.SEEK_CUR)  # a hole on disk
        file.write(tar_bytes({"after": b"1"}))
    tracemalloc.start()
    files, dropped = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert files == {"after": b"1"}
    assert [(item.path, item.reason, item.size_bytes) for item in dropped] == [("big", "too-large", 100 << 20)]
    assert peak < 4 << 20


def test_a_member_at_the_limit_is_read_and_one_above_is_not(tmp_path: Path):
    for path in (
        write(tmp_path / "p.tar", tar_bytes({"at": b"1234", "above": b"12345"})),
        write_zip(tmp_path / "p.zip", {"at": b"1234", "above": b"12345"}),
    ):
        files, dropped = read(path, file_bytes=4)
        assert files == {"at": b"1234"}
        assert reasons(dropped) == {"too-large": 1}


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_a_bomb_ends_the_archive_and_what_came_before_stays(tmp_path: Path, ending: str):
    data = tar_bytes({"before": b"1", "bomb": bytes(8 << 20), "after": b"2"})
    files, dropped = read(
        write(tmp_path / f"p.tar{ending}", packed(data, ending)), small_archive_bytes=1 << 20, archive_ratio=20
    )
    assert files == {"before": b"1"}
    assert [(item.path, item.reason) for item in dropped] == [
        ("bomb", "too-large"),
        (f"p.tar{ending}", "archive-bomb"),
    ]


def test_a_zip_bomb_of_many_small_files_is_stopped(tmp_path: Path):
    path = write_zip(tmp_path / "p.zip", {str(number): bytes(1 << 20) for number in range(8)})
    files, dropped = read(path, small_archive_bytes=3 << 20, archive_ratio=100)
    assert len(files) == 3
    assert reasons(dropped) == {"archive-bomb": 1}


def test_a_zip_member_that_unpacks_to_more_than_it_states_is_not_unpacked(tmp_path: Path):
    path = write_zip(tmp_path / "p.zip", {"bomb": bytes(32 << 20)})
    data = path.read_bytes()
    stated = (32 << 20).to_bytes(4, "little")
    assert data.count(stated) == 2
    path.write_bytes(data.replace(stated, (10).to_bytes(4, "little")))
    tracemalloc.start()
    files, dropped = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not files
    assert reasons(dropped) == {"broken-member": 1}
    assert peak < 4 << 20


def test_a_name_of_64_mb_is_a_bomb(tmp_path: Path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 64 << 20
    path = tmp_path / "p.tar"
    with path.open("wb") as file:
        file.write(tar_bytes({"before": b"1"})[:1024] + info.tobuf())
        file.truncate(65 << 20)
    files, dropped = read(path)
    assert files == {"before": b"1"}
    assert reasons(dropped) == {"archive-bomb": 1}


def test_archives_inside_archives_are_not_opened(tmp_path: Path):
    inner = gzip.compress(tar_bytes({"bomb": bytes(8 << 20)}))
    files, dropped = read(write(tmp_path / "p.tar", tar_bytes({"inner.tar.gz": inner})))
    assert files == {"inner.tar.gz": inner}
    assert not dropped


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst", ""])
def test_what_stands_before_a_cut_stays(tmp_path: Path, ending: str):
    noise = {str(number): hashlib.sha512(str(number).encode()).digest() * 50 for number in range(500)}
    data = packed(tar_bytes(noise), ending)
    files, dropped = read(write(tmp_path / f"p.tar{ending}", data[: len(data) * 3 // 4]))
    assert 0 < len(files) < 500
    assert all(noise[name] == content for name, content in files.items())
    assert [(item.path, item.reason) for item in dropped] == [(f"p.tar{ending}", "broken-archive")]


def test_a_damaged_header_in_the_middle_is_no_silent_end(tmp_path: Path):
    data = bytearray(tar_bytes({"a": b"1", "b": b"2"}))
    data[1024 + 150] ^= 0xFF  # the checksum of the second header
    files, dropped = read(write(tmp_path / "p.tar", bytes(data)))
    assert files == {"a": b"1"}
    assert reasons(dropped) == {"broken-archive": 1}


@pytest.mark.parametrize("name", ["p.tar.gz", "p.zip", "p.tar.xz", "p.whl"])
@pytest.mark.parametrize("data", [b"", b"no archive at all", b"PK\x03\x04 cut", b"\x1f\x8b cut", b"\xfd7zXZ\x00 cut"])
def test_what_is_no_archive_is_one_dropped_file(tmp_path: Path, name: str, data: bytes):
    files, dropped = read(write(tmp_path / name, data))
    assert not files
    assert [(item.path, item.reason, item.size_bytes) for item in dropped] == [(name, "broken-archive", len(data))]


def test_a_zip_member_with_a_wrong_checksum_is_dropped_alone(tmp_path: Path):
    path = write_zip(tmp_path / "p.zip", {"a": b"first", "b": b"second"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"first", b"fIrst"))
    files, dropped = read(path)
    assert files == {"b": b"second"}
    assert [(item.path, item.reason) for item in dropped] == [("a", "broken-member")]


def test_methods_without_a_bound_on_memory_are_refused(tmp_path: Path):
    path = write_zip(tmp_path / "p.zip", {"a": b"1"}, zipfile.ZIP_BZIP2)
    assert reasons(read(path)[1]) == {"unsupported-compression": 1}


def test_an_encrypted_member_is_dropped(tmp_path: Path):
    path = write_zip(tmp_path / "p.zip", {"a": b"1"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert reasons(read(write(path, bytes(data)))[1]) == {"encrypted": 1}


def test_too_many_files_end_the_archive(tmp_path: Path):
    path = write(tmp_path / "p.tar", tar_bytes({str(number): b"" for number in range(5)}))
    files, dropped = read(path, archive_files=3)
    assert len(files) == 3
    assert reasons(dropped) == {"archive-bomb": 1}


def test_an_empty_archive_is_counted(tmp_path: Path):
    for path in (write(tmp_path / "p.tar", tar_bytes({})), write_zip(tmp_path / "p.zip", {})):
        assert reasons(read(path)[1]) == {"empty-repository": 1}


def test_folders_are_no_files(tmp_path: Path):
    info = tarfile.TarInfo("folder")
    info.type = tarfile.DIRTYPE
    assert read(write(tmp_path / "p.tar", tar_bytes({"folder/a": b"1", "b": b"2"}, info)))[1] == []


def test_limits_are_above_zero():
    with pytest.raises(ValueError, match=r"Limits are above 0; got file_bytes=0\. Give a larger one\."):
        Limits(file_bytes=0)
