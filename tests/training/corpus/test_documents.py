"""The order of a repository's documents: each once, what is imported first, tests after what they test."""

import random

import pytest

from tests.training.corpus.languages import made_repositories as made
from training.corpus.documents import OrderSettings, order


def ordered_paths(documents, **settings) -> list[str]:
    return [item.path for item in order(documents, OrderSettings(**settings))]


@pytest.mark.parametrize("by", ["imports", "report", "path"])
@pytest.mark.parametrize("language", made.LANGUAGES)
def test_every_document_comes_once_and_the_order_does_not_depend_on_how_they_came(language, by):
    documents = made.documents(language)
    first = ordered_paths(documents, by=by)
    assert sorted(first) == sorted(made.FILES[language])
    random.Random().shuffle(documents)
    assert ordered_paths(documents, by=by) == first


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_what_is_imported_comes_before_what_imports_it(language):
    paths = ordered_paths(made.documents(language))
    test, _ = made.SUBJECTS[language]
    for importer, imported in made.IMPORTS[language]:
        if importer != test:  # it stands by its subject, whatever else it imports
            assert paths.index(imported) < paths.index(importer), (importer, imported)


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_a_test_comes_right_after_what_it_tests(language):
    paths = ordered_paths(made.documents(language))
    test, subject = made.SUBJECTS[language]
    assert paths.index(test) == paths.index(subject) + 1


def test_a_cycle_of_imports_is_cut_and_nothing_is_lost():
    documents = [
        made.document("a.py", "import b\n"),
        made.document("b.py", "import c\n"),
        made.document("c.py", "import a\n"),
        made.document("d.py", "import a\n"),
    ]
    paths = ordered_paths(documents)
    assert sorted(paths) == ["a.py", "b.py", "c.py", "d.py"]
    assert paths.index("d.py") > paths.index("a.py")
    kept = sum(paths.index(b) < paths.index(a) for a, b in [("a.py", "b.py"), ("b.py", "c.py"), ("c.py", "a.py")])
    assert kept == 2


def test_two_files_of_one_name_and_two_revisions_all_come():
    documents = [
        made.document("a.py", "import b\n"),
        made.document("a.py", "X = 1\n"),
        made.document("b.py", "Y = 1\n"),
        made.document("b.py", "Z = 1\n", revision="2"),
    ]
    found = order(documents)
    assert sorted((item.revision, item.path, item.text) for item in found) == sorted(
        (item.revision, item.path, item.text) for item in documents
    )
    assert [item.revision for item in found] == ["1", "1", "1", "2"]


def test_the_reports_order_goes_by_text():
    assert ordered_paths(made.documents("python"), by="report").index("shop/units.py") < ordered_paths(
        made.documents("python"), by="report"
    ).index("shop/prices.py")


def test_no_documents_are_no_documents():
    assert order([]) == ()


def test_another_order_is_refused():
    with pytest.raises(ValueError, match=r"Documents are ordered by imports, report or path; got 'size'. Choose one"):
        OrderSettings(by="size")  # type: ignore[arg-type]
