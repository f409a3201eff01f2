"""Which file a test is about."""

import pytest

from tests.training.corpus.languages import made_repositories as made
from training.corpus import unit_tests
from training.corpus.languages import read_repository


def subjects(*files: tuple[str, str]) -> dict[str, str]:
    documents = [made.document(path, text) for path, text in files]
    repository = read_repository(documents)
    languages = {item.path: item.language for item in documents if item.path in repository.facts}
    return dict(unit_tests.subjects(languages, repository))


@pytest.mark.parametrize("language", made.LANGUAGES)
def test_the_habits_of_each_language_lead_to_the_subject(language):
    found = subjects(*made.FILES[language].items())
    test, subject = made.SUBJECTS[language]
    assert found == {test: subject}


def test_of_two_files_with_the_right_name_the_imported_one_is_the_subject():
    found = subjects(
        ("one/prices.py", "def of(): pass\n"),
        ("two/prices.py", "def of(): pass\n"),
        ("tests/test_prices.py", "from two.prices import of\n"),
    )
    assert found == {"tests/test_prices.py": "two/prices.py"}


def test_of_two_files_with_the_right_name_the_mirrored_folder_decides():
    found = subjects(
        ("shop/one/prices.py", "def of(): pass\n"),
        ("shop/two/prices.py", "def of(): pass\n"),
        ("tests/one/test_prices.py", "X = 1\n"),
    )
    assert found == {"tests/one/test_prices.py": "shop/one/prices.py"}


def test_a_test_without_a_file_of_its_name_belongs_to_what_it_uses_most():
    found = subjects(
        ("shop/prices.py", "def of_one(): pass\ndef of_two(): pass\ndef of_three(): pass\n"),
        ("shop/units.py", "def kilo(): pass\n"),
        (
            "tests/test_everything.py",
            "from shop.prices import of_one, of_two, of_three\nfrom shop.units import kilo\n\n"
            "def test_it():\n    of_one(); of_two(); of_three()\n",
        ),
    )
    assert found == {"tests/test_everything.py": "shop/prices.py"}


def test_what_is_no_test_has_no_subject():
    assert subjects(("shop/prices.py", "import shop.units\n"), ("shop/units.py", "X = 1\n")) == {}
