"""The shapes of sample that tests and the benchmark share."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Case:
    """B rows of V logits."""

    batch: int
    vocabulary: int

    @property
    def name(self) -> str:
        """Made from the numbers."""
        return f"b{self.batch}_v{self.vocabulary}"


REAL = (Case(batch=1, vocabulary=256_000), Case(batch=8, vocabulary=256_000))
SMALL = (Case(batch=2, vocabulary=4096), Case(batch=3, vocabulary=1000), Case(batch=1, vocabulary=129))
AWKWARD = (Case(batch=2, vocabulary=1), Case(batch=1, vocabulary=7), Case(batch=5, vocabulary=1023))
TESTED = (*SMALL, *AWKWARD)
