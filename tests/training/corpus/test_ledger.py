"""The ledger: sums that can fail, and that name the stage where they do."""

import pytest

from training.corpus.document import Document, RawFile
from training.corpus.ledger import STAGES, ConservationError, Ledger, dropped

FILE = RawFile(repository="r", path="a.py", revision="1", licence=None, data=b"12345")
TEXT = Document(repository="r", path="a.py", revision="1", licence="MIT", language="python", text="é")


def kept(*stages: str) -> Ledger:
    ledger = Ledger()
    for stage in stages:
        ledger.entered(stage, TEXT)
        ledger.left(stage, TEXT)
    return ledger


def test_counts_are_by_stage_fate_language_and_licence():
    ledger = Ledger()
    ledger.entered("filter", FILE)
    ledger.left("filter", TEXT)
    ledger.entered("safety", TEXT)
    ledger.left("safety", dropped(TEXT, stage="safety", reason="secret"))
    assert [tuple(vars(row).values()) for row in ledger.rows()] == [
        ("filter", "in", "python", "unknown", 1, 5),
        ("filter", "out", "python", "MIT", 1, 2),
        ("safety", "in", "python", "MIT", 1, 2),
        ("safety", "secret", "python", "MIT", 1, 2),
    ]
    ledger.check(["filter", "safety"])
    assert ledger.reasons("safety") == {"secret": (1, 2)}


def test_sums_survive_json_and_add_up():
    one = kept(*STAGES)
    both = Ledger.from_json(one.as_json(), one.as_json())
    assert both.total("fitting", "out") == (2, 4)
    both.check()


def test_nothing_may_be_lost_in_a_stage():
    ledger = kept("read")
    ledger.entered("read", TEXT)
    with pytest.raises(
        ConservationError, match=r"Files into the stage 'read' must equal .*; got 2 in, 1 out, 0 dropped"
    ):
        ledger.check(["read"])


def test_nothing_may_be_invented_in_a_stage():
    ledger = kept("read")
    ledger.left("read", TEXT)
    with pytest.raises(ConservationError, match="got 1 in, 2 out, 0 dropped"):
        ledger.check(["read"])


def test_nothing_may_be_lost_between_stages():
    ledger = kept("read", "read", "filter")
    with pytest.raises(ConservationError, match="All files out of the stage 'read' must go into 'filter'; got 2 and 1"):
        ledger.check(["read", "filter"])


def test_a_stage_cannot_drop_in_the_name_of_another():
    with pytest.raises(ConservationError, match=r"stage 'read' drops must say so; got a.py dropped by 'filter'"):
        Ledger().left("read", dropped(TEXT, stage="filter", reason="empty"))
