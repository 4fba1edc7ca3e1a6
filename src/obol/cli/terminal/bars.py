"""Bars for what is on its way: how fast it comes, lines of text for a width, and how these are drawn again and again.

A speed is what was measured in a sliding window; the time that is left is an estimate from it, and called one. Counters
that go back (an engine that was restarted, a tag that moved) begin a new window: no speed is ever negative.

A wide terminal has one line for each image, a narrower one two, so that names stay whole and bars wide. What has no
room is left out: bytes first, then the speed; percent and the time that is left stay. Every line fits: one that is too
long is cut, because a terminal that folds it would leave a rest behind each time. There is room at its end, too: when a
person presses Ctrl-C, the terminal writes ^C there.
"""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.cli.later import later
from obol.cli.terminal.present import size

if TYPE_CHECKING:
    from rich import live, spinner, text
    from rich.console import Console, ConsoleOptions
    from rich.text import Text
else:
    live, spinner, text = later("rich.live"), later("rich.spinner"), later("rich.text")

WINDOW = 6.0
SHORTEST = 0.5
"""Seconds that a speed is measured over: at most, and at least."""
STALLED = 5.0
"""Seconds without a byte after which something stands still."""


@dataclass(frozen=True, slots=True)
class Row:
    """How far something is, in bytes."""

    name: str
    present: int
    total: int | None
    """None where that is not known."""
    speed: float | None = None
    """Bytes a second; None where too little was seen to tell."""
    stalled: bool = False
    """Nothing has come for a while."""
    waiting: bool = False
    """Nothing is on its way."""
    at_least: bool = False
    """There is more than `total`; how much is not known."""

    @property
    def percent(self) -> int | None:
        """Whole percents, 100 only when all is there; None where the total is not known."""
        if self.total is None or self.at_least:
            return None
        if self.present >= self.total:
            return 100
        return max(0, min(99, self.present * 100 // self.total))

    @property
    def seconds_left(self) -> float | None:
        """An estimate; None where there is nothing that it could rest on."""
        if self.percent is None or self.total is None or not self.speed or self.stalled:
            return None
        return max(0, self.total - self.present) / self.speed


class SpeedMeter:
    """Measures one counter of bytes."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()
        self._grew_at: float | None = None

    def saw(self, now: float, count: int) -> None:
        """The counter stands at `count`."""
        last = self._readings[-1][1] if self._readings else None
        if last is None or count < last:
            self._readings.clear()
            self._grew_at = now
        elif count > last:
            self._grew_at = now
        self._readings.append((now, count))
        # One reading at or before the window's beginning stays: it is where the window begins.
        while len(self._readings) > 2 and self._readings[1][0] <= now - WINDOW:
            self._readings.popleft()

    def speed(self, now: float) -> float | None:
        """Bytes a second over the window; None where too little was seen."""
        if not self._readings:
            return None
        began, first = self._readings[0]
        if now - began < SHORTEST:
            return None
        return (self._readings[-1][1] - first) / (now - began)

    def stalled(self, now: float) -> bool:
        """Whether nothing has come for a while."""
        return self._grew_at is not None and now - self._grew_at >= STALLED


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
    """The time that is left, called an estimate; or why there is none."""
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


REDRAWS = 8
"""A second."""
MARGIN = 4
"""Columns that stay free at the end of a line."""
_SPARE = 3
"""Lines that are left for what is above."""


def may_draw() -> bool:
    """Whether standard error is a terminal on which lines can be taken back."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


class Picture:
    """A line with a spinner, if `title` gives one, and bars below it."""

    def __init__(self, rows: Callable[[], Sequence[Row]], title: Callable[[], str] | None = None) -> None:
        self._rows = rows
        self._title = title
        self._spinner = spinner.Spinner("dots")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draw it as it is now."""
        width = max(1, options.max_width - MARGIN)
        if self._title is not None:
            frame = self._spinner.render(console.get_time())
            line = text.Text.assemble(frame if isinstance(frame, text.Text) else "", " ", self._title(), no_wrap=True)
            line.truncate(width, overflow="crop" if options.ascii_only else "ellipsis")
            yield line
        glyphs = ASCII if options.ascii_only else Glyphs()
        if rows := self._rows():
            for drawn in layout(rows, width, console.height - _SPARE, glyphs):
                line = text.Text(drawn, no_wrap=True, overflow="crop")
                line.highlight_regex(f"{glyphs.done}{{3,}}", "green")
                line.highlight_regex(f"{glyphs.rest}{{3,}}", "dim")
                yield line


@contextmanager
def shown(picture: Picture, console: Console) -> Iterator[None]:
    """Draw a picture for as long as the block runs; it is gone in the end."""
    with live.Live(picture, console=console, transient=True, refresh_per_second=REDRAWS):
        yield
