"""A slow link, shared by every connection of the fakes that are given it.

Each piece of a body gets a slot on the connection's own timeline and one on the link's, and is sent when both have
passed. Slots follow each other at absolute moments, so a late wake-up is made good by the next pieces and sleep jitter
does not add up. A connection asks for one slot at a time, so those that want to send take turns.
"""

from __future__ import annotations

import asyncio

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
        self, total_bps: float | None = None, per_connection_bps: float | None = None, latency: float = 0.0
    ) -> None:
        self.total_bps = total_bps
        self.per_connection_bps = per_connection_bps
        self.latency = latency
        self._busy = 0
        self._timeline = _Timeline()

    def lane(self) -> Lane:
        """What one connection uses."""
        return Lane(self)

    def _enter(self) -> None:
        if not self._busy:
            self._timeline.restart()
        self._busy += 1

    def _leave(self) -> None:
        self._busy -= 1

    async def _slot(self, size: int) -> None:
        if self.total_bps:
            await self._timeline.slot(size * 8 / self.total_bps)


class Lane:
    """One connection's share of a link; `async with lane` around each body."""

    def __init__(self, link: SlowLink) -> None:
        self._link = link
        self._timeline = _Timeline()

    async def round_trip(self) -> None:
        """Spend the latency."""
        if self._link.latency > 0:
            await asyncio.sleep(self._link.latency)

    async def carry(self, size: int) -> None:
        """Return when `size` bytes may leave."""
        if self._link.per_connection_bps:
            await self._timeline.slot(size * 8 / self._link.per_connection_bps)
        await self._link._slot(size)

    async def __aenter__(self) -> None:
        self._link._enter()
        self._timeline.restart()

    async def __aexit__(self, *exc_info: object) -> None:
        self._link._leave()


class _Timeline:
    def __init__(self) -> None:
        self._taken_until = 0.0

    def restart(self) -> None:
        self._taken_until = asyncio.get_running_loop().time()

    async def slot(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self._taken_until = max(self._taken_until, now - _LATENESS) + seconds
        ahead = self._taken_until - now
        if ahead > _NOT_WORTH_SLEEPING:
            await asyncio.sleep(ahead)
