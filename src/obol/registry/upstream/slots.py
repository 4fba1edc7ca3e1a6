"""Connections for blobs, shared fairly between transfers.

Blobs are what takes long, so only they are counted: a HEAD, a manifest or a token never waits behind them. There are
two limits. Up to the lower one a transfer may have several connections, and one that has several gives them back when
there are more (`crowded`). Up to the higher one a transfer gets its first: a client would have opened that itself, so
it would be slower with us if it had to wait. A connection that stands still lends its slot, up to a limit of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from obol.registry.upstream.ports import Unavailable


@dataclass(frozen=True, slots=True)
class Share:
    """How many connections there may be at once: to one upstream, and to all."""

    per_upstream: int
    overall: int


@dataclass(slots=True)
class _Waiter:
    registry: str
    turn: asyncio.Future[None]


class SlotPool:
    """All blob connections of one engine; `of` gives each upstream its own.

    A transfer may have several up to the limits of `several`, and its first up to those of `firsts`. Besides, as many
    as `lent` says may stand still: they take memory and descriptors, too.
    """

    def __init__(self, several: Share, firsts: Share, lent: Share) -> None:
        self._several = several
        self._firsts = firsts
        self._most_lent = lent
        self._used: dict[str, int] = {}
        self._lent: dict[str, int] = {}
        self._waiting: deque[_Waiter] = deque()

    def of(self, registry: str) -> UpstreamSlots:
        """The connections of one upstream."""
        return UpstreamSlots(self, registry)

    def room(self, registry: str) -> int:
        """How many more connections to `registry` transfers that have one may open; negative: give so many back."""
        return min(self._left(registry, self._several), self._left(registry, self._firsts))

    def _left(self, registry: str, share: Share) -> int:
        # What one upstream has beyond its share takes nothing from that of another.
        overall = sum(min(used, share.per_upstream) for used in self._used.values())
        return min(share.overall - overall, share.per_upstream - self._used.get(registry, 0))

    def lend(self, registry: str) -> bool:
        """Let others have a connection that stands still; False where too many are lent."""
        share, lent = self._most_lent, self._lent.get(registry, 0)
        if lent >= share.per_upstream or sum(self._lent.values()) >= share.overall:
            return False
        self._lent[registry] = lent + 1
        self.give(registry)
        return True

    def reclaim(self, registry: str) -> None:
        """Take back a connection that was lent."""
        self._lent[registry] -= 1
        self.take(registry)

    def take(self, registry: str) -> None:
        """Count one more connection."""
        self._used[registry] = self._used.get(registry, 0) + 1

    async def wait(self, registry: str, within: float) -> None:
        """Take a connection, after those who waited before. Raises Unavailable after `within` seconds."""
        # What is released goes to a waiting transfer at once: where something is free, no transfer waits for it.
        if self._left(registry, self._firsts) > 0:
            self.take(registry)
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

    def wanted(self, registry: str) -> bool:
        """Whether a transfer waits for a connection to `registry`."""
        return any(waiter.registry == registry for waiter in self._waiting)

    def _leave(self, waiter: _Waiter) -> None:
        """Give up waiting; a turn that came at the same moment goes to the next."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        else:
            self.give(waiter.registry)

    def give(self, registry: str) -> None:
        """Give a connection back; it goes to the transfer that waits longest and can use it."""
        self._used[registry] -= 1
        self._wake()

    def _wake(self) -> None:
        for waiter in tuple(self._waiting):
            if not waiter.turn.done() and self._left(waiter.registry, self._firsts) > 0:
                self.take(waiter.registry)
                self._waiting.remove(waiter)
                waiter.turn.set_result(None)
                return


class UpstreamSlots:
    """One upstream's share of the pool: a transfer gets its first connection also where others have several."""

    def __init__(self, pool: SlotPool, registry: str) -> None:
        self._pool = pool
        self._registry = registry

    async def first(self, within: float) -> None:
        """Wait for the first connection of a transfer. Raises Unavailable after `within` seconds."""
        await self._pool.wait(self._registry, within)

    def more(self) -> bool:
        """Take one more if there is room for transfers with several."""
        if self._pool.room(self._registry) <= 0:
            return False
        self._pool.take(self._registry)
        return True

    def crowded(self) -> bool:
        """Whether there are so many that a transfer with several should give one back."""
        return self._pool.room(self._registry) < 0

    def wanted(self) -> bool:
        """Whether a transfer waits for one."""
        return self._pool.wanted(self._registry)

    def lend(self) -> bool:
        """Let others have one whose connection stands still; False where too many are lent."""
        return self._pool.lend(self._registry)

    def reclaim(self) -> None:
        """Take back one that was lent, also where there are too many then."""
        self._pool.reclaim(self._registry)

    def release(self) -> None:
        """Give one back."""
        self._pool.give(self._registry)
