"""A `Clock` that a test moves by hand; sleeping on it takes no time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

START = 1_790_000_000.0
"""Wall time at first: 21 September 2026, 14:13:20 UTC."""


@dataclass
class FakeClock:
    """Both readings may be set. A sleep moves both on by its length, and lets other tasks run once."""

    now: float = 1000.0
    """What `monotonic` tells."""
    date: float = START
    """What `wall` tells."""
    sleeps: list[float] = field(default_factory=list)
    """The lengths of all sleeps so far."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return self.now

    def wall(self) -> float:
        """Seconds since 1970."""
        return self.date

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.date += seconds

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and the other tasks have a turn."""
        self.sleeps.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)
