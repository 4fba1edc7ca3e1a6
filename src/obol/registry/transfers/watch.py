"""The watch over transfers: ends one that nobody advances, whatever the reason, and has quiet lines lend their slots.

Each wait of a transfer has a limit of its own. This is the limit for what those overlook: a wakeup that was lost, a
worker that vanished, a mistake in a library. A transfer advances when it has new bytes, or hashes some.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from obol.machine.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOK_EVERY = 0.5
GRACE = 15.0
"""Seconds that a transfer which is being ended may take to keep what it has."""


class Watched(Protocol):
    """A transfer, as far as the watch knows it."""

    def lend(self) -> None:
        """Make room for others, as far as it is quiet."""
        ...

    def stood_still(self) -> float:
        """Seconds since it last advanced; 0 when it is verified."""
        ...

    def end(self) -> None:
        """End it, keeping what it has; safe to repeat."""
        ...

    def give_up(self) -> None:
        """End it as it is: its followers are told, and its slots are free; safe to repeat."""
        ...


class Watch:
    """Looks at all transfers twice a second."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._looking: asyncio.Task[None] | None = None

    def start(self, transfers: Iterable[Watched]) -> None:
        """Begin to look at `transfers`, a view of those that run."""
        self._looking = spawn(self._look_on(transfers), name="watch")

    def look(self, transfers: Iterable[Watched]) -> None:
        """Look once."""
        for transfer in tuple(transfers):
            transfer.lend()
            still = transfer.stood_still()
            if still >= self._limit:
                transfer.end()
            if still >= self._limit + GRACE:
                transfer.give_up()

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_on(self, transfers: Iterable[Watched]) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look(transfers)
