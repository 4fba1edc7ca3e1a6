"""Charts as SVG: lines over a logarithmic axis, readable in light and dark, with text that is text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from bench.measures import Chart

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 40, 44
COLOURS = ("#2a78d6", "#1baf7a", "#eda100", "#008300", "#4a3aa7", "#e34948", "#e87ba4", "#eb6834")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#52514e}.title{font-weight:600;font-size:14px}"
    ".grid{stroke:#dddcd8}@media(prefers-color-scheme:dark){text{fill:#c3c2b7}.grid{stroke:#3d3d3a}}"
)


def svg(chart: Chart) -> str:
    """The chart as a document."""
    xs = sorted({x for _, points in chart.lines for x, _ in points})
    top = _round_up(max(y for _, points in chart.lines for _, y in points))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(chart.title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="20">{escape(chart.title)} ({escape(chart.y_label)})</text>',
    ]
    for step in range(5):
        value = top * step / 4
        y = _y(value, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for x in xs:
        at = _x(x, xs)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:,.0f}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">{escape(chart.x_label)}</text>')
    parts += _lines(chart, xs, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lines(chart: Chart, xs: list[float], top: float) -> Iterable[str]:
    """The lines, each with its name at its end, moved apart where they would lie on each other."""
    taken: list[float] = []
    ordered = sorted(enumerate(chart.lines), key=lambda one: _y(one[1][1][-1][1], top))
    for number, (name, points) in ordered:
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{_x(x, xs):.1f},{_y(y, top):.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in points:
            yield f'<circle cx="{_x(x, xs):.1f}" cy="{_y(y, top):.1f}" r="3.5" fill="{colour}"/>'
        label = max([_y(points[-1][1], top) + 4, *(at + 15 for at in taken)])
        taken.append(label)
        yield f'<text x="{WIDTH - RIGHT + 10}" y="{label:.1f}">{escape(name)}</text>'


def _x(value: float, xs: list[float]) -> float:
    low, high = math.log10(xs[0]), math.log10(xs[-1])
    share = 0.5 if high == low else (math.log10(value) - low) / (high - low)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5 or 8 times a power of ten, so that quarters of it are plain numbers."""
    base = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * base for step in (1, 2, 4, 8, 10) if step * base >= value)
