"""A `Waiting` whose time passes at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class FakeWaiting:
    """Each pause moves the clock, and then does what was planned for its number (from 1)."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)
    on_pause: Callable[[int], None] = lambda _number: None

    def monotonic(self) -> float:
        """Seconds since the fake was made."""
        return self.now

    def pause(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds
        self.pauses.append(seconds)
        self.on_pause(len(self.pauses))
