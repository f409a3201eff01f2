"""What is counted about examples and rows while shards are made: the figures of a report."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from training.corpus.document import Document
from training.corpus.infill import can_be_infilled
from training.corpus.packing import PackingReport
from training.corpus.tokenising import Encoded


class Measures:
    """Counts by name; each is a mapping from a value, as text, to how often it came.

    Attributes:
        counts: by name, then value. Histograms have the upper bound of a bin, a power of two, as value.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    def example(self, encoded: Encoded, documents: Mapping[str, Document]) -> None:
        """Counts an example.

        Args:
            encoded: the example.
            documents: by id; those of the example among them.
        """
        self._add("example_tokens", _bin(len(encoded)))
        self._add("files_per_example", _bin(len(encoded.files)))
        if len(encoded.files) > 1:
            self._add("shape", "context" if encoded.files[0].role == "context" else "files")
        self._add("control_tokens", "between_files", len(encoded) - sum(file.num_tokens for file in encoded.files))
        for file in encoded.files:
            document = documents[file.document_id]
            self._add("tokens_by_language", document.language, file.num_tokens)
            self._add("tokens_by_licence", document.licence or "unknown", file.num_tokens)
            self._add("file_tokens", _bin(file.num_tokens))
            self._add("role", file.role)
            if file.role == "target" and can_be_infilled(document.text[file.start : file.end]):
                self._add("layout", file.layout or "whole")
            if file.layout is not None:
                self._add("span_kind", str(file.span_kind))
                self._add("middle_tokens", _bin(file.middle_tokens))
            if file.cut is not None:
                self._add("cut", file.cut)

    def packed(self, report: PackingReport) -> None:
        """Counts rows."""
        for name, value in vars(report).items():
            self._add("packing", name, value)

    def add(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Adds the counts of other measures."""
        for name, values in counts.items():
            self.counts.setdefault(name, Counter()).update(values)

    def as_json(self) -> dict[str, dict[str, int]]:
        """The counts as JSON data, sorted."""
        return {name: dict(sorted(values.items())) for name, values in sorted(self.counts.items())}

    @classmethod
    def from_json(cls, found: Iterable[Mapping[str, Any]]) -> "Measures":
        """The sum of what `as_json` gave."""
        measures = cls()
        for counts in found:
            measures.add(counts)
        return measures

    def _add(self, name: str, value: str, count: int = 1) -> None:
        self.counts.setdefault(name, Counter())[value] += count


def _bin(value: int) -> str:
    """The smallest power of two that is not below."""
    return str(1 << max(0, value - 1).bit_length())
