"""A small repository with tests of its own that need no package, and a branch that they do not look at."""

from pathlib import Path

import pytest

SHOP = '''"""Prices."""


def total(prices, discount=0.0):
    """The sum of prices, less a discount."""
    result = 0.0
    for price in prices:
        if price < 0:
            message = "a price must not be negative"
            raise ValueError(message)
        result += price
    return result * (1 - discount)


def unused(x):
    """No test calls it."""
    y = x + 1
    return y
'''
TESTS = """import unittest

from shop import total


class TotalTest(unittest.TestCase):
    def test_sum(self):
        self.assertEqual(total([1, 2]), 3)

    def test_negative(self):
        with self.assertRaises(ValueError):
            total([-1])
"""
COMMAND = "python -m unittest tests/test_shop.py"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The repository's folder."""
    root = tmp_path / "made"
    for name, text in {
        "shop.py": SHOP,
        "tests/test_shop.py": TESTS,
        "double.js": "// twice\nconst double = (value) => value * 2;\n",
        "broken.py": "def (:\n    x = 1\n",
        "notes.txt": "not a source\n",
        ".settings.py": "SECRET = 1\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
