"""Downloads are whole or not there, and go on where they were cut off."""

import socket
from pathlib import Path

import pytest

from keras_codegemma.evaluation.fetching.download import download
from tests.evaluation.fetching.local_host import Host, host

__all__ = ["host"]

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def url(host: Host) -> str:
    host.files["/data"] = CONTENT
    return f"{host.address}/data"


def test_a_file_arrives_and_is_told(host: Host, url: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    download(url, tmp_path / "folder" / "file", progress=lambda *counts: told.append(counts))
    assert (tmp_path / "folder" / "file").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def test_a_cut_off_download_goes_on(host: Host, url: str, tmp_path: Path) -> None:
    host.cut_after["/data"] = 100_000
    with pytest.raises(ConnectionError, match=r"it failed: .*100000 of 256000 bytes.*it goes on where it stopped"):
        download(url, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    download(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert host.asked == [("/data", None), ("/data", "bytes=100000-")]


def test_a_host_without_ranges_sends_all_again(host: Host, url: str, tmp_path: Path) -> None:
    host.knows_ranges = False
    (tmp_path / "file.part").write_bytes(CONTENT[:10])
    download(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_taken(url: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    download(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_what_is_not_there_and_what_is_refused_are_told_apart(host: Host, url: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"/none must be there; its server answered 404\. Look for .*--from"):
        download(f"{host.address}/none", tmp_path / "file")
    host.status["/data"] = 503
    with pytest.raises(ConnectionError, match=r"it failed: its server answered 503\. Run the command again"):
        download(url, tmp_path / "file")


def test_a_host_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, but nobody listens
        with pytest.raises(ConnectionError, match=rf"127\.0\.0\.1:{port}/x needs its server to answer; .*refused"):
            download(f"http://127.0.0.1:{port}/x", tmp_path / "file")
