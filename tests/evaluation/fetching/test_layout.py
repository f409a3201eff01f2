"""Files are put into place only with the pinned contents, from a host, a folder or TFDS."""

import gzip
import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import pytest

from keras_codegemma.evaluation import datasets, fetching
from keras_codegemma.evaluation.datasets import Source, sources
from keras_codegemma.evaluation.fetching import layout
from tests.evaluation.fetching.local_host import Host, host

__all__ = ["host"]

LINES = b'{"a": 1}\n{"a": 2}\n'
FIRST, SECOND, MADE = "set/one.jsonl.gz", "set/two.jsonl.gz", "set/made.jsonl.gz"


def _source(*urls: str, form: str = "lines", content: bytes = LINES, note: str = "") -> Source:
    digest = hashlib.sha256(content).hexdigest()
    return Source(rows=2, sha256="", content_sha256=digest, origin="us", licence="MIT", form=form, urls=urls, note=note)


@pytest.fixture
def pinned(host: Host, monkeypatch: pytest.MonkeyPatch) -> dict[str, Source]:
    """Three files: two whose origin is the local host, one that nobody offers."""
    known = {
        FIRST: _source(f"{host.address}/origin/one.jsonl"),
        SECOND: _source(f"{host.address}/origin/two.jsonl.gz", form="gzip", content=b'{"b": 1}\n{"b": 2}\n'),
        MADE: _source(form="none", note="made by scripts"),
    }
    for module in (layout, datasets):
        monkeypatch.setattr(module, "sources", lambda: known)
    host.files |= {"/origin/one.jsonl": LINES, "/origin/two.jsonl.gz": gzip.compress(b'{"b": 1}\n{"b": 2}\n')}
    return known


def _how(names: list[str], to: Path, source: str | Path | None = None) -> list[str]:
    return [one.how for one in fetching.fetch(names, to=to, source=source)]


@pytest.mark.usefixtures("pinned")
def test_files_come_from_their_origins_once(host: Host, tmp_path: Path) -> None:
    assert _how([FIRST, SECOND], tmp_path) == ["fetched", "fetched"]
    assert datasets.read_rows(tmp_path, FIRST) == [{"a": 1}, {"a": 2}]
    assert datasets.read_rows(tmp_path, SECOND) == [{"b": 1}, {"b": 2}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    assert _how([FIRST, SECOND], tmp_path) == ["there already", "there already"]
    assert len(host.asked) == 2


@pytest.mark.usefixtures("pinned")
def test_a_damaged_file_in_place_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / FIRST).parent.mkdir()
    (tmp_path / FIRST).write_bytes(b"half")
    assert _how([FIRST], tmp_path) == ["fetched"]
    assert datasets.read_rows(tmp_path, FIRST) == [{"a": 1}, {"a": 2}]


@pytest.mark.usefixtures("pinned")
def test_other_contents_are_refused_and_not_kept(host: Host, tmp_path: Path) -> None:
    host.files["/origin/one.jsonl"] = b"{}\n"
    with pytest.raises(ValueError, match=r"one\.jsonl\.gz must have the sha256 \w+; what came from http.* has the sha"):
        _how([FIRST], tmp_path)
    assert not (tmp_path / FIRST).exists()
    host.files["/origin/one.jsonl"] = LINES
    assert _how([FIRST], tmp_path) == ["fetched"]
    host.files["/origin/two.jsonl.gz"] = b"no gzip"
    with pytest.raises(ValueError, match=r"two\.jsonl\.gz cannot be read \(.*Run the command again; if it comes back"):
        _how([SECOND], tmp_path)


@pytest.mark.usefixtures("pinned")
def test_a_truncated_download_leaves_nothing_under_the_files_name_and_goes_on(host: Host, tmp_path: Path) -> None:
    host.cut_after["/origin/one.jsonl"] = 5
    with pytest.raises(ConnectionError, match="5 of 18 bytes"):
        _how([FIRST], tmp_path)
    assert not (tmp_path / FIRST).exists()
    assert _how([FIRST], tmp_path) == ["fetched"]
    assert host.asked[-1] == ("/origin/one.jsonl", "bytes=5-")


@pytest.mark.usefixtures("pinned")
def test_what_nobody_offers_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"made\.jsonl\.gz can be had from nowhere: made by scripts \(us\)\. Give"
    ):
        _how([MADE], tmp_path)
    assert not fetching.offered(MADE, None)
    assert fetching.offered(MADE, "folder")


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize(
    ("place", "packed"),
    [(FIRST, True), ("one.jsonl.gz", True), ("deep/down/one.jsonl", False), ("set/one.jsonl", False)],
)
def test_a_folder_may_have_them_anywhere(tmp_path: Path, place: str, packed: bool) -> None:
    folder = tmp_path / "mine"
    (folder / place).parent.mkdir(parents=True)
    (folder / place).write_bytes(gzip.compress(LINES, 1) if packed else LINES)
    assert _how([FIRST], tmp_path / "data", folder) == [f"from {folder}"]
    assert datasets.read_rows(tmp_path / "data", FIRST) == [{"a": 1}, {"a": 2}]


@pytest.mark.usefixtures("pinned")
def test_a_folder_with_another_file_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"one\.jsonl\.gz must lie in the folder, .* has none of these\. Put"):
        _how([FIRST], tmp_path / "data", tmp_path)
    (tmp_path / "one.jsonl").write_bytes(b"{}\n")
    (tmp_path / "one.jsonl.gz").write_bytes(b"no gzip")
    expected = r"must have the sha256 \w+; .*one\.jsonl\.gz cannot be read; .*one\.jsonl has ca3d163b"
    with pytest.raises(ValueError, match=expected):  # ca3d163b...: of "{}\n", by sha256sum
        _how([FIRST], tmp_path / "data", tmp_path)


# TFDS, by a stand-in that gives rows as its `as_numpy` does, in an order of its own.


def _stand_in(monkeypatch: pytest.MonkeyPatch, rows: dict[tuple[str, str], list[dict]]) -> None:
    module = SimpleNamespace(load=lambda name, split: rows[(name, split)], as_numpy=lambda found: found)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)


@pytest.mark.shared
def test_rows_of_tfds_become_the_pinned_file(monkeypatch: pytest.MonkeyPatch, shared_dir: Path, tmp_path: Path) -> None:
    name, where = "boolq/val.jsonl.gz", ("super_glue/boolq", "validation")
    rows = datasets.read_rows(shared_dir / "eval_data", name)
    # As TFDS gives them: texts as bytes, the label as the number of its class, of ("False", "True").
    stored = [
        {
            "question": row["question"].encode(),
            "passage": row["passage"].encode(),
            "idx": row["idx"],
            "label": int(row["label"] == "true"),
        }
        for row in rows
    ]
    _stand_in(monkeypatch, {where: stored[::-1]})
    assert _how([name], tmp_path, "tfds") == ["from tfds"]
    assert (tmp_path / name).read_bytes() == (shared_dir / "eval_data" / name).read_bytes()
    _stand_in(monkeypatch, {where: stored[1:]})
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"the rows of this version of TFDS have \w+\. Leave out --from tfds"):
        _how([name], tmp_path, "tfds")


def test_other_sets_and_a_missing_tfds_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"TFDS has the same rows only of boolq/val\.jsonl\.gz; got gsm8k"):
        _how(["gsm8k/test.jsonl.gz"], tmp_path, "tfds")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"--from tfds needs TensorFlow Datasets, .*pip install 'keras-codegemma\[tf"):
        _how(["boolq/val.jsonl.gz"], tmp_path, "tfds")


@pytest.mark.shared
def test_the_real_files_come_from_a_folder_and_from_a_host(host: Host, shared_dir: Path, tmp_path: Path) -> None:
    """Those whose origin has them as they are; the other forms are tested one by one."""
    data = shared_dir / "eval_data"
    names = [name for name, source in sources().items() if source.form == "lines"]
    assert set(_how(names, tmp_path / "folder", data)) == {f"from {data}"}
    known = {}
    for name in names:
        path = urlparse(sources()[name].urls[0]).path
        host.files[path] = gzip.decompress((data / name).read_bytes())
        known[name] = f"{host.address}{path}"
    with pytest.MonkeyPatch.context() as patch:
        local = {name: _with_url(sources()[name], url) for name, url in known.items()}
        patch.setattr(layout, "sources", lambda: local)
        assert set(_how(names, tmp_path / "host")) == {"fetched"}
    for name in names:
        assert (tmp_path / "host" / name).read_bytes() == (data / name).read_bytes()


def _with_url(source: Source, url: str) -> Source:
    return Source(**{**source.__dict__, "urls": (url,)})
