"""A slow link, shared by every connection that is given a lane of it.

Each piece of a body takes a slot on the connection's own timeline and one on the link's, and is sent when both have
passed. Slots follow each other at absolute moments, so a late wake-up is made good by the next pieces and sleep jitter
does not add up. A connection takes one slot at a time, so those that want to send take turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.machine.clock import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 64 << 10
FIRST_PIECE = 2 << 10
"""A body starts with a small piece: a slot ends before its bytes leave, and the first byte must not wait for 64 KiB."""

_LATENESS = 0.010
"""Seconds of unused time that may be made good; what goes beyond was idleness, and a link does not save it up."""
_NOT_WORTH_SLEEPING = 0.0002


class SlowLink:
    """Limits in bits per second (None: none) and a latency in seconds.

    The latency is spent once by a new connection and before the first byte of each response, as a round trip is.
    All three may be changed at any time.
    """

    def __init__(
        self,
        total_bps: float | None = None,
        per_connection_bps: float | None = None,
        latency: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.total_bps = total_bps
        self.per_connection_bps = per_connection_bps
        self.latency = latency
        self.clock = clock or SystemClock()
        self._busy = 0
        self._timeline = _Timeline(self.clock)

    def lane(self) -> LinkConnection:
        """What one connection uses."""
        return LinkConnection(self)

    def enter(self) -> None:
        """One more body wants to be carried; the first after a pause cannot use the time before it."""
        if not self._busy:
            self._timeline.restart()
        self._busy += 1

    def leave(self) -> None:
        """A body was carried, or given up."""
        self._busy -= 1

    def take(self, size: int) -> float:
        """Take a slot for `size` bytes; gives the moment at which the link as a whole has carried them."""
        return self._timeline.take(size, self.total_bps)


class LinkConnection:
    """One connection's share of a link; `async with lane` around each body."""

    def __init__(self, link: SlowLink) -> None:
        self._link = link
        self._timeline = _Timeline(link.clock)

    async def round_trip(self) -> None:
        """Spend the latency."""
        if self._link.latency > 0:
            await self._link.clock.sleep(self._link.latency)

    async def carry(self, size: int) -> None:
        """Return when `size` bytes may leave."""
        # Both slots are taken at once: waiting for one after the other would add up where a piece takes long.
        until = max(self._timeline.take(size, self._link.per_connection_bps), self._link.take(size))
        ahead = until - self._link.clock.monotonic()
        if ahead > _NOT_WORTH_SLEEPING:
            await self._link.clock.sleep(ahead)

    async def __aenter__(self) -> None:
        self._link.enter()
        self._timeline.restart()

    async def __aexit__(self, *exc_info: object) -> None:
        self._link.leave()


class _Timeline:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken_until = 0.0

    def restart(self) -> None:
        self._taken_until = self._clock.monotonic()

    def take(self, size: int, rate: float | None) -> float:
        """Give the moment at which `size` bytes have passed at `rate` bits per second (None: at once)."""
        now = self._clock.monotonic()
        if not rate:
            return now
        self._taken_until = max(self._taken_until, now - _LATENESS) + size * 8 / rate
        return self._taken_until


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut the bytes from `start` up to `stop` into what a lane carries at a time: a small piece, then larger ones."""
    size = FIRST_PIECE
    while start < stop:
        end = min(start + size, stop)
        yield start, end
        start, size = end, PIECE
