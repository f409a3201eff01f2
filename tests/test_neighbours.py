"""Context files: which, in which order, how many, and never one that does not belong there."""

import shutil
import subprocess

import pytest

from keras_codegemma.neighbours import find_neighbours, path_in_repository, repository_root


def write(root, files):
    for name, contents in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())


def paths(root, name="shop/basket.py", *, text=None, max_chars=10_000, **options):
    file = root / name
    text = file.read_text() if text is None else text
    return [path for path, _ in find_neighbours(file, text, max_chars=max_chars, **options)]


@pytest.fixture
def repository(tmp_path):
    (tmp_path / ".git").mkdir()  # no repository that git accepts, so the folders are walked
    write(
        tmp_path,
        {
            "shop/basket.py": "from shop import prices\nfrom shop.deep.tax import rate\nimport tools\n",
            "shop/other.py": "other",
            "shop/prices.py": "prices",
            "shop/deep/tax.py": "tax",
            "shop/deep/leaf.py": "leaf",
            "shop/page.ts": "page",
            "tools/__init__.py": "tools",
            "far/away/thing.py": "thing",
        },
    )
    return tmp_path


def test_imported_files_come_last_then_the_same_language_then_the_nearest(repository):
    assert paths(repository) == [
        "shop/page.ts",
        "far/away/thing.py",
        "shop/deep/leaf.py",
        "shop/other.py",
        "tools/__init__.py",
        "shop/deep/tax.py",
        "shop/prices.py",
    ]


def test_the_texts_come_with_plain_line_ends_and_without_mark(repository):
    write(repository, {"shop/prices.py": b"\xef\xbb\xbfa\r\nb\rc\n"})
    assert find_neighbours(repository / "shop/basket.py", "import prices", max_chars=100)[-1] == (
        "shop/prices.py",
        "a\nb\nc\n",
    )


def test_what_is_no_source_text_is_left_out(repository):
    write(
        repository,
        {
            "shop/binary.py": b"a\0b",
            "shop/latin.py": b"\xe9",
            "shop/empty.py": "",
            "shop/data.csv": "1,2",
            "shop/notes": "text",
            ".env.py": "SECRET = 1",
            ".venv/lib/module.py": "x",
            "node_modules/a.py": "x",
            "__pycache__/a.py": "x",
        },
    )
    (repository / "shop" / "link.py").symlink_to(repository / "shop" / "prices.py")
    assert len(paths(repository)) == 7


def test_a_budget_leaves_out_what_does_not_fit_and_the_least_useful_first(repository):
    write(repository, {"shop/prices.py": "p" * 50})
    assert paths(repository, max_chars=8) == ["tools/__init__.py", "shop/deep/tax.py"]
    assert paths(repository, max_chars=57) == ["shop/deep/leaf.py", "shop/deep/tax.py", "shop/prices.py"]


def test_the_number_of_files_is_bounded(repository):
    assert paths(repository, max_files=2) == ["shop/deep/tax.py", "shop/prices.py"]


def test_the_same_files_give_the_same_result(repository, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(repository, copy, dirs_exist_ok=True)
    assert paths(copy) == paths(repository)


def test_git_says_which_files_belong_to_a_repository(tmp_path):
    write(
        tmp_path,
        {
            "a.py": "a",
            "kept.py": "kept",
            "new.py": "new",
            "ignored.py": "ignored",
            ".gitignore": "ignored.py\n",
            "sub/gone.py": "gone",
        },
    )
    for command in (["init", "-q"], ["add", "a.py", "kept.py", "sub/gone.py"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, timeout=60)
    (tmp_path / "sub" / "gone.py").unlink()
    assert paths(tmp_path, "a.py") == ["new.py", "kept.py"]


def test_other_languages_count_by_their_imports_too(tmp_path):
    write(
        tmp_path,
        {
            "main.c": '#include "queue.h"\n#include <stdio.h>\n',
            "queue.h": "queue",
            "alpha.c": "alpha",
            "tool.py": "tool",
        },
    )
    assert paths(tmp_path, "main.c") == ["tool.py", "alpha.c", "queue.h"]


def test_a_path_is_relative_to_its_repository(repository, tmp_path):
    assert path_in_repository(repository / "shop/deep/tax.py") == "shop/deep/tax.py"
    assert repository_root(repository / "shop/deep/tax.py") == repository.resolve()


def test_without_a_repository_the_files_folder_is_the_root(tmp_path):
    write(tmp_path, {"work/a.py": "a", "work/b.py": "b", "other.py": "other"})
    if repository_root(tmp_path / "work/a.py") != (tmp_path / "work").resolve():
        pytest.fail(f"{tmp_path} lies in a repository; run the tests with another --basetemp.")
    assert paths(tmp_path, "work/a.py") == ["b.py"]
