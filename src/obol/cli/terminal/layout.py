"""Bars for images on their way, as lines of text for a width. Pure.

A wide terminal has one line for each image, a narrower one two, so that names stay whole and bars wide. What there is
no room for is left out: bytes first, then the speed; percent and the time that is left stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.cli.terminal.present import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.cli.terminal.meter import Row

ONE_LINE = 100
"""Columns from which on name and bar stand side by side."""
_NARROWEST_BAR = 8
_PERCENT, _AMOUNT, _SPEED, _LEFT = 4, 13, 10, 12
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))
_HOUR, _MINUTE = 3600, 60


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What bars and cuts are drawn with."""

    done: str = "━"
    rest: str = "─"
    cut: str = "…"


ASCII = Glyphs("#", "-", "~")
"""For terminals that have nothing else."""


def layout(rows: Sequence[Row], width: int, height: int, glyphs: Glyphs | None = None) -> list[str]:
    """Draw rows, the last of which is about all of them, in `width` columns and `height` lines at most."""
    each = 1 if width >= ONE_LINE else 2
    *single, overall = rows
    room = max(0, height // each - 1)
    shown = [*single[:room], overall]
    drawn = [line for row in shown for line in _lines(row, width, glyphs or Glyphs())]
    return [line[:width].rstrip() for line in drawn]


def _lines(row: Row, width: int, glyphs: Glyphs) -> list[str]:
    if width >= ONE_LINE:
        numbers = _numbers(row, with_amount=True, with_speed=True)
        room = width - 2 - 2 - len(numbers)
        bar = room * 2 // 5
        name = shortened(row.name, room - bar, glyphs.cut)
        return [f"  {name:<{room - bar}}  {_bar(row, bar, glyphs)}{numbers}"]
    for with_amount, with_speed in ((True, True), (False, True), (False, False)):
        numbers = _numbers(row, with_amount=with_amount, with_speed=with_speed)
        if width - 2 - len(numbers) >= _NARROWEST_BAR:
            break
    bar = max(0, width - 2 - len(numbers))
    return [f"  {shortened(row.name, max(4, width - 2), glyphs.cut)}", f"  {_bar(row, bar, glyphs)}{numbers}"]


def _numbers(row: Row, *, with_amount: bool, with_speed: bool) -> str:
    percent = "" if row.percent is None else f"{row.percent}%"
    parts = [f" {percent:>{_PERCENT}}"]
    if with_amount:
        parts.append(f"{amount(row):>{_AMOUNT}}")
    if with_speed:
        speed = "" if row.speed is None or row.stalled or row.percent == 100 else f"{size(row.speed)}/s"
        parts.append(f"{speed:>{_SPEED}}")
    parts.append(f"{left(row):<{_LEFT}}")
    return "  ".join(parts)


def _bar(row: Row, width: int, glyphs: Glyphs) -> str:
    if row.percent is None or row.total is None:
        return glyphs.rest * width
    share = 1.0 if row.present >= row.total else row.present / row.total
    done = width if share >= 1 else min(width - 1, int(share * width)) if width else 0
    return glyphs.done * done + glyphs.rest * (width - done)


def amount(row: Row) -> str:
    """Bytes of bytes: "54.1/120 MiB"; "54.1 MiB of ?" where the total is not known, "54.1/120+ MiB" where a part is."""
    if row.total is None:
        return f"{size(row.present)} of ?"
    name, unit = next((name, unit) for name, unit in _UNITS if row.total >= unit or unit == 1)
    present = min(row.present, row.total)
    return f"{_digits(present / unit, unit)}/{_digits(row.total / unit, unit)}{'+' if row.at_least else ''} {name}"


def _digits(number: float, unit: int) -> str:
    # Rounded down: what is not complete must not look as if it were.
    return f"{int(number)}" if unit == 1 or number >= 100 else f"{math.floor(number * 10) / 10:.1f}"


def left(row: Row) -> str:
    """The time that is left, called an estimate; or why nobody can tell."""
    reasons = (
        (row.percent == 100, "complete"),
        (row.waiting, "waiting"),
        (row.stalled, "stalled"),
        (row.percent is None, "size unknown"),
    )
    why = next((text for holds, text in reasons if holds), None)
    if why is not None:
        return why
    return "" if row.seconds_left is None else about(row.seconds_left)


def about(seconds: float) -> str:
    """An estimated time, in 12 columns."""
    if seconds >= 100 * _HOUR:
        return "days"
    for unit, name in ((_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"about {seconds / unit:.0f} {name}"
    return f"about {max(1, math.ceil(seconds))} s"


def shortened(name: str, width: int, cut: str = "…") -> str:
    """A name that fits: its registry, which tells two of one name apart, and its end, where name and tag are."""
    if len(name) <= width:
        return name
    registry, slash, _ = name.partition("/")
    if not slash:
        return f"{name[: max(0, width - len(cut))]}{cut}"[:width]
    head = f"{registry}/"
    if len(head) > width // 2:
        head = head[: width // 2]
    tail = max(1, width - len(head) - len(cut))
    return f"{head}{cut}{name[-tail:]}"[:width]
