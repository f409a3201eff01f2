"""Imports of every language, resolved to files of the repository."""

import pytest

from tests.training.corpus.languages import made_repositories as made
from training.corpus.languages import read_repository
from training.corpus.languages.facts import STRONG


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_every_import_is_found(language):
    found = {(edge.importer, edge.imported) for edge in read_repository(made.documents(language)).edges}
    assert made.IMPORTS[language] <= found


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_what_else_is_found_is_weak(language):
    edges = read_repository(made.documents(language)).edges
    strong = {(edge.importer, edge.imported) for edge in edges if edge.weight == STRONG}
    assert strong <= made.IMPORTS[language]


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_no_edge_comes_twice_or_leads_to_its_own_file(language):
    edges = [(edge.importer, edge.imported) for edge in read_repository(made.documents(language)).edges]
    assert len(edges) == len(set(edges))
    assert all(importer != imported for importer, imported in edges)


def test_a_file_with_a_syntax_error_still_says_what_it_imports():
    broken = [made.document("a.py", "import b\n\ndef f(:\n    return (\n"), made.document("b.py", "X = 1\n")]
    assert [(edge.importer, edge.imported) for edge in read_repository(broken).edges] == [("a.py", "b.py")]


def test_a_folder_in_a_package_is_no_root_though_its_empty_init_is_missing():
    files = [
        made.document("shop/__init__.py", "X = 1\n"),
        made.document("shop/bin/shop.py", "Y = 1\n"),
        made.document("shop/worker/loop.py", "import shop\nfrom shop import X\n"),
    ]
    found = {(edge.importer, edge.imported) for edge in read_repository(files).edges}
    assert found == {("shop/worker/loop.py", "shop/__init__.py")}


def test_a_root_above_the_importer_comes_before_one_beside_it():
    files = [
        made.document("shop/__init__.py", "X = 1\n"),
        made.document("t/bin/shop.py", "Y = 1\n"),
        made.document("t/worker/test_loop.py", "import shop\n"),
    ]
    found = {(edge.importer, edge.imported) for edge in read_repository(files).edges}
    assert found == {("t/worker/test_loop.py", "shop/__init__.py")}


def test_rust_modules_declared_inside_macros_are_found():
    root = "cfg_if! {\n    if #[cfg(unix)] {\n        mod unix;\n        pub use unix::*;\n    }\n}\n"
    files = [
        made.document("src/lib.rs", root + 'feature! { pub(crate) mod net ; }\nprintln!("remod text;");\n'),
        *(made.document(f"src/{name}.rs", "pub const X: u32 = 1;\n") for name in ("unix", "net", "text")),
    ]
    found = {(edge.importer, edge.imported) for edge in read_repository(files).edges}
    assert found == {("src/lib.rs", "src/unix.rs"), ("src/lib.rs", "src/net.rs")}


def test_imports_of_other_packages_are_no_edges():
    alone = [made.document("a.py", "import os\nfrom json import loads\nfrom requests.api import get\n")]
    assert read_repository(alone).edges == ()


@pytest.mark.parametrize("text", ["", "\n", "\0\0", "{{{{", "'" * 100, "\ufeffimport b", "import\timport\n" * 50])
@pytest.mark.parametrize("language", made.LANGUAGES)
def test_any_text_can_be_read(language, text):
    path = next(path for path in made.FILES[language] if not path.endswith((".mod", ".toml")))
    files = [made.document(path, text), *(item for item in made.documents(language) if item.path != path)]
    paths = {item.path for item in files}
    assert all({edge.importer, edge.imported} <= paths for edge in read_repository(files).edges)


def test_an_empty_repository_has_no_edges():
    assert read_repository([]).edges == ()
