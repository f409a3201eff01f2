"""Bytes a chip as a picture: a bar for each plan, a colour for each kind, a line where the chip is full."""

from collections.abc import Sequence
from html import escape

from keras_codegemma.planning.chips import GIB
from keras_codegemma.planning.model import Plan

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 760, 280, 90, 22, 8, 44
_COLOURS = {
    "weights": "#3f7cac",
    "optimizer": "#95afba",
    "cache": "#7a9e7e",
    "batch": "#c9c9c9",
    "activations": "#d95d39",
    "gradients": "#f0a35e",
    "temporary": "#8d6b94",
    "program": "#b8b042",
}


def picture(plans: Sequence[Plan], *, title: str) -> str:
    """An SVG, readable in light and dark.

    Args:
        plans: of one topology, at least one, the recommended one first.
        title: of the picture.
    """
    usable = plans[0].topology.chip.usable_bytes
    most = max(usable, *(min(one.memory.total, 2 * usable) for one in plans)) * 1.05
    height = _TOP + len(plans) * (_BAR + _GAP) + 46

    def x(size: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(size, most) / most

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'font-family="sans-serif" font-size="12" fill="#888"><title>{escape(title)}</title>'
        f'<text x="8" y="18" font-size="14">{escape(title)}</text>'
    ]
    for index, one in enumerate(plans):
        y, at = _TOP + index * (_BAR + _GAP), 0.0
        label = f"{one.mesh}, {one.job.batch_rows} rows"
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(label)}</text>')
        for kind, size in one.memory.by_kind().items():
            if x(at + size) - x(at) >= 0.1:
                parts.append(
                    f'<rect x="{x(at):.1f}" y="{y}" width="{x(at + size) - x(at):.1f}" height="{_BAR}" '
                    f'fill="{_COLOURS[kind]}"><title>{kind} {size / GIB:.2f} GiB</title></rect>'
                )
            at += size
        parts.append(f'<text x="{x(at) + 6:.1f}" y="{y + 15}">{at / GIB:.2f} GiB</text>')
    bottom = _TOP + len(plans) * (_BAR + _GAP)
    parts.append(
        f'<line x1="{x(usable):.1f}" x2="{x(usable):.1f}" y1="{_TOP - 6}" y2="{bottom}" stroke="#d00" '
        f'stroke-dasharray="4 3"/><text x="{x(usable):.1f}" y="{_TOP - 10}" text-anchor="middle">'
        f"{usable / GIB:.2f} GiB a chip</text>"
    )
    shown = [kind for kind in _COLOURS if any(one.memory.by_kind()[kind] for one in plans)]
    for index, kind in enumerate(shown):
        left = 8 + 92 * index
        parts.append(
            f'<rect x="{left}" y="{bottom + 14}" width="10" height="10" fill="{_COLOURS[kind]}"/>'
            f'<text x="{left + 14}" y="{bottom + 23}">{kind}</text>'
        )
    return "".join([*parts, "</svg>\n"])
