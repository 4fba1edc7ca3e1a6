"""A `Clock` that a test moves by hand; sleeping on it takes no time."""

import asyncio
from collections.abc import Callable
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
    pauses: list[float] = field(default_factory=list)
    """The lengths of all pauses so far."""
    on_pause: Callable[[int], object] = lambda _number: None
    """What happens after a pause, given its number (from 1)."""

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.date

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.date += seconds

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.advance(seconds)
        self.on_pause(len(self.pauses))
