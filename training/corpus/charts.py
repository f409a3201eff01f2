"""Bars as SVG that stands in a page by itself: no script, no file beside it, readable in light and dark."""

from collections.abc import Mapping, Sequence
from html import escape

_ROW, _LABEL, _BAR, _VALUE = 22, 300, 420, 150
_COLOURS = ("#3f7cac", "#95b8d1", "#d95d39", "#7a9e7e", "#c9a227", "#7d5ba6", "#8d99ae", "#2a9d8f", "#b5838d")


def bars(values: Mapping[str, float], *, title: str, unit: str = "") -> str:
    """One horizontal bar a value, in the order given, with its number beside it."""
    most = max(values.values(), default=0) or 1
    height = _ROW * len(values) + 8
    parts = [_open(title, height)]
    for index, (name, value) in enumerate(values.items()):
        y = _ROW * index + 4
        width = _BAR * value / most
        parts.append(
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LABEL}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 6}" fill="{_COLOURS[0]}"/>'
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 15}">{escape(number(value))}{escape(unit)}</text>'
        )
    return "".join([*parts, "</svg>"])


def stacked(rows: Mapping[str, Mapping[str, float]], *, title: str) -> str:
    """One bar a row, all of one length, divided by shares; what the colours are stands below."""
    names = list(dict.fromkeys(name for values in rows.values() for name in values))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    legend = _legend(names, colours, top=_ROW * len(rows) + 8)
    parts = [_open(title, _ROW * len(rows) + 8 + _ROW * (1 + (len(names) - 1) // 4))]
    for index, (row, values) in enumerate(rows.items()):
        x, total = float(_LABEL), sum(values.values()) or 1
        parts.append(f'<text x="{_LABEL - 8}" y="{_ROW * index + 19}" text-anchor="end">{escape(row)}</text>')
        for name, value in values.items():
            width = (_BAR + _VALUE) * value / total
            tip = f"{name}: {number(value)} ({value / total:.1%})"
            parts.append(
                f'<rect x="{x:.1f}" y="{_ROW * index + 6}" width="{width:.1f}" height="{_ROW - 6}" '
                f'fill="{colours[name]}"><title>{escape(tip)}</title></rect>'
            )
            x += width
    return "".join([*parts, legend, "</svg>"])


def number(value: float) -> str:
    """A number as a person reads it: whole ones with thin spaces, others with three figures."""
    return f"{value:,.0f}".replace(",", "\u2009") if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def _open(title: str, height: int) -> str:
    width = _LABEL + _BAR + _VALUE
    return f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}"><title>{escape(title)}</title>'


def _legend(names: Sequence[str], colours: Mapping[str, str], *, top: int) -> str:
    parts = []
    for index, name in enumerate(names):
        x, y = _LABEL + 142 * (index % 4), top + _ROW * (index // 4)
        parts.append(
            f'<rect x="{x}" y="{y + 2}" width="12" height="12" fill="{colours[name]}"/>'
            f'<text x="{x + 17}" y="{y + 13}">{escape(name)}</text>'
        )
    return "".join(parts)
