"""Counts what goes into every stage and what comes out or is dropped, and checks that nothing is lost between.

What goes in, what comes out and what is dropped are counted apart, each where it happens, so that the sums can fail.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from training.corpus.document import Document, Dropped, RawFile, language_of

IN, OUT = "in", "out"
STAGES = ("read", "filter", "safety", "vocabulary", "duplicates", "decontamination", "order", "fitting")
"""Stages in which files are counted, in their order."""


class ConservationError(RuntimeError):
    """A stage lost or invented something."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Files of one language and licence that had the same fate.

    Attributes:
        stage: one of `STAGES`.
        fate: `IN`, `OUT`, or the reason for dropping.
        language: as in `Document`.
        licence: as in `Document`; "unknown" for None.
        files: how many.
        size_bytes: of them together; in the stages "read" and "filter" as read, later of the text.
    """

    stage: str
    fate: str
    language: str
    licence: str
    files: int
    size_bytes: int


class Ledger:
    """Counts of files and bytes by stage, fate, language and licence."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str, str], list[int]] = {}

    def entered(self, stage: str, item: Document | Dropped | RawFile) -> None:
        """An item goes into a stage."""
        self._count(stage, IN, item)

    def left(self, stage: str, item: Document | Dropped | RawFile) -> None:
        """An item comes out of a stage, or is dropped in it: a `Dropped` says why itself.

        Raises:
            ConservationError: a `Dropped` of another stage, which would then miss it.
        """
        if isinstance(item, Dropped):
            if item.stage != stage:
                raise ConservationError(
                    f"What the stage {stage!r} drops must say so; got {item.path} dropped by {item.stage!r}. "
                    "This is a defect of the stage: report it."
                )
            self._count(stage, item.reason, item)
        else:
            self._count(stage, OUT, item)

    def add(self, rows: Iterable[Row]) -> None:
        """Adds the counts of another ledger."""
        for row in rows:
            counts = self._counts.setdefault((row.stage, row.fate, row.language, row.licence), [0, 0])
            counts[0] += row.files
            counts[1] += row.size_bytes

    def rows(self) -> Iterator[Row]:
        """All counts, stages in their order."""
        order = {stage: index for index, stage in enumerate(STAGES)}
        for key in sorted(self._counts, key=lambda key: (order.get(key[0], len(order)), key)):
            stage, fate, language, licence = key
            files, size_bytes = self._counts[key]
            yield Row(stage=stage, fate=fate, language=language, licence=licence, files=files, size_bytes=size_bytes)

    def total(self, stage: str, fate: str) -> tuple[int, int]:
        """Files and bytes of one fate in a stage."""
        found = [row for row in self.rows() if (row.stage, row.fate) == (stage, fate)]
        return sum(row.files for row in found), sum(row.size_bytes for row in found)

    def reasons(self, stage: str) -> dict[str, tuple[int, int]]:
        """Files and bytes dropped in a stage, by reason."""
        names = sorted({row.fate for row in self.rows() if row.stage == stage} - {IN, OUT})
        return {name: self.total(stage, name) for name in names}

    def check(self, stages: Iterable[str] = STAGES) -> None:
        """Checks that in each stage files in = files out + files dropped, and that what comes out goes into the next.

        Raises:
            ConservationError: naming the stage and its counts.
        """
        before = ""
        for stage in stages:
            entered, left = self.total(stage, IN)[0], self.total(stage, OUT)[0]
            dropped = sum(files for files, _ in self.reasons(stage).values())
            if entered != left + dropped:
                raise ConservationError(
                    f"Files into the stage {stage!r} must equal those out of it and those dropped; got {entered} in, "
                    f"{left} out, {dropped} dropped. This is a defect of the stage: report it."
                )
            if before and entered != self.total(before, OUT)[0]:
                raise ConservationError(
                    f"All files out of the stage {before!r} must go into {stage!r}; got {self.total(before, OUT)[0]} "
                    f"and {entered}. This is a defect of the pipeline: report it."
                )
            before = stage

    def as_json(self) -> list[dict[str, Any]]:
        """The counts as JSON data."""
        return [vars(row) for row in self.rows()]

    @classmethod
    def from_json(cls, *found: Iterable[Mapping[str, Any]]) -> "Ledger":
        """The sum of what `as_json` gave."""
        ledger = cls()
        for rows in found:
            ledger.add(Row(**row) for row in rows)
        return ledger

    def _count(self, stage: str, fate: str, item: Document | Dropped | RawFile) -> None:
        size = len(item.data) if isinstance(item, RawFile) else item.size_bytes
        language = item.language or language_of(item.path)
        counts = self._counts.setdefault((stage, fate, language, item.licence or "unknown"), [0, 0])
        counts[0] += 1
        counts[1] += size


def dropped(document: Document, *, stage: str, reason: str, detail: str = "") -> Dropped:
    """The record of a document that goes no further than a stage."""
    return Dropped(
        document_id=document.id,
        repository=document.repository,
        path=document.path,
        language=document.language,
        licence=document.licence,
        size_bytes=document.size_bytes,
        stage=stage,
        reason=reason,
        detail=detail,
    )
