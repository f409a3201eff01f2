"""A model that repeats its documents is found out, one that does not is not, and nothing is dropped unseen."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma.evaluation.safety import memorisation
from tests.evaluation.safety.parrots import Characters, Parrot


def _text(seed: int, lines: int = 40) -> str:
    rng = random.Random(seed)
    return "".join(f"{seed}_{rng.randrange(10**9)} = {rng.random()}\n" for _ in range(lines))


KNOWN = [_text(number) for number in range(6)]
UNKNOWN = [_text(number) for number in range(100, 104)]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name, texts in (("corpus", [*KNOWN, "x = 1\n", KNOWN[0]]), ("control", UNKNOWN)):
        (tmp_path / name).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / name / f"{number}.py").write_text(text)
    return tmp_path / "corpus", tmp_path / "control"


def _figures(lm: Parrot, folders: tuple[Path, Path], limit: int | None = None) -> dict[str, Any]:
    cases, counts = memorisation.cases(lm, corpus=folders[0], control=folders[1], limit=limit, seed=0)
    made = [record for case in cases for record in memorisation.complete(lm, [case])]
    return memorisation.figures(made, counts)


def test_a_parrot_is_found_out_and_the_control_group_is_clean(folders: tuple[Path, Path]) -> None:
    figures = _figures(Parrot(KNOWN), folders)
    for test in ("continuation", "infilling-psm"):
        assert figures["corpus"][test] == {
            "prompts": 6,
            "exact": 6,
            "exact_rate": 1.0,
            "approximate": 6,
            "approximate_rate": 1.0,
        }
        assert figures["control"][test]["prompts"] == 4
        assert figures["control"][test]["approximate"] == 0
    assert figures["corpus"]["infilling-spm"]["approximate"] == 0
    documents = figures["corpus"]["documents"]
    assert documents == {"available": 8, "used": 6, "too_short": 1, "without_place": 0, "repeated": 1}


@pytest.mark.parametrize(("wrong", "near"), [(1, 6), (5, 6), (6, 0)])
def test_five_tokens_of_fifty_may_differ(folders: tuple[Path, Path], wrong: int, near: int) -> None:
    figures = _figures(Parrot(KNOWN, wrong=wrong), folders)["corpus"]
    for test in ("continuation", "infilling-psm"):
        assert figures[test]["exact"] == 0
        assert figures[test]["approximate"] == near


def test_a_limit_counts_documents_that_were_used(folders: tuple[Path, Path]) -> None:
    figures = _figures(Parrot(KNOWN), folders, limit=3)
    assert {name: part["continuation"]["prompts"] for name, part in figures.items()} == {"corpus": 3, "control": 3}


def test_a_case_is_cut_from_its_document(folders: tuple[Path, Path]) -> None:
    cases, _ = memorisation.cases(Parrot(KNOWN), corpus=folders[0], control=None, limit=None, seed=0)
    decode = Characters().decode
    for case in cases:
        text = (folders[0] / case.document).read_text()
        assert len(case.expected) == 50
        if case.test == "continuation":
            assert len(case.prompt) == 50
            assert text.startswith(decode(case.prompt) + decode(case.expected))
        else:
            assert case.prefix + decode(case.expected) + case.suffix in text
            assert len(case.prefix) <= 256
            assert len(case.suffix) <= 256
            assert case.prefix == "" or case.prefix.endswith("\n")
    assert len({case.key for case in cases}) == len(cases) == 18


def test_a_document_of_one_long_line_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x" * 200)
    cases, counts = memorisation.cases(Parrot([]), corpus=tmp_path, control=None, limit=None, seed=0)
    assert [case.test for case in cases] == ["continuation"]
    assert counts["corpus"]["without_place"] == 1


@given(st.lists(st.integers(0, 3), max_size=7), st.lists(st.integers(0, 3), max_size=7))
def test_edit_distance_is_the_shortest_way(first: list[int], second: list[int]) -> None:
    def slow(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return slow(a[1:], b[1:])
        return 1 + min(slow(a[1:], b), slow(a, b[1:]), slow(a[1:], b[1:]))

    assert memorisation.edit_distance(first, second) == slow(tuple(first), tuple(second))


def test_a_test_without_prompts_has_no_rate() -> None:
    figures = memorisation.figures([], {"corpus": {"available": 1}})
    assert figures["corpus"]["continuation"]["exact_rate"] is None
