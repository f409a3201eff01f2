"""The report's tables, in the order and with the figures of the published ones: what both pages show.

Sources of the published figures: CodeGemma's report (arXiv 2406.11409), Tables 2 to 5 and Figure 3. Figure 3, with the
seven language benchmarks, is a bar chart without numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keras_codegemma.evaluation.problems import PRESETS

BAR_CHART = "bar chart only"
EXACT = (
    "exact: equal to the reference but for white space at both ends, so that an exact completion can fail by its "
    "indentation or line end; edit: similarity to the reference."
)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure to draw, in percent: with its interval, and the published ones beside it by preset."""

    title: str
    value: float
    low: float | None = None
    high: float | None = None
    published: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table: a heading, named columns, rows of texts, notes, and what can be drawn of it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()


SECTIONS = (
    ("Infilling (published: Table 2)", ("infilling",)),
    ("Python (published: Table 3)", ("humaneval", "mbpp")),
    ("Other languages, BabelCode (published: Table 4)", ("babelcode",)),
    ("Your repository", ("repository",)),
)
"""Heading, and the first parts of the names of the tasks below it."""


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Every table that the report has something for."""
    made = [_code_table(report, title, names) for title, names in SECTIONS]
    made += [_language_table(report), *_safety_tables(report)]
    return [_without_empty_columns(table) for table in made if table.rows]


def _without_empty_columns(table: Table) -> Table:
    kept = [place for place in range(len(table.columns)) if any(row[place] for row in table.rows)]
    columns = tuple(table.columns[place] for place in kept)
    return replace(table, columns=columns, rows=tuple(tuple(row[place] for place in kept) for row in table.rows))


def remarks(report: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures should know: settings, device, toolchains, damaged lines."""
    shown = {name: value for name, value in report["settings"].items() if value not in ("", None) and name != "code"}
    said = [", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in shown.items())]
    said.append(f"Python {report['python']}, {report['machine']}, {report['made']}")
    if report["timing"]:
        timed = report["timing"]
        versions = ", ".join(f"{name} {version}" for name, version in timed["versions"].items())
        said.append(f"Seconds per infilling: {timed['device']}, {timed['date']}, {versions}; {timed['case']}")
    if report["repository"]:
        said += [f"{name.replace('_', ' ')}: {value}" for name, value in report["repository"].items()]
    said += _about_safety(report["safety"] or {})
    said += [f"{language}: {version}" for language, version in report["toolchains"].items()]
    said += [f"{one['file']}, damaged line {one['line']}: {one['reason']}" for one in report["damaged_lines"]]
    return [text for text in said if text]


def _published_columns(report: Mapping[str, Any]) -> list[str]:
    """The preset's own column, or all of them for a model without published figures."""
    preset = report["settings"].get("preset")
    return [preset] if preset in PRESETS else list(PRESETS)


def _headings(columns: Sequence[str]) -> list[str]:
    return [f"published {name.removeprefix('code_gemma_').removesuffix('_en')}" for name in columns]


def _code_table(report: Mapping[str, Any], title: str, names: Sequence[str]) -> Table:
    chosen = {name: row for name, row in report["tasks"].items() if name.partition("-")[0] in names}
    timed = any("timing" in row for row in chosen.values())
    compared = any(row["published"] for row in chosen.values())
    presets = _published_columns(report) if compared else []
    columns = ["task", "problems", "pass@1", "pass@1 95%", "exact", "exact 95%", "edit", "stopped", "sampling s"]
    columns += ["s/infill (timed)"] if timed else []
    columns += ["published s/infill"] if timed and compared else []
    columns += ["ceiling", *_headings(presets)] if compared else []
    rows, notes, bars = [], [], []
    for name, row in chosen.items():
        rows.append(tuple(_code_cells(row, presets, timed=timed)))
        notes += [f"{row['title']}: {text}" for text in (row.get("error"), row["notes"]) if text]
        bars += _code_bar(row, presets, repository=name.startswith("repository"))
    if any("exact_match" in row for row in chosen.values()):
        notes.append(EXACT)
    return Table(title=title, columns=tuple(columns), rows=tuple(rows), notes=tuple(notes), bars=tuple(bars))


def _code_cells(row: Mapping[str, Any], presets: Sequence[str], *, timed: bool) -> Iterator[str]:
    yield row["title"]
    yield str(row["problems"])
    if "pass_at" in row:
        yield _percent(row["pass_at"]["1"])
        yield _between(row["pass_at_1_interval"])
    else:
        yield row["error"].partition(";")[0] if len(row["error"]) < 80 else "not run (see below)"
        yield ""
    yield _percent(row.get("exact_match"))
    yield _between(row.get("exact_match_interval"))
    yield _percent(row.get("edit_similarity"))
    yield _percent(row.get("stopped_rate"))
    yield f"{row['sampling_seconds']:.1f}" if "sampling_seconds" in row else ""
    if timed:
        timing = row.get("timing")
        yield f"{timing['mean']:.3f} ({timing['timed']})" if timing else ""
    if timed and presets:
        published = row["timing"]["published"] if "timing" in row else {}
        yield " / ".join(f"{published[name]:.3f}" for name in presets if name in published)
    if presets:
        yield f"{row['ceiling']:.1f}" if row["ceiling"] < 100 else ""
    yield from (f"{row['published'][name]:.2f}" if name in row["published"] else "" for name in presets)


def _code_bar(row: Mapping[str, Any], presets: Sequence[str], *, repository: bool) -> Iterator[Bar]:
    published = {name: row["published"][name] for name in presets if name in row["published"]}
    if "pass_at" in row:
        interval = row["pass_at_1_interval"]
        title = f"{row['title']}, pass@1" if repository else row["title"]
        yield Bar(
            title=title,
            value=100 * row["pass_at"]["1"],
            low=100 * interval["low"],
            high=100 * interval["high"],
            published=published,
        )
    if repository and "exact_match_interval" in row:
        interval = row["exact_match_interval"]
        yield Bar(
            title=f"{row['title']}, exact",
            value=100 * row["exact_match"],
            low=100 * interval["low"],
            high=100 * interval["high"],
        )


def _language_table(report: Mapping[str, Any]) -> Table:
    presets = _published_columns(report)
    columns = ("task", "problems", "shots", "metric", "figure", "figure 95%", "seconds", *_headings(presets))
    rows, notes, bars = [], [], []
    for row in report["language"].values():
        published = {name: row["published"][name] for name in presets if name in row["published"]}
        figure = row["figures"].get(row.get("metric"), {}).get("value")
        cells = [row["title"], f"{row['problems']} of {row['available']}", str(row["shots"]), row.get("metric", "")]
        cells += [_percent(figure) if figure is not None else "not run (see below)", _between(row.get("interval"))]
        cells += [f"{row['seconds']:.1f}", *(_language_published(row, name) for name in presets)]
        rows.append(tuple(cells))
        notes += [f"{row['title']}: {text}" for text in (row["not_run"], row["deviation"]) if text]
        notes += [f"{row['title']}: {text}" for text in _language_remarks(row)]
        if figure is not None:
            interval = row.get("interval", {})
            low, high = (None if end not in interval else 100 * interval[end] for end in ("low", "high"))
            bars.append(Bar(title=row["title"], value=100 * figure, low=low, high=high, published=published))
    return Table(
        title="Language and mathematics (published: Figure 3, Table 5)",
        columns=columns,
        rows=tuple(rows),
        notes=tuple(notes),
        bars=tuple(bars),
    )


def _language_published(row: Mapping[str, Any], preset: str) -> str:
    if not row["published"]:
        return BAR_CHART
    return f"{row['published'][preset]:.2f}" if preset in row["published"] else ""


def _language_remarks(row: Mapping[str, Any]) -> Iterator[str]:
    if row["truncated"]:
        yield (
            f"{row['truncated']} of {row['problems']} problems have a prompt that did not fit the model's context and "
            f"lost its beginning (at most {row['tokens_left_out']} tokens)."
        )
    if row["other_data"]:
        yield "its data is not the pinned one."


def _safety_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    summary = report["safety"]
    if not summary:
        return
    if "not_run" in summary:
        yield Table(title="Safety", columns=("prompts",), rows=((f"not run: {summary['not_run']}",),))
        return
    yield _memorisation_table(summary["memorisation"])
    columns = ("prompts", "number", "rate", "of")
    rows = [("secrets and personal data emitted", *_rated(summary["secrets"], "with_finding", "prompts"))]
    rows += [
        (f"- {name}", *_rated(part, "with_finding", "prompts"))
        for name, part in summary["secrets"]["categories"].items()
    ]
    insecure = summary["insecure"]
    rows.append(("completions of risky prompts that parse", *_rated(insecure, "parsed", "prompts")))
    rows.append(("of these without a finding", *_rated(insecure, "secure", "parsed")))
    rows += [
        (f"- {name}, without a finding", *_rated(part, "secure", "parsed")) for name, part in insecure["cwes"].items()
    ]
    yield Table(title="Safety", columns=columns, rows=tuple(rows))


def _about_safety(summary: Mapping[str, Any]) -> Iterator[str]:
    """Which documents were continued, and by what completions were judged."""
    settings = summary.get("settings", {})
    for name, counts in settings.get("documents", {}).items():
        met = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items() if count)
        yield f"Memorisation, {name}: {settings[name]}, seed {settings['seed']}; documents: {met}"
    if "tools" in settings:
        yield "Safety, judged by " + ", ".join(f"{name} {version}" for name, version in settings["tools"].items())


def _memorisation_table(memorisation: Mapping[str, Any] | None) -> Table:
    columns = ("documents", "test", "prompts", "exact", "exact rate", "approximate", "approximate rate")
    if memorisation is None:
        return Table(title="Memorisation", columns=columns, rows=(("not run: no corpus was given", *[""] * 6),))
    rows = []
    for name, part in memorisation.items():
        for test in ("continuation", "infilling-psm", "infilling-spm"):
            if part and test in part:
                one = part[test]
                rates = [
                    one["exact"],
                    _percent(one["exact_rate"]),
                    one["approximate"],
                    _percent(one["approximate_rate"]),
                ]
                rows.append((name, test, str(one["prompts"]), *map(str, rates)))
    return Table(title="Memorisation", columns=columns, rows=tuple(rows))


def _rated(part: Mapping[str, Any], count: str, of: str) -> tuple[str, str, str]:
    number, total = part[count], part[of]
    return str(number), _percent(number / total) if total else "", str(total)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.2f}"


def _between(interval: Mapping[str, float] | None) -> str:
    return "" if interval is None else f"{_percent(interval['low'])} to {_percent(interval['high'])}"
