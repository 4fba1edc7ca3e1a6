"""The result as a picture: bars for the terminal, and the same as SVG. Pure: values in, text out.

The SVG names no font and loads nothing. It brings its own background, because a page that shows it as an image may be
light or dark whatever the reader's system says; where the two agree, it follows the system.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from obol.demo.base import megabits, megabytes, milliseconds, part, seconds

if TYPE_CHECKING:
    from obol.demo.base import MeasuredPull, PhaseName, Result

MEANINGS: dict[PhaseName, str] = {
    "direct": "no cache",
    "cold": "first pull through the cache",
    "warm": "each pull after that",
    "offline": "the same, upstream unplugged",
}
"""What each phase shows, in a few words."""

FULL, EIGHTHS = "█", "▏▎▍▌▋▊▉"
_NARROWEST_BAR = 10
_LABEL = max(map(len, MEANINGS)) + 2

_WIDTH, _MARGIN, _BAR_X, _BAR_SPACE = 760, 24, 236, 300
_TOP, _ROW, _BAR = 92, 58, 26
_ABOUT_TICKS = 5
_STYLE = """\
  .card { fill: #ffffff; stroke: #d0d7de } .rule { stroke: #d8dee4 }
  .ink { fill: #1f2328; stroke: #ffffff } .soft { fill: #59636e; stroke: #ffffff }
  .direct { fill: #8c959f } .cold { fill: #0969da } .warm, .offline { fill: #1a7f37 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #161b22; stroke: #3d444d } .rule { stroke: #30363d }
    .ink { fill: #f0f6fc; stroke: #161b22 } .soft { fill: #9da7b3; stroke: #161b22 }
    .direct { fill: #7d8590 } .cold { fill: #4493f8 } .warm, .offline { fill: #3fb950 }
  }
  text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; font-size: 13px;
    paint-order: stroke; stroke-width: 4px; stroke-linejoin: round }
  .title { font-size: 18px; font-weight: 600 } .name { font-size: 15px; font-weight: 600 } .small { font-size: 12px }"""


def what(result: Result) -> str:
    """Say what was pulled, and the scale."""
    return (
        f"{result.images} generated images in {result.layers} layers, {megabytes(result.size)}: "
        f"about {part(result.share)} of a real stack's bytes"
    )


def link(result: Result) -> str:
    """Say what the internet was."""
    given = result.link
    return (
        f"a link of {megabits(given.total_bps)} in all, {megabits(given.connection_bps)} per connection, "
        f"{milliseconds(given.latency)}"
    )


def against(phase: MeasuredPull) -> str:
    """Say how a phase compares with the direct pull."""
    if phase.name == "direct":
        return ""
    if phase.times_faster >= 1:
        return f"{_factor(phase.times_faster)} times faster"
    return f"{_factor(1 / phase.times_faster)} times slower"


def _factor(times: float) -> str:
    return f"{times:.0f}" if times >= 10 else f"{times:.1f}"


def bars(phases: Sequence[MeasuredPull], width: int, *, blocks: bool = True) -> tuple[str, ...]:
    """Draw a line of text for each phase below a line of titles, `width` columns at most; without `blocks`, in ASCII.

    Where there is little room, first the bytes are left out, then the comparison.
    """
    *richer, least = _ends(phases)
    ends = next((ends for ends in richer if len(ends[0]) <= width - _LABEL - _NARROWEST_BAR), least)
    space = max(_NARROWEST_BAR, width - _LABEL - len(ends[0]))
    longest = max(phase.seconds for phase in phases)
    drawn = [_bar(phase.seconds / longest * space, blocks=blocks) for phase in phases]
    lines = [
        f"{name:<{_LABEL}}{bar:<{space}}{end}"
        for name, bar, end in zip(["", *(phase.name for phase in phases)], ["", *drawn], ends, strict=True)
    ]
    return tuple(line.rstrip() for line in lines)


def _ends(phases: Sequence[MeasuredPull]) -> Iterator[list[str]]:
    """What stands behind the bars, the title first: all of it, then less and less."""
    times = ["Time", *(seconds(phase.seconds) for phase in phases)]
    factors = ["", *(against(phase) for phase in phases)]
    sizes = ["From upstream", *(megabytes(phase.bytes_from_upstream) for phase in phases)]
    columns = [_column(times, ">"), _column(factors, "<"), _column(sizes, ">")]
    for count in (3, 2, 1):
        yield ["".join(parts) for parts in zip(*columns[:count], strict=True)]


def _column(texts: Sequence[str], side: str) -> list[str]:
    widest = max(map(len, texts))
    return [f"  {text:{side}{widest}}" for text in texts]


def _bar(columns: float, *, blocks: bool) -> str:
    if not blocks:
        return "#" * max(1, round(columns))
    eighths = max(1, round(columns * 8))
    return FULL * (eighths // 8) + f" {EIGHTHS}"[eighths % 8].strip()


def svg(result: Result) -> str:
    """Draw the chart as an SVG document."""
    height = _TOP + _ROW * len(result.phases) + 84
    longest = max(phase.seconds for phase in result.phases)
    scale = _BAR_SPACE / longest
    bottom = _TOP + _ROW * len(result.phases)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_attribute(_summary(result))}">',
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>',
        _text(_MARGIN, 38, "title ink", "A new node pulls the stack's images"),
        _text(_MARGIN, 60, "soft", "Seconds until every byte is there and verified; shorter is better"),
        *_ticks(longest, scale, bottom),
    ]
    for number, phase in enumerate(result.phases):
        lines += _row(phase, _TOP + _ROW * number, scale)
    lines += [
        _text(_MARGIN, bottom + 44, "small soft", f"{_capital(what(result))}."),
        _text(_MARGIN, bottom + 62, "small soft", f"On loopback, slowed to {link(result)}. Measured by obol demo."),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _summary(result: Result) -> str:
    return "; ".join(f"{phase.name}: {seconds(phase.seconds)}" for phase in result.phases)


def _row(phase: MeasuredPull, top: int, scale: float) -> Iterator[str]:
    width = max(2.0, phase.seconds * scale)
    beside = _BAR_X + width + 10
    faster = f", {against(phase)}" if against(phase) else ""
    yield _text(_MARGIN, top + 13, "name ink", _capital(phase.name))
    yield _text(_MARGIN, top + 30, "small soft", MEANINGS[phase.name])
    yield (
        f'<rect class="{phase.name}" x="{_BAR_X}" y="{top + 3}" width="{width:.1f}" height="{_BAR}" rx="3">'
        f"<title>{escape(phase.name)}: {seconds(phase.seconds)}</title></rect>"
    )
    yield _text(beside, top + 13, "name ink", f"{seconds(phase.seconds)}{faster}")
    yield _text(beside, top + 30, "small soft", f"{megabytes(phase.bytes_from_upstream)} from upstream")


def _ticks(longest: float, scale: float, bottom: int) -> Iterator[str]:
    """Rule the chart every so many round seconds."""
    step = next(step for step in _round_steps() if longest / step <= _ABOUT_TICKS)
    for number in range(int(longest / step) + 1):
        x = _BAR_X + number * step * scale
        yield f'<path class="rule" d="M{x:.1f} {_TOP - 10}V{bottom - 8}"/>'
        yield _text(x, bottom + 8, 'small soft" text-anchor="middle', f"{number * step:g} s")


def _round_steps() -> Iterator[float]:
    step = 0.01
    while True:
        yield from (step, 2 * step, 5 * step)
        step *= 10


def _text(x: float, y: int, kind: str, content: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y}">{escape(content)}</text>'


def _attribute(content: str) -> str:
    return escape(content, {'"': "&quot;"})


def _capital(content: str) -> str:
    return content[:1].upper() + content[1:]
