"""Bars with intervals as inline SVG: horizontal, in percent, published figures as marks beside the bar."""

from collections.abc import Iterator, Sequence
from html import escape

from keras_codegemma.evaluation.report.tables import Bar

WIDTH, LABELS, FIGURES, ROW, BAR = 900, 300, 70, 26, 14
"""Pixels: of the drawing, of the column of titles, of the figures behind the bars, of a row, of a bar."""
MARKS = ("#c0392b", "#d68910", "#1e8449", "#7d3c98", "#2e4053")
"""Colours of published figures, in the order of their presets."""


def chart(bars: Sequence[Bar]) -> str:
    """An SVG element of its own.

    Args:
        bars: what to draw, at least one.
    """
    height = ROW * len(bars) + 24
    presets = list(dict.fromkeys(name for bar in bars for name in bar.published))
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">', *_grid(height)]
    for number, bar in enumerate(bars):
        parts += _bar(bar, top=ROW * number, presets=presets)
    return "\n".join([*parts, "</svg>"]) + _legend(presets)


def _grid(height: int) -> Iterator[str]:
    for percent in range(0, 101, 20):
        x = _x(percent)
        yield f'<line class="grid" x1="{x}" y1="0" x2="{x}" y2="{height - 20}"/>'
        yield f'<text class="axis" x="{x}" y="{height - 6}" text-anchor="middle">{percent}%</text>'


def _bar(bar: Bar, *, top: int, presets: Sequence[str]) -> Iterator[str]:
    y, middle = top + (ROW - BAR) // 2, top + ROW // 2
    yield f'<text x="{LABELS - 8}" y="{middle + 4}" text-anchor="end">{escape(bar.title)}</text>'
    yield f'<rect class="bar" x="{_x(0)}" y="{y}" width="{_x(bar.value) - _x(0):.1f}" height="{BAR}"/>'
    if bar.low is not None and bar.high is not None:
        yield f'<line class="whisker" x1="{_x(bar.low)}" y1="{middle}" x2="{_x(bar.high)}" y2="{middle}"/>'
        for end in (bar.low, bar.high):
            yield f'<line class="whisker" x1="{_x(end)}" y1="{middle - 4}" x2="{_x(end)}" y2="{middle + 4}"/>'
    for name, value in bar.published.items():
        colour = MARKS[presets.index(name) % len(MARKS)]
        x = _x(value)
        yield (
            f'<path d="M{x} {middle - 6}l4 6l-4 6l-4 -6z" fill="{colour}">'
            f"<title>published, {escape(name)}: {value:.2f}%</title></path>"
        )
    yield f'<text class="figure" x="{WIDTH}" y="{middle + 4}" text-anchor="end">{bar.value:.2f}</text>'


def _legend(presets: Sequence[str]) -> str:
    marks = [
        f'<span class="key" style="background:{MARKS[place % len(MARKS)]}"></span>published, {escape(name)}'
        for place, name in enumerate(presets)
    ]
    return f'<p class="legend">{" ".join(marks)}</p>' if marks else ""


def _x(percent: float) -> float:
    room = WIDTH - LABELS - FIGURES
    return round(LABELS + room * min(max(percent, 0.0), 100.0) / 100, 1)
