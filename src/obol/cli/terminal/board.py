"""What is known of images on their way, from readings of a cache engine: rows to draw, and what has just come in whole.

An image counts as begun when bytes of it have come since we look: what was in the cache before is there, but was not
fetched. What comes of it is counted from there on, so speeds are of bytes that really came.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from obol.cli.later import later
from obol.cli.terminal.bars import Row, SpeedMeter
from obol.errors import ObolError

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.registry.control import client
    from obol.registry.control.api import ImageProgress, ProgressStatus
else:
    client = later("obol.registry.control.client")

EVERY = 0.25
"""Seconds between two questions."""
_END_WITHIN = 2.0


@dataclass(frozen=True, slots=True)
class Finished:
    """An image that has come in whole; sizes in bytes, the time in seconds since its first byte was seen."""

    name: str
    total: int
    fetched: int
    seconds: float
    whole: bool = True
    """False: its size became known while it came, so the beginning was not seen: the rest need not have been there."""


@dataclass
class _Entry:
    """One image."""

    name: str
    wanted: bool
    total: int | None = None
    present: int = 0
    own_total: int = 0
    own_present: int = 0
    transfers: int = 0
    fetched: int = 0
    began_at: float | None = None
    ended: bool = False
    looked_at: float | None = None
    unknown: bool = False
    """The engine that speaks now did not know its size at first."""
    meter: SpeedMeter = field(default_factory=SpeedMeter)

    @property
    def complete(self) -> bool:
        return self.total is not None and self.present >= self.total

    @property
    def under_way(self) -> bool:
        return self.began_at is not None and not self.complete

    def take(self, now: float, told: ImageProgress) -> int:
        """Take a reading; gives the bytes that came since the last one, shared ones left to the first who has them."""
        anew = told.total != self.total
        came = 0 if anew else max(0, told.present - self.present)
        own = 0 if anew else max(0, told.own_present - self.own_present)
        if (came or told.transfers) and self.began_at is None:
            # What came since the last reading began after it, even if its transfer is over by now.
            self.began_at = self.looked_at if came and self.looked_at is not None else now
        self.looked_at = now
        self.unknown |= told.total is None
        self.fetched += came
        self.total, self.present, self.transfers = told.total, told.present, told.transfers
        self.own_total, self.own_present = told.own_total, told.own_present
        self.meter.saw(now, self.fetched)
        return own

    def row(self, now: float) -> Row:
        return Row(
            self.name,
            self.present,
            self.total,
            self.meter.speed(now),
            stalled=self.meter.stalled(now),
            waiting=not self.transfers and self.meter.stalled(now),
        )


class Board:
    """Keeps the last readings; one thread takes them, another draws.

    `wanted` are the images that may come, `others` those that may come besides. Where it is known which of them will,
    `expect` says so: then one of which nothing is known yet makes the total unknown.
    """

    def __init__(self, wanted: Iterable[str], others: Iterable[str] = (), *, foretold: bool = True) -> None:
        self._entries = {name: _Entry(name, wanted=True) for name in wanted}
        self._entries |= {name: _Entry(name, wanted=False) for name in others if name not in self._entries}
        self._expected: frozenset[str] | None = frozenset() if foretold else None
        self._lock = threading.Lock()
        self._meter = SpeedMeter()
        self._came = 0
        self._pid: int | None = None
        self._finished: list[Finished] = []
        self._heard = False

    @property
    def names(self) -> tuple[str, ...]:
        """The images to ask about, in order."""
        return tuple(self._entries)

    def expect(self, names: Iterable[str]) -> None:
        """These images come, and no others unless one is seen to come."""
        with self._lock:
            self._expected = frozenset(names)

    def take(self, status: ProgressStatus | None, now: float) -> None:
        """Take what an engine says; None: it says nothing now, and so nothing is known."""
        with self._lock:
            self._heard = status is not None
            if status is None:
                return
            if status.pid != self._pid:
                # What another process says is not what came since the last reading.
                self._pid = status.pid
                for known in self._entries.values():
                    known.total = None
                    known.unknown = False
            for told in status.images:
                if (entry := self._entries.get(told.reference)) is not None:
                    self._came += entry.take(now, told)
                    self._note_end(entry, now)
            self._meter.saw(now, self._came)

    def _note_end(self, entry: _Entry, now: float) -> None:
        if not entry.complete:
            entry.ended = False
        elif not entry.ended:
            entry.ended = True
            if entry.began_at is not None and entry.total is not None:
                seconds, whole = now - entry.began_at, not entry.unknown
                self._finished.append(Finished(entry.name, entry.total, entry.fetched, seconds, whole))

    def finished(self) -> Sequence[Finished]:
        """What has come in whole since this was last asked."""
        with self._lock:
            found, self._finished = self._finished, []
            return found

    def rows(self, now: float) -> list[Row]:
        """A row for each image on its way, and one about all; nothing where some are missing and none is on its way."""
        with self._lock:
            if not self._heard:
                return []
            under_way = [entry for entry in self._entries.values() if entry.under_way]
            overall = self._overall(now)
            return [*(entry.row(now) for entry in under_way), overall] if under_way or overall.percent == 100 else []

    def _counts(self, entry: _Entry) -> bool:
        """Whether it is one of all: it has come or will; if it is not known which will, it may come and has a size."""
        if entry.began_at is not None:
            return True
        return entry.name in self._expected if self._expected is not None else entry.wanted and entry.total is not None

    def _overall(self, now: float) -> Row:
        counted = [entry for entry in self._entries.values() if self._counts(entry)]
        known = [entry for entry in counted if entry.total is not None]
        unknown = len(counted) - len(known)
        complete = sum(entry.complete for entry in known)
        stalled = self._meter.stalled(now)
        return Row(
            f"All images ({complete} of {len(known) + unknown} in the cache)",
            sum(entry.own_present for entry in known),
            sum(entry.own_total for entry in known),
            self._meter.speed(now),
            stalled=stalled,
            at_least=unknown > 0 or not known,
        )


class AskProgress(Protocol):
    """Asks an engine."""

    def __call__(self, images: Sequence[str], /) -> ProgressStatus | None:
        """How far these images are; None where no engine says so."""


def engine_at(store: Path, platforms: Sequence[str]) -> AskProgress:
    """The way to ask the engine of a store; it says None where none runs, or it does not answer at once."""
    control = client.ControlClient(store)

    def ask(images: Sequence[str]) -> ProgressStatus | None:
        with contextlib.suppress(ObolError):
            return control.progress(images, platforms)
        return None

    return ask


@dataclass
class ImageWatch:
    """Keeps a board up to date; `looked` is called after each reading."""

    board: Board
    ask: AskProgress
    clock: Clock
    looked: Callable[[], None] | None = None
    every: float = EVERY

    def look(self) -> None:
        """Take one reading."""
        status = self.ask(self.board.names)
        self.board.take(status, self.clock.monotonic())
        if self.looked is not None:
            self.looked()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Look for as long as the block runs, in a thread: the event loop of the block must not wait."""
        over = threading.Event()

        def work() -> None:
            while not over.is_set():  # at once: what is there now was there before
                with contextlib.suppress(OSError):  # the terminal has gone, say: who works learns of it soon enough
                    self.look()
                over.wait(self.every)

        thread = threading.Thread(target=work, name="images", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_END_WITHIN)
