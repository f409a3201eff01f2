"""The report of a run: report.json, report.md laid out as the published tables, and report.html to look into.

Read `figures` (from the files of a run to numbers), `tables` (numbers to the rows that both pages show), `markdown`,
`plots` and `page`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import records
from keras_codegemma.evaluation.report import figures, markdown, page

__all__ = ["write"]


def write(folder: str | os.PathLike[str], *, toolchains: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Writes report.json, report.md and report.html into the folder of a run, and returns what is in report.json.

    Args:
        folder: of the run; what it lacks is left out of the report.
        toolchains: language -> version, to be put on record.

    Raises:
        FileNotFoundError: the folder holds nothing to report.
        ValueError: one of its files is damaged.
    """
    folder = Path(folder)
    run = figures.read(folder)
    report = figures.make(run, toolchains=toolchains)
    records.write_json(folder / "report.json", report)
    (folder / "report.md").write_text(markdown.document(report), encoding="utf-8")
    (folder / "report.html").write_text(page.document(report, run), encoding="utf-8")
    return report
