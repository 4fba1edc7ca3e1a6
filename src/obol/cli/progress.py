"""How pulls go on, on standard error: live bars on a terminal, lines otherwise, nothing with --quiet."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from obol.cli import present
from obol.client.base import Silence, Source
from obol.machine.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from obol.cli.present import Speaker
    from obol.client.base import Progress, PulledImage, PullFailed
    from obol.machine.clock import Clock
    from obol.oci.references import ImageReference

LINE_EVERY = 10.0
"""Seconds between two lines about the same image."""
NAME_WIDTH = 32
"""Columns for a name beside a bar, so that all fits in 80."""


class Writer(Protocol):
    """Where lines go."""

    def note(self, text: str) -> None:
        """Write one line."""
        ...


@dataclass
class Count:
    """How far one image is, in bytes."""

    size: int
    since: float
    told_at: float
    done: int = 0
    fetched: int = 0
    """What of it came from the upstream."""

    def add(self, count: int, source: Source) -> None:
        """So many bytes more are there."""
        self.done += count
        self.fetched += count if source is Source.UPSTREAM else 0


class Lines:
    """The `Progress` for logs: a line when an image is found, done or failed, and now and then between."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._counts: dict[ImageReference, Count] = {}

    def found(self, reference: ImageReference, size: int) -> None:
        """Say how much is to come."""
        now = self._clock.monotonic()
        self._counts[reference] = Count(size, now, now)
        self._say(reference, f"{present.size(size)} in all")

    def moved(self, reference: ImageReference, count: int, source: Source) -> None:
        """Say how far it is, if nothing was said for a while."""
        entry, now = self._counts[reference], self._clock.monotonic()
        entry.add(count, source)
        if now - entry.told_at >= LINE_EVERY:
            entry.told_at = now
            rate = present.speed(entry.fetched, now - entry.since)
            self._say(reference, f"{present.size(entry.done)} of {present.size(entry.size)} ({source}, {rate})")

    def done(self, image: PulledImage) -> None:
        """Say that it is there."""
        self._say(image.reference, f"done, {came_from(image)}")

    def failed(self, problem: PullFailed) -> None:
        """Say why it is not; what to do is told at the end."""
        self._say(problem.reference, f"failed: {problem.why}")

    def _say(self, reference: ImageReference, text: str) -> None:
        self._writer.note(f"{reference}: {text}")


class LiveBars:
    """The `Progress` for a terminal: a bar for each image on its way; they disappear when all is done."""

    def __init__(self, bars: Bars, clock: Clock) -> None:
        self._bars = bars
        self._clock = clock
        self._tasks: dict[ImageReference, TaskID] = {}
        self._counts: dict[ImageReference, Count] = {}

    def found(self, reference: ImageReference, size: int) -> None:
        """Begin a bar."""
        now = self._clock.monotonic()
        self._counts[reference] = Count(size, now, now)
        self._tasks[reference] = self._bars.add_task(
            shortened(str(reference)), total=size, amount="", rate="", source=""
        )

    def moved(self, reference: ImageReference, count: int, source: Source) -> None:
        """Move a bar on."""
        entry = self._counts[reference]
        entry.add(count, source)
        self._bars.update(
            self._tasks[reference],
            completed=entry.done,
            amount=f"{present.size(entry.done)}/{present.size(entry.size)}",
            rate=present.speed(entry.fetched, self._clock.monotonic() - entry.since),
            source=source,
        )

    def done(self, image: PulledImage) -> None:
        """Take the bar away."""
        self._remove(image.reference)

    def failed(self, problem: PullFailed) -> None:
        """Take the bar away; why it failed is told at the end."""
        self._remove(problem.reference)

    def _remove(self, reference: ImageReference) -> None:
        if (task := self._tasks.pop(reference, None)) is not None:
            self._bars.remove_task(task)


@contextmanager
def watching(say: Speaker, clock: Clock | None = None) -> Iterator[Progress]:
    """Show how pulls go on, for as long as the block runs."""
    clock = clock or SystemClock()
    if say.quiet:
        yield Silence()
    elif not sys.stderr.isatty():
        yield Lines(say, clock)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=8),
            TextColumn("{task.fields[amount]}", justify="right"),
            TextColumn("{task.fields[rate]}", justify="right"),
            TextColumn("{task.fields[source]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            yield LiveBars(bars, clock)


def came_from(image: PulledImage) -> str:
    """Where the bytes of an image came from, and how fast."""
    if not image.bytes_from_upstream:
        return f"{present.size(image.bytes_total)}, all of it was in the cache"
    rate = present.speed(image.bytes_from_upstream, image.seconds)
    upstream = f"{present.size(image.bytes_from_upstream)} from upstream in {image.seconds:.1f} s ({rate})"
    return (
        f"{upstream}, {present.size(image.bytes_from_cache)} were in the cache" if image.bytes_from_cache else upstream
    )


def shortened(name: str, width: int = NAME_WIDTH) -> str:
    """A name that fits: its end tells more than its beginning."""
    return name if len(name) <= width else f"…{name[1 - width :]}"
