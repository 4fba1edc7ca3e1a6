"""How pulls go on, on standard error: live bars on a terminal, lines otherwise, nothing with --quiet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from obol.cli.later import later
from obol.cli.terminal import present
from obol.cli.terminal.bars import Picture, Row, SpeedMeter, amount, left, may_draw, shown
from obol.client.ports import BytesFrom, Silence
from obol.machine.clock import SystemClock

if TYPE_CHECKING:
    from rich import console

    from obol.cli.terminal.present import Speaker
    from obol.client.ports import Progress, PulledImage, PullFailed
    from obol.machine.clock import Clock
    from obol.oci.references import ImageReference
else:
    console = later("rich.console")

LINE_EVERY = 10.0
"""Seconds between two lines about the same image."""


class Writer(Protocol):
    """Where lines go."""

    def note(self, text: str) -> None:
        """Write one line."""
        ...


@dataclass
class Count:
    """How far one image is, in bytes."""

    name: str
    size: int
    told_at: float
    done: int = 0
    fetched: int = 0
    """What of it came from the upstream."""
    meter: SpeedMeter = field(default_factory=SpeedMeter)

    def add(self, count: int, source: BytesFrom, now: float) -> None:
        """So many bytes more are there."""
        self.done += count
        self.fetched += count if source is BytesFrom.UPSTREAM else 0
        self.meter.saw(now, self.fetched)

    def row(self, now: float) -> Row:
        """How far it is."""
        return Row(self.name, self.done, self.size, self.meter.speed(now), stalled=self.meter.stalled(now))


class Lines:
    """The `Progress` for logs: a line when an image is found, done or failed, and now and then between."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._counts: dict[ImageReference, Count] = {}

    def found(self, reference: ImageReference, size: int) -> None:
        """Say how much is to come."""
        now = self._clock.monotonic()
        self._counts[reference] = Count(str(reference), size, now)
        self._counts[reference].meter.saw(now, 0)
        self._say(reference, f"{present.size(size)} in all")

    def moved(self, reference: ImageReference, count: int, source: BytesFrom) -> None:
        """Say how far it is, if nothing was said for a while."""
        entry, now = self._counts[reference], self._clock.monotonic()
        entry.add(count, source, now)
        if now - entry.told_at >= LINE_EVERY:
            entry.told_at = now
            self._writer.note(about(entry.row(now)))

    def done(self, image: PulledImage) -> None:
        """Say that it is there."""
        self._say(image.reference, f"done, {came_from(image)}")

    def failed(self, problem: PullFailed) -> None:
        """Say why it is not there; the end of the command says what to do."""
        self._say(problem.reference, f"failed: {problem.why}")

    def _say(self, reference: ImageReference, text: str) -> None:
        self._writer.note(f"{reference}: {text}")


class LiveBars:
    """The `Progress` for a terminal: a bar for each image on its way, and one for all; `expected`: how many there are.

    Pulls go on in one thread while another draws.
    """

    def __init__(self, clock: Clock, expected: int) -> None:
        self._clock = clock
        self._expected = expected
        self._lock = threading.Lock()
        self._counts: dict[ImageReference, Count] = {}
        self._under_way: dict[ImageReference, None] = {}
        self._all = Count("", 0, 0.0)
        self._over = 0

    def found(self, reference: ImageReference, size: int) -> None:
        """Begin a bar."""
        now = self._clock.monotonic()
        with self._lock:
            self._counts[reference] = Count(str(reference), size, now)
            self._under_way[reference] = None
            self._all.size += size
            for count in (self._counts[reference], self._all):
                count.meter.saw(now, count.fetched)

    def moved(self, reference: ImageReference, count: int, source: BytesFrom) -> None:
        """Move a bar on."""
        now = self._clock.monotonic()
        with self._lock:
            for entry in (self._counts[reference], self._all):
                entry.add(count, source, now)

    def done(self, image: PulledImage) -> None:
        """Take the bar away."""
        self._end(image.reference)

    def failed(self, problem: PullFailed) -> None:
        """Take the bar away, and what is missing of it out of the whole; the end of the command says why it failed."""
        with self._lock:
            if (entry := self._counts.get(problem.reference)) is not None:
                self._all.size -= entry.size - entry.done
        self._end(problem.reference)

    def _end(self, reference: ImageReference) -> None:
        with self._lock:
            self._over += 1
            self._under_way.pop(reference, None)

    def rows(self) -> list[Row]:
        """What to draw now."""
        now = self._clock.monotonic()
        with self._lock:
            if not self._counts:
                return []
            single = [self._counts[reference].row(now) for reference in self._under_way]
            overall = replace(
                self._all.row(now),
                name=f"All images ({self._over} of {self._expected} done)",
                at_least=len(self._under_way) + self._over < self._expected,
            )
            return [*single, overall]


@contextmanager
def watching(say: Speaker, expected: int, clock: Clock | None = None) -> Iterator[Progress]:
    """Show how pulls of so many images go on, for as long as the block runs."""
    clock = clock or SystemClock()
    if say.quiet:
        yield Silence()
    elif not may_draw():
        yield Lines(say, clock)
    else:
        bars = LiveBars(clock, expected)
        with shown(Picture(bars.rows), console.Console(stderr=True)):
            yield bars


def came_from(image: PulledImage) -> str:
    """Where the bytes of an image came from, and how fast."""
    if not image.bytes_from_upstream:
        return f"{present.size(image.bytes_total)}, all of it was in the cache"
    rate = present.speed(image.bytes_from_upstream, image.seconds)
    upstream = f"{present.size(image.bytes_from_upstream)} from upstream in {image.seconds:.1f} s ({rate})"
    return (
        f"{upstream}, {present.size(image.bytes_from_cache)} was in the cache" if image.bytes_from_cache else upstream
    )


def about(row: Row) -> str:
    """A line about something on its way."""
    percent = "" if row.percent is None else f"{row.percent}%, "
    speed = "" if row.speed is None or row.stalled else f", {present.size(row.speed)}/s"
    rest = left(row)
    return f"{row.name}: {percent}{amount(row)}{speed}" + (f", {rest}" if rest else "")
