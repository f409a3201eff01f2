"""The loss curve as SVG: no script, no file beside it, readable in light and dark."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 760, 400, 60, 20, 20, 50
_COLOURS = ("#3f7cac", "#d95d39", "#7a9e7e")
_TICKS = 6

Point = tuple[float, float]


def write_curve(path: Path, lines: Sequence[Mapping[str, Any]], *, name: str, title: str) -> None:
    """Draws what a log holds under a name over steps, and what its validations do."""
    series = {
        name: [(float(line["step"]), float(line[name])) for line in lines if name in line and math.isfinite(line[name])]
        for name in (name, f"val_{name}")
    }
    path.write_text(curve({name: points for name, points in series.items() if points}, title=title))


def curve(series: Mapping[str, Sequence[Point]], *, title: str) -> str:
    """Lines of points over common axes.

    Args:
        series: name to points, at least one.
        title: of the picture.
    """
    everything = [point for points in series.values() for point in points]
    if not everything:
        return f'<svg xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}: nothing was logged</title></svg>\n'
    x_ticks = _ticks(min(x for x, _ in everything), max(x for x, _ in everything))
    y_ticks = _ticks(min(y for _, y in everything), max(y for _, y in everything))

    def place(point: Point) -> Point:
        (x, y), width, height = point, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return (
            _LEFT + width * (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]),
            _TOP + height * (y_ticks[-1] - y) / (y_ticks[-1] - y_ticks[0]),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'font-family="sans-serif" font-size="12" fill="#888"><title>{escape(title)}</title>'
    ]
    for value in x_ticks:
        x, _ = place((value, y_ticks[0]))
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{value:,.6g}</text>')
    for value in y_ticks:
        _, y = place((x_ticks[0], value))
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    for index, (name, points) in enumerate(series.items()):
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
        colour = _COLOURS[index % len(_COLOURS)]
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{_LEFT + 10 + 220 * index}" y="{_HEIGHT - 12}" fill="{colour}">{escape(name)}: '
            f"{points[-1][1]:.4f} at step {points[-1][0]:g}</text>"
        )
    return "".join([*parts, "</svg>\n"])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below the lowest to above the highest, at least two."""
    span = high - low or abs(high) or 1.0
    rough = span / _TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [index * step for index in range(first, max(last, first + 1) + 1)]
