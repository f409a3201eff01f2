"""Where documents for the memory tests come from."""

import gzip
import json
from importlib.metadata import version
from pathlib import Path

import pytest

from keras_codegemma.evaluation.safety import documents


def _folder(path: Path) -> Path:
    (path / "deep").mkdir(parents=True)
    for number in range(5):
        (path / "deep" / f"{number}.py").write_text(f"n = {number}\n")
    (path / "a.rs").write_text("fn main() {}\n")
    (path / "data.bin").write_bytes(b"x")
    (path / "bad.py").write_bytes(b"\xff\xfe")
    (path / "large.py").write_bytes(b"#" * (documents.LARGEST_BYTES + 1))
    return path


def test_a_folder_gives_its_source_files_and_counts_the_rest(tmp_path: Path) -> None:
    found = documents.read(_folder(tmp_path / "x"), seed=0)
    texts = {document.name: document.text for document in found}
    assert texts == {f"deep/{number}.py": f"n = {number}\n" for number in range(5)} | {"a.rs": "fn main() {}\n"}
    assert found.available == 8
    assert found.counts == {"not_text": 1, "too_large": 1}


def test_the_order_is_the_seeds(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "x")
    orders = [[document.name for document in documents.read(folder, seed=seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz"])
def test_json_lines_are_read(tmp_path: Path, name: str) -> None:
    data = b'{"text": "one"}\n\n{"content": "two", "path": "x"}\n'
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = {document.name: document.text for document in documents.read(tmp_path / name, seed=0)}
    assert found == {"line 1": "one", "line 3": "two"}


def test_a_manifest_gives_the_installed_packages_of_its_versions(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    entries = [
        {"package": "click", "version": version("click"), "split": "train"},
        {"package": "rich", "version": "0.0.1", "split": "train"},
        {"package": "no-such-package-here", "version": "1", "split": "train"},
        {"package": "h5py", "version": version("h5py"), "split": "validation"},
    ]
    manifest.write_text(json.dumps(entries))
    corpus = documents.read(manifest, seed=0)
    texts = {document.name: document.text for document in corpus}
    assert "class Command" in texts["click click/core.py"]
    assert {name.split()[0] for name in texts} == {"click"}
    assert corpus.counts == {"packages_absent": 1, "packages_other_version": 1}
    control = documents.read(manifest, seed=0, held_out=True)
    assert {document.name.split()[0] for document in control} == {"h5py"}


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"A corpus must exist; there is nothing at .*Correct"):
        documents.read(tmp_path / "nowhere", seed=0)
    (tmp_path / "c.txt").write_text("x")
    with pytest.raises(ValueError, match=r"must be a folder, .* got .*c\.txt\. Convert it"):
        documents.read(tmp_path / "c.txt", seed=0)
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*c\.jsonl has \['body'\]\. Rename"):
        documents.read(tmp_path / "c.jsonl", seed=0)
    (tmp_path / "c.json").write_text('{"shards": []}')
    with pytest.raises(ValueError, match=r"manifest must be a list of objects .* is not\. Pass a folder"):
        documents.read(tmp_path / "c.json", seed=0)
    (tmp_path / "c.json").write_text('[{"package": "no-such-package-here", "version": "1"}]')
    with pytest.raises(ValueError, match=r"at least one document; .*'packages_absent': 1.*install the packages"):
        documents.read(tmp_path / "c.json", seed=0)
