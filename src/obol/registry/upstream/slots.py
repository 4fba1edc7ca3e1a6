"""Connections for blobs, shared fairly between fills.

Blobs are what takes long, so only they are counted: a HEAD, a manifest or a token never waits behind them. A fill that
waits for its first connection comes before one that would like another, and whoever has several gives one back when
somebody waits (`crowded`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from obol.registry.upstream.base import Unavailable


@dataclass(slots=True)
class _Waiter:
    registry: str
    turn: asyncio.Future[None]


class SlotPool:
    """All blob connections of one engine; `of` gives each upstream its share."""

    def __init__(self, per_upstream: int, overall: int) -> None:
        self._per_upstream = per_upstream
        self._overall = overall
        self._used: dict[str, int] = {}
        self._waiting: deque[_Waiter] = deque()

    def of(self, registry: str) -> UpstreamSlots:
        """The connections of one upstream."""
        return UpstreamSlots(self, registry)

    def _free(self, registry: str) -> bool:
        return sum(self._used.values()) < self._overall and self._used.get(registry, 0) < self._per_upstream

    def waits(self, registry: str) -> bool:
        """Whether a fill waits that a connection of `registry` would help."""
        full = sum(self._used.values()) >= self._overall
        return any(full or waiter.registry == registry for waiter in self._waiting)

    def take(self, registry: str) -> bool:
        """Take a connection if one is free."""
        if not self._free(registry):
            return False
        self._used[registry] = self._used.get(registry, 0) + 1
        return True

    async def wait(self, registry: str, within: float) -> None:
        """Take a connection, after those who waited before. Raises Unavailable after `within` seconds."""
        if not self.waits(registry) and self.take(registry):
            return
        waiter = _Waiter(registry, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(within):
                await waiter.turn
        except TimeoutError:
            self._leave(waiter)
            raise Unavailable("too many blobs are being fetched from the upstream") from None
        except asyncio.CancelledError:
            self._leave(waiter)
            raise

    def _leave(self, waiter: _Waiter) -> None:
        """Give up waiting; a turn that came at the same moment goes to the next."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        else:
            self.give(waiter.registry)

    def give(self, registry: str) -> None:
        """Give a connection back; it goes to whoever waits longest and can use it."""
        self._used[registry] -= 1
        self._wake()

    def _wake(self) -> None:
        for waiter in tuple(self._waiting):
            if not waiter.turn.done() and self.take(waiter.registry):
                self._waiting.remove(waiter)
                waiter.turn.set_result(None)
                return


class UpstreamSlots:
    """One upstream's share of the pool."""

    def __init__(self, pool: SlotPool, registry: str) -> None:
        self._pool = pool
        self._registry = registry

    async def first(self, within: float) -> None:
        """Wait for the first connection of a fill. Raises Unavailable after `within` seconds."""
        await self._pool.wait(self._registry, within)

    def more(self) -> bool:
        """Take one more if one is free and no other fill waits for its first."""
        return not self._pool.waits(self._registry) and self._pool.take(self._registry)

    def crowded(self) -> bool:
        """Whether a fill waits for its first connection while others have several."""
        return self._pool.waits(self._registry)

    def release(self) -> None:
        """Give one back."""
        self._pool.give(self._registry)
