"""How fast bytes come, and about how long it will take: from readings, over the last seconds. Pure: moments are given.

A speed is what was measured in a sliding window; the time that is left is an estimate from it, and called one. Counters
that go back (an engine that was restarted, a tag that moved) begin a new window: no speed is ever negative.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

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
    """There is more than `total`, nobody knows how much."""

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
