"""report.html: tables, plots and samples in one page that needs no network and opens from a file.

What models wrote is untrusted: it travels as JSON in which nothing can end the element it stands in, the script shows
it as text alone, and the page's own policy runs no other script and loads nothing.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation.problems import Problem
from keras_codegemma.evaluation.report import plots
from keras_codegemma.evaluation.report.figures import Run
from keras_codegemma.evaluation.report.tables import Table, remarks, tables

PROMPT_CHARS = 4000
"""Of a prompt, those nearest to the cursor are shown; a longer one says how much is left out."""


def document(report: Mapping[str, Any], run: Run) -> str:
    """The page.

    Args:
        report: as `figures.make` gives it.
        run: whose samples are shown.
    """
    script, style = _file("page.js"), _file("page.css")
    parts = {
        "policy": _policy(script),
        "style": style,
        "remarks": _bullets(remarks(report)),
        "tables": "\n".join(_table(table) for table in tables(report)),
        "samples": _as_script_data(samples(run)),
        "script": script,
    }
    # One pass over the template: what is put in is never searched for marks again.
    pieces = _file("page.html").split("%%")
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def samples(run: Run) -> list[dict[str, Any]]:
    """What the page shows of each sample that has a verdict, in the order of the results."""
    problems = {problem.task_id: problem for problem in run.problems}
    written = {(record["task_id"], record["sample"]): record for record in run.samples}
    shown = []
    for result in run.results:
        key = (result["task_id"], result["sample"])
        if result["task_id"] in problems and key in written:
            shown.append(_sample(problems[result["task_id"]], written[key]["completion"], result))
    return shown


def _sample(problem: Problem, completion: str, result: Mapping[str, Any]) -> dict[str, Any]:
    more = len(problem.prefix) - PROMPT_CHARS
    rest = len(problem.suffix) - PROMPT_CHARS
    return {
        "task": problem.task,
        "id": problem.task_id,
        "sample": result["sample"],
        "verdict": result["verdict"],
        "detail": result["detail"],
        "exact": result["exact_match"],
        "similarity": result["edit_similarity"],
        "finish": result["finish_reason"],
        "prefix": (f"[{more} characters before]\n" if more > 0 else "") + problem.prefix[-PROMPT_CHARS:],
        "completion": problem.cut(completion),
        "cut": completion[len(problem.cut(completion)) :],
        "suffix": problem.suffix[:PROMPT_CHARS] + (f"\n[{rest} more characters]" if rest > 0 else ""),
        "reference": problem.canonical_solution,
    }


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    drawn = f"<figure>{plots.chart(table.bars)}</figure>" if table.bars else ""
    return (
        f"<h2>{escape(table.title)}</h2>\n{drawn}\n"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n'
        f"{_bullets(table.notes)}"
    )


def _bullets(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>" if texts else ""


def _as_script_data(value: Any) -> str:
    """JSON without any character that means something to HTML."""
    text = json.dumps(value)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
