"""A report as one HTML page that needs nothing else: tables, and plots as SVG."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from training.corpus.charts import bars, number, stacked

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .6rem 0 1.4rem; }
th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
td:last-child { overflow-wrap: anywhere; }
svg { display: block; max-width: 100%; height: auto; margin: .6rem 0 1.4rem; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
code { overflow-wrap: anywhere; }
"""
_MOST_ROWS = 40


def page(report: Mapping[str, Any]) -> str:
    """The page of a report that `report.make` made."""
    corpus = report["corpus"]
    title = f"Corpus {report['recipe']['name']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{number(corpus['tokens'])} tokens in {number(corpus['rows'])} rows of "
        f"{corpus['sequence_length']}, {corpus['shards']} shards; {corpus['packing_waste_rate']:.2%} of positions are "
        f"padding. Rows and their order: <code>{escape(report['fingerprint'])}</code></p>",
        *_stages(report),
        *_contents(report),
        *_examples(report),
        *_checks(report),
        *_speed(report["speed"], report["peak_memory_bytes"]),
        *_sources(report["recipe"]["sources"]),
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return head + "\n".join(parts) + "\n</html>\n"


def _stages(report: Mapping[str, Any]) -> Iterable[str]:
    stages = report["stages"]
    yield "<h2>What went in and out</h2>"
    yield _table(
        ("stage", "files in", "MB in", "files out", "MB out", "dropped"),
        [
            (
                item["stage"],
                *(number(item["files_in"]), _mb(item["bytes_in"]), number(item["files_out"]), _mb(item["bytes_out"])),
                number(item["files_in"] - item["files_out"]),
            )
            for item in stages
        ],
    )
    reasons = {f"{item['stage']}: {reason}": counts for item in stages for reason, counts in item["dropped"].items()}
    if reasons:
        yield "<h3>Dropped, by reason</h3>"
        yield bars({name: counts["files"] for name, counts in reasons.items()}, title="files dropped", unit=" files")


def _contents(report: Mapping[str, Any]) -> Iterable[str]:
    for field in ("languages", "licences"):
        found = report[field]
        yield f"<h2>{field.capitalize()}</h2>"
        in_corpus = {name: item["bytes"] / 1e6 for name, item in found.items() if item["bytes"]}
        yield bars(dict(list(in_corpus.items())[:_MOST_ROWS]), title=f"{field} in the corpus", unit=" MB")
        yield _table(
            (field[:-1], "files read", "MB read", "files", "MB", "tokens"),
            [
                (
                    name,
                    *(number(item["files_read"]), _mb(item["bytes_read"]), number(item["files"]), _mb(item["bytes"])),
                    number(item["tokens"]),
                )
                for name, item in list(found.items())[:_MOST_ROWS]
            ],
        )


def _examples(report: Mapping[str, Any]) -> Iterable[str]:
    rates = {name: {key: item["count"] for key, item in values.items()} for name, values in report["rates"].items()}
    yield "<h2>Examples</h2>"
    yield stacked({name: values for name, values in rates.items() if values}, title="shares of what is drawn by chance")
    rows = [
        (name, key, number(item["count"]), f"{item['share']:.2%}")
        for name, values in report["rates"].items()
        for key, item in values.items()
    ]
    yield _table(("draw", "outcome", "count", "share"), rows)
    titles = {
        "example_tokens": "Tokens of an example, up to",
        "file_tokens": "Tokens of a file, or a fragment of one, up to",
        "middle_tokens": "Tokens of a middle, up to",
        "files_per_example": "Files in an example, up to",
    }
    for name, values in report["histograms"].items():
        yield f"<h3>{titles[name]}</h3>" + bars(values, title=titles[name])


def _checks(report: Mapping[str, Any]) -> Iterable[str]:
    yield "<h2>Secrets, personal data, benchmarks</h2>"
    yield _table(("redacted", "places"), [(kind, number(count)) for kind, count in report["redacted"].items()])
    benchmarks = report["benchmarks"]
    rows = sum(item["rows"] for item in benchmarks["files"].values())
    yield (
        f"<p>{len(benchmarks['files'])} benchmark files of {number(rows)} rows were looked for; "
        f"{len(benchmarks['hits'])} documents have pieces of them.</p>"
    )
    yield _table(
        ("document", "benchmark", "row", "piece"),
        [
            (f"{item['repository']} {item['path']}", hit["benchmark"], hit["row"], hit["text"])
            for item in benchmarks["hits"][:_MOST_ROWS]
            for hit in item["hits"][:1]
        ],
    )


def _speed(speed: Mapping[str, Any], peak_memory_bytes: int) -> Iterable[str]:
    yield "<h2>What it took</h2>"
    rows = [*speed["stages"].items(), ("all stages", speed["whole"])]
    yield _table(
        ("stage", "processor seconds", "MB a second"),
        [(name, f"{item['seconds']:.1f}", f"{item['mb_per_second']:.2f}") for name, item in rows],
    )
    hours = ", ".join(
        f"{number(round(value))} core-hours for {name} tokens" for name, value in speed["core_hours"].items()
    )
    yield (
        f"<p>{speed['source_megabytes']:.1f} MB of source after filters. At this rate: {hours}. "
        f"Most memory of a process: {number(peak_memory_bytes / 1e6)} MB.</p>"
    )


def _sources(sources: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield f"<h2>{len(sources)} sources</h2>"
    yield _table(
        ("name", "kind", "version", "licence", "sha256"),
        [tuple(str(item[key] or "") for key in ("name", "kind", "version", "licence", "sha256")) for item in sources],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f}" if size >= 1e5 or not size else f"{size / 1e6:.3f}"
