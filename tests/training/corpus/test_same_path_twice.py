"""What it means when a path comes twice: in one repository given twice, and in archives of the same name."""

import tarfile
from pathlib import Path

from tests.training.corpus import made_corpus
from training.corpus.steps import run_in_loop
from training.corpus.verification import expected, verify


def repository(folder: Path, **files: str) -> Path:
    """A folder of Python files."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def archive(path: Path, folder: Path) -> Path:
    """A folder as an archive."""
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as packed:
        packed.add(folder, arcname="p-1")
    return path


def built(paths: list[Path], workdir: Path) -> tuple[dict[tuple[str, str], int], list[tuple[str, str]]]:
    """What a build dropped, and the repository and path of what it kept."""
    job = made_corpus.job_of(paths, workdir)
    run_in_loop(job)
    kept = [(document.repository, document.path) for document in expected(job, 0)]
    assert verify(job).documents == len(kept)
    return made_corpus.reasons(job), kept


def test_a_folder_given_twice_is_kept_once(tmp_path):
    folder = repository(tmp_path / "mine", a=made_corpus.module(1), b=made_corpus.module(2))
    assert built([folder, folder], tmp_path / "work") == (
        {("duplicates", "exact-duplicate"): 2},
        [("folder:mine", "a.py"), ("folder:mine", "b.py")],
    )


def test_another_file_of_the_same_repository_revision_and_path_is_a_repeated_name(tmp_path):
    first = repository(tmp_path / "one" / "mine", a=made_corpus.module(1), b=made_corpus.module(2))
    second = repository(tmp_path / "two" / "mine", a=made_corpus.module(3), c=made_corpus.module(4))
    assert built([first, second], tmp_path / "work") == (
        {("duplicates", "repeated-name"): 1},
        [("folder:mine", "a.py"), ("folder:mine", "b.py"), ("folder:mine", "c.py")],
    )


def test_archives_of_one_name_and_other_contents_are_two_revisions(tmp_path):
    """Their hashes are their revisions, so a path in both is two documents; equal texts are duplicates."""
    first = repository(tmp_path / "one", a=made_corpus.module(1), b=made_corpus.module(2))
    second = repository(tmp_path / "two", a=made_corpus.module(3), b=made_corpus.module(2))
    paths = [archive(tmp_path / name / "p-1.tar.gz", folder) for name, folder in (("x", first), ("y", second))]
    dropped, kept = built(paths, tmp_path / "work")
    assert dropped == {("duplicates", "exact-duplicate"): 1}
    assert sorted(kept) == [("archive:p-1.tar.gz", path) for path in ("a.py", "a.py", "b.py")]


def test_the_same_files_under_another_name_are_duplicates(tmp_path):
    text = {"a": made_corpus.module(1), "b": made_corpus.module(2)}
    paths = [repository(tmp_path / name, **text) for name in ("zebra", "ant")]
    assert built(paths, tmp_path / "work") == (
        {("duplicates", "exact-duplicate"): 2},
        [("folder:ant", "a.py"), ("folder:ant", "b.py")],
    )
